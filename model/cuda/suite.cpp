// Forward passes over a suite's sets on a GPU (see suite.hpp).
#include "model/cuda/suite.hpp"

#include <algorithm>

#include "kernels/cuda/runtime.hpp"
#include "kernels/parallel.hpp"

namespace hylas::model::cuda {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

namespace {

template <class T>
void send(const Tensor& to, const std::vector<T>& values) {
  if (!values.empty()) {
    kernels::cuda::upload(to.data(), values.data(), values.size() * sizeof(T), to.device().index);
  }
}

template <class T>
std::vector<T> receive(const Tensor& from) {
  std::vector<T> values(static_cast<std::size_t>(from.size()));
  kernels::cuda::download(values.data(), from.data(), values.size() * sizeof(T), from.device().index);
  return values;
}

void evaluate_set(Context& ctx, const Proxy& proxy, const EvalSet& set, const LayoutData& layout,
                  const Weights& weights, std::int64_t P, std::int64_t chunk_tokens, const EvalBuffers& buffers) {
  const std::int64_t T = set.context, S = set.sequences;
  const std::int64_t chunk = std::clamp<std::int64_t>(chunk_tokens / T, 1, S);
  const auto shared = [&](const Tensor& split, std::int64_t first, std::int64_t count) {
    const Tensor part = sequences(split, first, count);
    Tensor all(part.data(), part.dtype(), {P, count, T}, part.device());
    return all.set_trial_stride(0);
  };
  const auto scored_before = [&](std::int64_t sequence) {
    return std::lower_bound(set.scored.begin(), set.scored.end(), sequence * T) - set.scored.begin();
  };
  for (std::int64_t first = 0; first < S; first += chunk) {
    const kernels::ArenaScope scope(ctx.arena);
    const std::int64_t count = std::min(chunk, S - first);
    const Tensor loss = ctx.arena.tensor(DType::f32, {P, count, T});
    const Tensor predicted = ctx.arena.tensor(DType::i32, {P, count, T});
    proxy.evaluate(ctx, layout, weights, shared(buffers.tokens, first, count), shared(buffers.targets, first, count),
                   loss, predicted, {}, set.most_targets);
    gather_scored(ctx, buffers.positions, scored_before(first), scored_before(first + count), first * T, loss,
                  predicted, buffers.loss, buffers.predicted);
  }
}

}  // namespace

void send_sequences(const EvalSuite& suite, const std::vector<EvalBuffers>& buffers) {
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    send(buffers[i].tokens, suite.sets()[i].tokens);
    send(buffers[i].targets, suite.sets()[i].targets);
    send(buffers[i].positions, suite.sets()[i].scored);
  }
}

void evaluate_suite(Context& ctx, ProxyAt& proxies, const EvalSuite& suite, const std::vector<LayoutData>& layouts,
                    const Weights& weights, std::int64_t P, std::int64_t chunk_tokens,
                    const std::vector<EvalBuffers>& buffers) {
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const EvalSet& set = suite.sets()[i];
    evaluate_set(ctx, proxies.at(set.context), set, layouts[i], weights, P, chunk_tokens, buffers[i]);
  }
}

std::vector<std::vector<Point>> suite_points(const EvalSuite& suite, const std::vector<EvalBuffers>& buffers,
                                             std::span<const std::size_t> slots, int threads) {
  std::vector<std::vector<float>> loss;
  std::vector<std::vector<std::int32_t>> predicted;
  for (const EvalBuffers& set : buffers) {
    loss.push_back(receive<float>(set.loss));
    predicted.push_back(receive<std::int32_t>(set.predicted));
  }
  std::vector<std::vector<Point>> points(slots.size());
  kernels::ThreadPool pool(std::min(threads < 1 ? 8 : threads, std::max(1, static_cast<int>(slots.size()))));
  pool.run(static_cast<std::int64_t>(slots.size()), [&](std::int64_t i, Context&) {
    const auto at = static_cast<std::size_t>(i);
    std::vector<SetResult> results;
    for (std::size_t k = 0; k < buffers.size(); ++k) {
      const auto n = std::ssize(suite.sets()[k].scored);
      const auto from = static_cast<std::ptrdiff_t>(slots[at]) * buffers[k].loss.trial_stride();
      results.push_back({{predicted[k].begin() + from, predicted[k].begin() + from + n},
                         {loss[k].begin() + from, loss[k].begin() + from + n}});
    }
    points[at] = suite.points(results);
  });
  return points;
}

}  // namespace hylas::model::cuda
