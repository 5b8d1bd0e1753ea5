// The evaluation suite on a GPU: its sequences sent once, every trial run over them, and what was predicted at the
// scored positions brought back as points.
#pragma once

#include <span>
#include <vector>

#include "model/cuda/buffers.hpp"
#include "model/proxy_at.hpp"

namespace hylas::model::cuda {

void send_sequences(const EvalSuite& suite, const std::vector<EvalBuffers>& buffers);

// Enqueues the forward passes of P trials over all sets, at most `chunk_tokens` tokens of a trial at a time, and the
// gathering of the scored positions. layouts: of each set. Activations come from ctx.arena.
void evaluate_suite(kernels::Context& ctx, ProxyAt& proxies, const EvalSuite& suite,
                    const std::vector<LayoutData>& layouts, const Weights& weights, std::int64_t P,
                    std::int64_t chunk_tokens, const std::vector<EvalBuffers>& buffers);

// Waits for the device. The points of the trials in these slots, in their order.
[[nodiscard]] std::vector<std::vector<Point>> suite_points(const EvalSuite& suite,
                                                           const std::vector<EvalBuffers>& buffers,
                                                           std::span<const std::size_t> slots, int threads);

}  // namespace hylas::model::cuda
