// The oracle of head scores: the whole proxy in double with the plain loops of tests/oracle, its attention weights at
// the chosen queries, and the scores by their definitions. P = 1; attention layers only.
#pragma once

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/eval/head_queries.hpp"
#include "model/proxy.hpp"
#include "tests/oracle/attention_probe.hpp"

namespace hylas::tests {

struct OracleScore {
  double answer = 0, answer_far = 0, copy = 0, previous = 0, entropy = 0;
  int unclear = 0;  // queries whose top key, or whose prediction, has a rival within 1e-4
};

class OracleModel {
 public:
  OracleModel(const model::Proxy& proxy, const model::Layout& layout, const float* weights)
      : shape_(proxy.shape()), layout_(layout) {
    for (const auto& one : proxy.parameters().stored()) {
      weights_[one.name] = oracle::Vector(weights + one.offset, weights + one.offset + one.size());
    }
  }

  // Of every head, layer by layer.
  [[nodiscard]] std::vector<OracleScore> scores(const model::EvalSet& set, const model::HeadQueries& queries) const {
    std::vector<OracleScore> all(layout_.layers.size() * static_cast<std::size_t>(shape_.heads));
    std::vector<double> spread(all.size());
    double far = 0;
    for (std::int64_t i = 0; i < queries.size(); ++i) {
      const std::int64_t T = set.context, at = queries.query[static_cast<std::size_t>(i)], s = at / T, t = at % T;
      const std::int64_t answer = queries.answer[static_cast<std::size_t>(i)];
      if (i == 0 || queries.query[static_cast<std::size_t>(i - 1)] / T != s) forward(set, s);
      const bool is_far = t + 1 - answer > T / 2;
      far += is_far ? 1 : 0;
      for (std::size_t layer = 0; layer < qkv_.size(); ++layer) {
        for (std::int64_t h = 0; h < shape_.heads; ++h) {
          const std::size_t head = layer * static_cast<std::size_t>(shape_.heads) + static_cast<std::size_t>(h);
          const oracle::ProbeRow row = probe(layer, h, t, answer), before = probe(layer, h, answer, -1);
          OracleScore& score = all[head];
          score.answer += row.on_answer;
          if (is_far) score.answer_far += row.on_answer;
          const auto [predicted, margin] = predict(t);
          if (set.tokens[static_cast<std::size_t>(s * T + row.top)] == predicted) score.copy += 1;
          if (row.lead < 1e-4 || margin < 1e-4) ++score.unclear;
          if (row.keys >= 2) score.entropy += row.entropy / std::log(row.keys), spread[head] += 1;
          score.previous += before.on_previous;
        }
      }
    }
    const auto n = static_cast<double>(queries.size());
    for (std::size_t head = 0; head < all.size(); ++head) {
      all[head].answer /= n, all[head].copy /= n, all[head].previous /= n, all[head].answer_far /= far;
      all[head].entropy = spread[head] > 0 ? all[head].entropy / spread[head] : 0;
    }
    return all;
  }

 private:
  [[nodiscard]] oracle::AttentionShape attention_shape() const {
    return {.batch = 1, .length = shape_.context, .query = shape_.heads, .kv = shape_.kv_heads, .dim = shape_.head_dim};
  }
  [[nodiscard]] oracle::Vector joined(const std::string& prefix, std::initializer_list<const char*> names) const {
    oracle::Vector all;
    for (const char* name : names) {
      const oracle::Vector& one = weights_.at(prefix + name + ".weight");
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }
  [[nodiscard]] std::int64_t window(std::size_t layer) const {
    const model::Layer& one = layout_.layers[layer];
    return one.mixer == model::Mixer::swa ? one.window : shape_.context;
  }
  [[nodiscard]] std::optional<oracle::Vector> sinks(std::size_t layer) const {
    if (!layout_.layers[layer].sink) return std::nullopt;
    return weights_.at("model.layers." + std::to_string(layer) + ".self_attn.sinks");
  }
  [[nodiscard]] oracle::ProbeRow probe(std::size_t layer, std::int64_t h, std::int64_t t, std::int64_t answer) const {
    const auto sink = sinks(layer);
    return oracle::attention_probe(qkv_[layer], attention_shape(), {.window = window(layer), .first_keys = 0},
                                   sink ? std::optional<double>((*sink)[static_cast<std::size_t>(h)]) : std::nullopt, 0,
                                   h, t, answer);
  }
  // The most likely token at t, and its lead over the next.
  [[nodiscard]] std::pair<int, double> predict(std::int64_t t) const {
    int best = 0;
    double second = -INFINITY;
    const double* row = logits_.data() + t * shape_.vocab;
    for (int v = 1; v < shape_.vocab; ++v) {
      if (row[v] > row[best]) {
        second = row[best], best = v;
      } else {
        second = std::max(second, row[v]);
      }
    }
    return {best, row[best] - second};
  }

  // Sequence s: qkv of every layer after the rotation, and the logits.
  void forward(const model::EvalSet& set, std::int64_t s) const {
    const std::int64_t T = shape_.context, d = shape_.d_model;
    const auto first = set.tokens.begin() + s * T;
    oracle::Vector x = oracle::embed(weights_.at("model.embed_tokens.weight"), oracle::Ints(first, first + T), d);
    const auto add = [&](const oracle::Vector& more) {
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += more[i];
    };
    qkv_.clear();
    for (std::size_t i = 0; i < layout_.layers.size(); ++i) {
      const std::string name = "model.layers." + std::to_string(i) + ".";
      oracle::Vector h = oracle::rmsnorm(x, weights_.at(name + "input_layernorm.weight"), model::kNormEps).h;
      qkv_.push_back(
          oracle::linear(h, joined(name + "self_attn.", {"q_proj", "k_proj", "v_proj"}), T, d, shape_.qkv_width()));
      if (layout_.layers[i].rope) oracle::rope(qkv_.back(), attention_shape(), shape_.rope_theta, 1);
      const oracle::Vector out = oracle::attention(qkv_.back(), attention_shape(), window(i), sinks(i)).out;
      add(oracle::linear(out, joined(name + "self_attn.", {"o_proj"}), T, shape_.q_width(), d));
      if (shape_.ffn == 0) continue;
      h = oracle::rmsnorm(x, weights_.at(name + "post_attention_layernorm.weight"), model::kNormEps).h;
      const oracle::Vector gate_up =
          oracle::linear(h, joined(name + "mlp.", {"gate_proj", "up_proj"}), T, d, 2 * shape_.ffn);
      add(oracle::linear(oracle::swiglu(gate_up, shape_.ffn), joined(name + "mlp.", {"down_proj"}), T, shape_.ffn, d));
    }
    const oracle::Vector h = oracle::rmsnorm(x, weights_.at("model.norm.weight"), model::kNormEps).h;
    logits_ = oracle::linear(h, weights_.at("model.embed_tokens.weight"), T, d, shape_.vocab);
  }

  model::Shape shape_;
  model::Layout layout_;
  std::map<std::string, oracle::Vector> weights_;
  mutable std::vector<oracle::Vector> qkv_;  // of the sequence at hand
  mutable oracle::Vector logits_;
};

}  // namespace hylas::tests
