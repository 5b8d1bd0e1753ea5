// What the tests of the proxy on the GPU share: a random problem for P trials, and its answers (losses, gradients,
// predictions) from the CPU in fp64 and from the GPU in fp32 or bf16.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/proxy.hpp"
#include "tests/kernels/cuda_support.hpp"

namespace hylas::test {

// Weights, tokens and targets of P trials of one shape; every value random, a fifth of the positions not scored.
struct Problem {
  std::vector<model::Design> designs;  // a trial each
  std::int64_t batch = 1;
  model::Head head;
  std::int64_t most_targets = 0;  // what the GPU is told
  Trials weights;
  std::vector<Ints> tokens, targets;

  // Trial p has layout p mod the number of layouts.
  Problem(const std::vector<std::string>& layouts, const model::Shape& shape, std::int64_t trials,
          std::int64_t sequences, std::uint64_t seed, model::Head kind = model::Head::next_token)
      : batch(sequences), head(kind) {
    Random random(seed);
    for (std::int64_t p = 0; p < trials; ++p) {
      designs.push_back(model::Design::make(layouts[at(p) % layouts.size()], shape));
    }
    const model::ParameterTable table = parameters();
    for (std::int64_t p = 0; p < trials; ++p) {
      Vector block(at(table.size()));
      for (const auto& weight : table.stored()) {
        Vector values = random.normal(weight.size(), deviation(weight));
        const bool norm = weight.init == model::Init::one;
        for (std::size_t i = 0; i < values.size(); ++i) {
          block[at(weight.offset) + i] = static_cast<double>(static_cast<float>(values[i] + (norm ? 1 : 0)));
        }
      }
      weights.push_back(std::move(block));
      const int vocab = static_cast<int>(shape.vocab);
      tokens.push_back(random.integers(sequences * shape.context, 0, vocab - 1));
      Ints target = random.integers(sequences * shape.context, 0, vocab + vocab / 4);
      for (auto& t : target) t = t < vocab ? t : -1;
      targets.push_back(std::move(target));
    }
  }

  // Leaves 1 to n targets of each sequence.
  void keep_targets(std::int64_t n, std::uint64_t seed) {
    Random random(seed);
    most_targets = n;
    for (Ints& target : targets) {
      const Ints whole = target;
      target.assign(whole.size(), -1);
      for (std::int64_t first = 0; first < batch * shape().context; first += shape().context) {
        for (const auto t : random.integers(n, 0, static_cast<int>(shape().context) - 1)) {
          target[at(first + t)] = std::max(whole[at(first + t)], 0);
        }
      }
    }
  }
  [[nodiscard]] model::ParameterTable parameters() const {
    return model::Proxy(designs.front(), DType::f32, {}, head).parameters();
  }
  [[nodiscard]] std::int64_t trials() const { return static_cast<std::int64_t>(designs.size()); }
  [[nodiscard]] const model::Shape& shape() const { return designs.front().shape; }
  [[nodiscard]] double scale() const { return 1 / static_cast<double>(batch * shape().context); }
  [[nodiscard]] model::LayoutData layout(std::int64_t first, std::int64_t count) const {
    std::vector<const model::Layout*> layouts;
    for (std::int64_t p = first; p < first + count; ++p) layouts.push_back(&designs[at(p)].layout);
    return {layouts, shape().context};
  }

