// Forward passes over the sets of a suite (see evaluator.hpp).
#include "model/evaluator.hpp"

#include <algorithm>

namespace hylas::model {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

namespace {

constexpr std::int64_t kChunkTokens = 256;

// Sequences [first, first + count) of an array [S, T], as the operators take it (they only read it).
Tensor view(const std::vector<std::int32_t>& values, std::int64_t first, std::int64_t count, std::int64_t T) {
  return Tensor::of(const_cast<std::int32_t*>(values.data()) + first * T, {1, count, T});  // NOLINT: see above
}

}  // namespace

void Evaluator::run_set(kernels::ThreadPool& pool, std::span<const TrialState* const> trials, std::size_t index,
                        std::vector<std::vector<SetResult>>& results) const {
  const EvalSet& set = suite_.sets()[index];
  const Proxy& proxy = proxies_.at(set.context);
  const std::int64_t T = set.context, chunk = std::max<std::int64_t>(1, kChunkTokens / T);
  const std::int64_t chunks = (set.sequences + chunk - 1) / chunk;
  for (std::vector<SetResult>& trial : results) {
    trial[index].predicted.resize(set.scored.size());
    trial[index].loss.resize(set.scored.size());
  }
  pool.run(static_cast<std::int64_t>(trials.size()) * chunks, [&](std::int64_t item, Context& ctx) {
    const kernels::ArenaScope scope(ctx.arena);
    const auto which = static_cast<std::size_t>(item / chunks);
    const TrialState& trial = *trials[which];
    const std::int64_t first = item % chunks * chunk, count = std::min(chunk, set.sequences - first);
    const Tensor predicted = ctx.arena.tensor(DType::i32, {1, count, T});
    const Tensor loss = ctx.arena.tensor(DType::f32, {1, count, T});
    const Layout* layout = &trial.spec.design.layout;
    const LayoutData data({&layout, 1}, T);
    proxy.evaluate(ctx, data, trial.blocks.weights, view(set.tokens, first, count, T),
                   view(set.targets, first, count, T), loss, predicted);
    const auto begin = std::lower_bound(set.scored.begin(), set.scored.end(), first * T);
    const auto end = std::lower_bound(begin, set.scored.end(), (first + count) * T);
    SetResult& result = results[which][index];
    for (auto at = begin; at != end; ++at) {
      const auto to = static_cast<std::size_t>(at - set.scored.begin());
      result.predicted[to] = predicted.trial<std::int32_t>()[*at - first * T];
      result.loss[to] = loss.trial<float>()[*at - first * T];
    }
  });
}

std::vector<std::vector<Point>> Evaluator::run(kernels::ThreadPool& pool,
                                               std::span<const TrialState* const> trials) const {
  std::vector<std::vector<SetResult>> results(trials.size(), std::vector<SetResult>(suite_.sets().size()));
  for (std::size_t i = 0; i < suite_.sets().size(); ++i) run_set(pool, trials, i, results);
  std::vector<std::vector<Point>> points;
  points.reserve(trials.size());
  for (const std::vector<SetResult>& result : results) points.push_back(suite_.points(result));
  return points;
}

}  // namespace hylas::model
