// The scores of heads on a GPU (model/probe/head_scores.hpp): their queries sent once, sums of all trials brought back
// as points.
#pragma once

#include <span>
#include <vector>

#include "kernels/arena.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/probe/head_scores.hpp"
#include "model/proxy_at.hpp"

namespace hylas::model::cuda {

struct EvalBuffers;

// All absent where the plan wants no scores.
struct HeadBuffers {
  kernels::Tensor query, answer;  // [1, 2 n] i32, as HeadChunks lays them out
  kernels::Tensor sums;           // [P, heads, HeadSum::count] f64
};

[[nodiscard]] HeadBuffers take_head_buffers(kernels::Arena& arena, std::int64_t trials, const HeadProbe& heads);
// The chunks that score_heads() goes by at this many tokens of a trial at a time.
[[nodiscard]] HeadChunks head_chunks(const HeadProbe& heads, std::int64_t chunk_tokens);
void send_head_queries(const HeadChunks& chunks, const HeadBuffers& buffers);
// Enqueues the forward passes of P trials over the set that has the queries; layouts and eval: of each set.
void score_heads(kernels::Context& ctx, ProxyAt& proxies, const HeadProbe& heads, const EvalSuite& suite,
                 const std::vector<LayoutData>& layouts, const Weights& weights, std::int64_t chunk_tokens,
                 const std::vector<EvalBuffers>& eval, const HeadBuffers& buffers);
// Waits for the device. `points` with those of the heads of slots[i] behind points[i].
[[nodiscard]] std::vector<std::vector<Point>> with_head_points(std::vector<std::vector<Point>> points,
                                                               const HeadProbe& heads, const HeadBuffers& buffers,
                                                               std::span<const std::size_t> slots);

}  // namespace hylas::model::cuda