 private:
  // As make_bf16_errors.py has them.
  static double deviation(const model::StoredWeight& weight) {
    switch (weight.init) {
      case model::Init::embedding: return 0.7;
      case model::Init::one: return 0.2;
      case model::Init::zero: return 1;
      default: return 1 / std::sqrt(static_cast<double>(weight.dims.back()));
    }
  }
};

struct Answer {
  Trials grads, loss, eval_loss, predicted, logits;
};

inline Answer answer_of_cpu(const Problem& problem) {
  const model::Shape& s = problem.shape();
  const std::int64_t B = problem.batch, T = s.context, P = problem.trials();
  const model::Proxy proxy(problem.designs.front(), DType::f64, {}, problem.head);
  const std::int64_t N = proxy.parameters().size();
  Context ctx;
  const model::LayoutData layout = problem.layout(0, P);
  const Memory<double> weights({P, N}, 64, problem.weights, 0);
  const Memory<double> grads({P, N}, 64, Trials(at(P), Vector(at(N))), 0);
  const Memory<std::int32_t> tokens({P, B, T}, 8, problem.tokens, 0), targets({P, B, T}, 8, problem.targets, 0),
      predicted({P, B, T}, 8);
  const Memory<double> loss({P, B, T}, 8), eval_loss({P, B, T}, 8), logits({P, B, T, s.vocab}, 8);
  proxy.loss_and_gradients(ctx, layout, weights.tensor(), tokens, targets, problem.scale(), loss, grads);
  proxy.evaluate(ctx, layout, weights.tensor(), tokens, targets, eval_loss, predicted);
  proxy.logits(ctx, layout, weights.tensor(), tokens, logits);
  const auto doubles = [](const auto& memory) {
    Trials trials;
    for (const auto& v : memory.all()) trials.emplace_back(v.begin(), v.end());
    return trials;
  };
  return {doubles(grads), doubles(loss), doubles(eval_loss), doubles(predicted), doubles(logits)};
}

// Blocks as `to` lays them out, which can pad matrices differently: of every weight by its name. What belongs to no
// weight must be 0, or NaN in a trial of NaN.
inline Trials blocks_as(const Trials& blocks, const model::ParameterTable& from, const model::ParameterTable& to) {
  Trials out;
  for (Vector block : blocks) {
    Vector& moved = out.emplace_back(at(to.size()));
    for (std::size_t k = 0; k < from.stored().size(); ++k) {
      const auto &a = from.stored()[k], &b = to.stored()[k];
      REQUIRE((a.name == b.name && a.dims == b.dims));
      const auto first = block.begin() + a.offset;
      std::copy(first, first + a.size(), moved.begin() + b.offset);
      std::fill(first, first + a.size(), 0.0);
    }
    CHECK(std::all_of(block.begin(), block.end(), [](double x) { return x == 0 || std::isnan(x); }));
  }
  return out;
}

// Trials first .. first + count - 1. Logits are not asked for.
inline Answer answer_of_gpu(Gpu& gpu, const Problem& problem, DType type, std::int64_t first, std::int64_t count) {
  const std::int64_t B = problem.batch, T = problem.shape().context;
  const model::Proxy proxy(problem.designs.front(), type, gpu.ctx.device, problem.head);
  const std::int64_t N = proxy.parameters().size();
  model::LayoutData layout = problem.layout(first, count);
  const DeviceTensor there(DType::i32, {1, static_cast<std::int64_t>(layout.values().size())},
                           std::vector<Ints>{layout.values()});
  layout.move_to(there);
  const model::ParameterTable there_table = proxy.parameters(), here_table = problem.parameters();
  const Trials blocks = blocks_as(problem.weights, here_table, there_table);
  const DeviceTensor weights(DType::f32, {count, N}, blocks, at(first));
  const DeviceTensor matrices(type, {count, N}, blocks, at(first));
  const DeviceTensor grads(DType::f32, {count, N}, Trials(at(count), Vector(at(N))));
  const DeviceTensor tokens(DType::i32, {count, B, T}, problem.tokens, at(first)),
      targets(DType::i32, {count, B, T}, problem.targets, at(first)), predicted(DType::i32, {count, B, T});
  const DeviceTensor loss(DType::f32, {count, B, T}), eval_loss(DType::f32, {count, B, T});
  const model::Weights both(matrices, weights);
  const std::int64_t most = problem.most_targets;
  proxy.loss_and_gradients(gpu.ctx, layout, both, tokens, targets, problem.scale(), loss, grads, most);
  proxy.evaluate(gpu.ctx, layout, both, tokens, targets, eval_loss, predicted, {}, most);
  for (const auto* t : {&weights, &grads, &loss, &eval_loss, &predicted}) t->check_fences();
  return {blocks_as(grads.all(), there_table, here_table), loss.all(), eval_loss.all(), predicted.all(), {}};
}

// Trial p of a, bit for bit trial q of b.
inline void check_same(const Answer& a, std::int64_t p, const Answer& b, std::int64_t q) {
  CHECK(same_bits(a.grads[at(p)], b.grads[at(q)]));
  CHECK(same_bits(a.loss[at(p)], b.loss[at(q)]));
  CHECK(same_bits(a.eval_loss[at(p)], b.eval_loss[at(q)]));
  CHECK(same_bits(a.predicted[at(p)], b.predicted[at(q)]));
}

}  // namespace hylas::test
