// Forward passes over the evaluation split (see evaluator.hpp).
#include "model/evaluator.hpp"

#include <algorithm>

#include "model/eval/recall_accuracy.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

Evaluator::Evaluator(const Proxy& proxy, const RecallStream& stream, std::int64_t sequences)
    : proxy_(proxy), stream_(stream), sequences_(sequences) {
  chunk_sequences_ = std::max<std::int64_t>(1, 256 / proxy.shape().context);
}

std::vector<std::vector<Point>> Evaluator::run(kernels::ThreadPool& pool,
                                               std::span<const TrialState* const> trials) const {
  const std::int64_t T = proxy_.shape().context;
  const std::int64_t chunks = (sequences_ + chunk_sequences_ - 1) / chunk_sequences_;
  std::vector<RecallMetrics> parts(trials.size() * static_cast<std::size_t>(chunks), RecallMetrics(T));
  pool.run(static_cast<std::int64_t>(parts.size()), [&](std::int64_t item, Context& ctx) {
    kernels::ArenaScope scope(ctx.arena);
    const TrialState& trial = *trials[static_cast<std::size_t>(item / chunks)];
    const std::int64_t first = item % chunks * chunk_sequences_;
    const std::int64_t count = std::min(chunk_sequences_, sequences_ - first);
    const Tensor tokens = ctx.arena.tensor(DType::i32, {1, count, T});
    const Tensor targets = ctx.arena.tensor(DType::i32, {1, count, T});
    const Tensor predicted = ctx.arena.tensor(DType::i32, {1, count, T});
    const Tensor loss = ctx.arena.tensor(DType::f32, {1, count, T});
    auto* distance = ctx.arena.take<std::int32_t>(count * T);
    for (std::int64_t b = 0; b < count; ++b) {
      stream_.sequence(0, Split::eval, static_cast<std::uint64_t>(first + b), tokens.trial<std::int32_t>() + b * T,
                       targets.trial<std::int32_t>() + b * T, distance + b * T);
    }
    proxy_.evaluate(ctx, trial.layout, trial.blocks.weights, tokens, targets, loss, predicted);
    parts[static_cast<std::size_t>(item)].add(targets.trial<std::int32_t>(), predicted.trial<std::int32_t>(), distance,
                                              loss.trial<float>(), count * T);
  });

  std::vector<std::vector<Point>> points;
  for (std::size_t trial = 0; trial < trials.size(); ++trial) {
    RecallMetrics metrics(T);
    for (std::int64_t c = 0; c < chunks; ++c) {
      metrics.merge(parts[trial * static_cast<std::size_t>(chunks) + static_cast<std::size_t>(c)]);
    }
    points.push_back(metrics.points());
  }
  return points;
}

}  // namespace hylas::model
