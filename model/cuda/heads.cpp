// Scores of heads for all trials of a cohort together (see heads.hpp).
#include "model/cuda/heads.hpp"

#include <algorithm>

#include "kernels/cuda/runtime.hpp"
#include "kernels/memory.hpp"
#include "model/cuda/buffers.hpp"

namespace hylas::model::cuda {

using kernels::DType;
using kernels::Tensor;

HeadBuffers take_head_buffers(kernels::Arena& arena, std::int64_t trials, const HeadProbe& heads) {
  const std::int64_t n = 2 * heads.queries().size();
  if (n == 0) return {};
  return {.query = arena.tensor(DType::i32, {1, n}),
          .answer = arena.tensor(DType::i32, {1, n}),
          .sums = arena.tensor(DType::f64, {trials, heads.heads(), HeadSum::count})};
}

HeadChunks head_chunks(const HeadProbe& heads, std::int64_t chunk_tokens) {
  const HeadQueries& queries = heads.queries();
  if (queries.size() == 0) return {};
  return {queries, std::clamp<std::int64_t>(chunk_tokens / queries.context, 1, queries.sequences)};
}

void send_head_queries(const HeadChunks& chunks, const HeadBuffers& buffers) {
  if (!buffers.query.defined()) return;
  const std::size_t bytes = chunks.query.size() * sizeof(std::int32_t);
  kernels::cuda::upload(buffers.query.data(), chunks.query.data(), bytes, buffers.query.device().index);
  kernels::cuda::upload(buffers.answer.data(), chunks.answer.data(), bytes, buffers.answer.device().index);
}

void score_heads(kernels::Context& ctx, ProxyAt& proxies, const HeadProbe& heads, const EvalSuite& suite,
                 const std::vector<LayoutData>& layouts, const Weights& weights, std::int64_t chunk_tokens,
                 const std::vector<EvalBuffers>& eval, const HeadBuffers& buffers) {
  if (!buffers.query.defined()) return;
  const std::int64_t P = buffers.sums.trials(), T = heads.queries().context, S = heads.queries().sequences;
  const std::size_t at = head_set(suite.sets(), T);
  const HeadChunks chunks = head_chunks(heads, chunk_tokens);
  kernels::zero(ctx, buffers.sums);
  for (std::int64_t c = 0; c < chunks.chunks(); ++c) {
    const std::int64_t first = c * chunks.chunk, count = std::min(chunks.chunk, S - first);
    const auto shared = [&](const Tensor& split) {
      const Tensor part = sequences(split, first, count);
      Tensor all(part.data(), part.dtype(), {P, count, T}, part.device());
      return all.set_trial_stride(0);
    };
    heads.run(ctx, proxies.at(T), layouts[at], weights, shared(eval[at].tokens), shared(eval[at].targets),
              chunks.queries_in(buffers.query, buffers.answer, c), buffers.sums);
  }
}

std::vector<std::vector<Point>> with_head_points(std::vector<std::vector<Point>> points, const HeadProbe& heads,
                                                 const HeadBuffers& buffers, std::span<const std::size_t> slots) {
  if (!buffers.query.defined()) return points;
  std::vector<double> sums(static_cast<std::size_t>(buffers.sums.size()));
  kernels::cuda::download(sums.data(), buffers.sums.data(), sums.size() * sizeof(double), buffers.sums.device().index);
  const auto size = static_cast<std::size_t>(buffers.sums.trial_size());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    std::vector<Point> more = heads.points(std::span(sums).subspan(slots[i] * size, size));
    points[i].insert(points[i].end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return points;
}

}  // namespace hylas::model::cuda
