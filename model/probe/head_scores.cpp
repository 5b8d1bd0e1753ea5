// Scores of heads: the pass over a chunk, and the sums on the CPU (see head_scores.hpp).
#include "model/probe/head_scores.hpp"

#include <array>
#include <cmath>
#include <limits>

#include "kernels/build.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::DType;
using kernels::ProbeStatistic;
using kernels::Tensor;

HeadChunks::HeadChunks(const HeadQueries& queries, std::int64_t chunk_sequences) : chunk(chunk_sequences), first{0} {
  const std::int64_t T = queries.context;
  for (std::int64_t s = 0; s < queries.sequences; s += chunk) {
    const auto begin = static_cast<std::size_t>(queries.first_of(s));
    const auto end = static_cast<std::size_t>(queries.first_of(s + chunk));
    for (std::size_t i = begin; i < end; ++i) {
      query.push_back(static_cast<std::int32_t>(queries.query[i] - s * T));
      answer.push_back(queries.answer[i]);
    }
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t sequence = queries.query[i] / T - s;
      query.push_back(static_cast<std::int32_t>(sequence * T + queries.answer[i]));
      answer.push_back(-1);
    }
    first.push_back(static_cast<std::int64_t>(query.size()));
  }
}

kernels::ProbeQueries HeadChunks::queries_in(const Tensor& all_query, const Tensor& all_answer, std::int64_t c) const {
  const std::int64_t begin = first[static_cast<std::size_t>(c)], n = first[static_cast<std::size_t>(c) + 1] - begin;
  const auto part = [&](const Tensor& all) {
    return Tensor(static_cast<std::int32_t*>(all.data()) + begin, DType::i32, {1, n}, all.device());
  };
  return {part(all_query), part(all_answer)};
}

kernels::ProbeQueries HeadChunks::queries_on_cpu(std::int64_t c) const {
  const auto n = static_cast<std::int64_t>(query.size());
  return queries_in(Tensor::of(query.data(), {1, n}), Tensor::of(answer.data(), {1, n}), c);
}

HeadProbe::HeadProbe(const Layout& layout, const Shape& shape, HeadQueries queries)
    : queries_(std::move(queries)), heads_(shape.heads) {
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    if (is_attention(layout.layers[i].mixer)) layers_.push_back(static_cast<int>(i));
  }
  if (layers_.empty()) queries_ = {};  // nobody to ask
  for (std::int64_t i = 0; i < queries_.size(); ++i) far_ += queries_.far(i) ? 1 : 0;
}

void HeadProbe::run(Context& ctx, const Proxy& proxy, const LayoutData& data, const Weights& weights,
                    const Tensor& tokens, const Tensor& targets, const kernels::ProbeQueries& queries,
                    const Tensor& sums) const {
  const kernels::ArenaScope scope(ctx.arena);
  const std::int64_t P = tokens.dim(0), B = tokens.dim(1), T = tokens.dim(2), n = queries.query.dim(1);
  if (n == 0) return;
  const Tensor loss = ctx.arena.tensor(DType::f32, {P, B, T});
  const Tensor predicted = ctx.arena.tensor(DType::i32, {P, B, T});
  std::vector<AttentionProbe> probes(static_cast<std::size_t>(proxy.depth()));
  for (const int layer : layers_) {
    AttentionProbe& probe = probes[static_cast<std::size_t>(layer)];
    probe.queries = queries;
    probe.statistics = ctx.arena.tensor(DType::f32, {P, heads_, n, ProbeStatistic::count});
    probe.top = ctx.arena.tensor(DType::i32, {P, heads_, n});
  }
  proxy.evaluate(ctx, data, weights, tokens, targets, loss, predicted, probes, queries_.most_targets);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const AttentionProbe& probe = probes[static_cast<std::size_t>(layers_[i])];
    add_head_sums(ctx, {probe.statistics, probe.top, queries, tokens, predicted}, static_cast<std::int64_t>(i) * heads_,
                  sums);
  }
}

std::vector<HeadScore> HeadProbe::scores(std::span<const double> sums) const {
  const auto mean = [](double sum, double count) {
    return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
  };
  const auto n = static_cast<double>(queries_.size());
  std::vector<HeadScore> scores;
  for (std::int64_t h = 0; h < heads(); ++h) {
    const auto head = sums.subspan(static_cast<std::size_t>(h) * HeadSum::count, HeadSum::count);
    const double spread = head[HeadSum::spread];
    scores.push_back({.answer = mean(head[HeadSum::answer], n),
                      .answer_far = mean(head[HeadSum::answer_far], static_cast<double>(far_)),
                      .copy = mean(head[HeadSum::copy], n),
                      .previous = mean(head[HeadSum::previous], n),
                      .entropy = spread > 0 ? head[HeadSum::entropy] / spread : 0});
  }
  return scores;
}

std::vector<Point> HeadProbe::points(std::span<const double> sums) const {
  if (queries_.size() == 0) return {};
  return head_points(layers_, heads_, scores(sums), queries_.size(), far_);
}

namespace {

// One head of one trial.
void add_on_cpu(const HeadStatistics& from, std::int64_t p, std::int64_t h, double* to) {
  const std::int64_t n = from.queries.query.dim(1), T = from.tokens.dim(2);
  const float* statistics = from.statistics.trial<float>(p) + h * n * ProbeStatistic::count;
  const auto* top = from.top.trial<std::int32_t>(p) + h * n;
  const auto* query = from.queries.query.trial<std::int32_t>();
  const auto* answer = from.queries.answer.trial<std::int32_t>();
  const auto* tokens = from.tokens.trial<std::int32_t>(p);
  const auto* predicted = from.predicted.trial<std::int32_t>(p);
  std::array<double, HeadSum::count> sum{};
  for (std::int64_t i = 0; i < n / 2; ++i) {
    const float* at = statistics + i * ProbeStatistic::count;
    const double on_answer = at[ProbeStatistic::on_answer], keys = at[ProbeStatistic::keys];
    const std::int64_t start = query[i] / T * T, t = query[i] % T;
    sum[HeadSum::answer] += on_answer;
    if (2 * (t + 1 - answer[i]) > T) sum[HeadSum::answer_far] += on_answer;
    if (top[i] >= 0 && tokens[start + top[i]] == predicted[query[i]]) sum[HeadSum::copy] += 1;
    if (keys >= 2) {
      sum[HeadSum::entropy] += static_cast<double>(at[ProbeStatistic::entropy]) / std::log(keys);
      sum[HeadSum::spread] += 1;
    }
    sum[HeadSum::previous] +=
        static_cast<double>(statistics[(n / 2 + i) * ProbeStatistic::count + ProbeStatistic::on_previous]);
  }
  for (std::size_t k = 0; k < sum.size(); ++k) to[k] += sum[k];
}

}  // namespace

void add_head_sums(Context& ctx, const HeadStatistics& from, std::int64_t first, const Tensor& sums) {
  if constexpr (kernels::with_cuda) {
    if (ctx.device.kind == kernels::DeviceKind::cuda) return cuda::add_head_sums(ctx, from, first, sums);
  }
  for (std::int64_t p = 0; p < sums.trials(); ++p) {
    for (std::int64_t h = 0; h < from.top.dim(1); ++h) {
      add_on_cpu(from, p, h, sums.trial<double>(p) + (first + h) * HeadSum::count);
    }
  }
}

}  // namespace hylas::model
