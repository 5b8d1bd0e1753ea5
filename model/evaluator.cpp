// Forward passes over the sets of a suite (see evaluator.hpp).
#include "model/evaluator.hpp"

#include <algorithm>

namespace hylas::model {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

namespace {

constexpr std::int64_t kChunkTokens = 256;

std::int64_t chunk_sequences(std::int64_t context) {
  return std::max<std::int64_t>(1, kChunkTokens / context);
}

// Sequences [first, first + count) of an array [S, T], as the operators take it (they only read it).
Tensor view(const std::vector<std::int32_t>& values, std::int64_t first, std::int64_t count, std::int64_t T) {
  return Tensor::of(const_cast<std::int32_t*>(values.data()) + first * T, {1, count, T});  // NOLINT: see above
}

}  // namespace

Evaluator::Evaluator(ProxyAt& proxies, const EvalSuite& suite, const HeadProbe& heads)
    : proxies_(proxies),
      suite_(suite),
      heads_(heads),
      head_chunks_(heads.queries(), heads.queries().size() > 0 ? chunk_sequences(heads.queries().context) : 1) {}

void Evaluator::run_set(kernels::ThreadPool& pool, std::span<const TrialState* const> trials, std::size_t index,
                        std::vector<std::vector<SetResult>>& results) const {
  const EvalSet& set = suite_.sets()[index];
  const Proxy& proxy = proxies_.at(set.context);
  const std::int64_t T = set.context, chunk = chunk_sequences(T);
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
    const Layout* layout = &trial.layout;
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

void Evaluator::run_heads(kernels::ThreadPool& pool, std::span<const TrialState* const> trials,
                          std::vector<std::vector<Point>>& points) const {
  const EvalSet& set = suite_.sets()[head_set(suite_.sets(), heads_.queries().context)];
  const Proxy& proxy = proxies_.at(set.context);
  const std::int64_t T = set.context, chunks = head_chunks_.chunks();
  const auto size = static_cast<std::size_t>(heads_.heads() * HeadSum::count);
  std::vector<double> parts(trials.size() * static_cast<std::size_t>(chunks) * size);
  pool.run(static_cast<std::int64_t>(trials.size()) * chunks, [&](std::int64_t item, Context& ctx) {
    const TrialState& trial = *trials[static_cast<std::size_t>(item / chunks)];
    const std::int64_t c = item % chunks, first = c * head_chunks_.chunk;
    const std::int64_t count = std::min(head_chunks_.chunk, heads_.queries().sequences - first);
    const Layout* layout = &trial.layout;
    const LayoutData data({&layout, 1}, T);
    double* sums = parts.data() + static_cast<std::size_t>(item) * size;
    heads_.run(ctx, proxy, data, trial.blocks.weights, view(set.tokens, first, count, T),
               view(set.targets, first, count, T), head_chunks_.queries_on_cpu(c),
               Tensor::of(sums, {1, heads_.heads(), HeadSum::count}));
  });
  for (std::size_t i = 0; i < trials.size(); ++i) {
    std::vector<double> sums(size);
    for (std::int64_t c = 0; c < chunks; ++c) {
      const double* part = parts.data() + (i * static_cast<std::size_t>(chunks) + static_cast<std::size_t>(c)) * size;
      for (std::size_t k = 0; k < size; ++k) sums[k] += part[k];
    }
    std::vector<Point> more = heads_.points(sums);
    points[i].insert(points[i].end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
}

std::vector<std::vector<Point>> Evaluator::run(kernels::ThreadPool& pool,
                                               std::span<const TrialState* const> trials) const {
  std::vector<std::vector<SetResult>> results(trials.size(), std::vector<SetResult>(suite_.sets().size()));
  for (std::size_t i = 0; i < suite_.sets().size(); ++i) run_set(pool, trials, i, results);
  std::vector<std::vector<Point>> points;
  points.reserve(trials.size());
  for (const std::vector<SetResult>& result : results) points.push_back(suite_.points(result));
  if (heads_.queries().size() > 0) run_heads(pool, trials, points);
  return points;
}

}  // namespace hylas::model
