// Attention on Hopper GPUs (compute capability 9.0): kernels/attention.hpp in bf16 with wgmma, for head dims 64 and
// 128.
//
// Each function returns false, having launched nothing, where it does not apply: another GPU, dtype or head dim, or
// memory that the copy engine cannot address (every tensor aligned to 16 bytes, trials a multiple of 16 bytes apart).
// The caller has checked dims and then takes the portable path. Same bits whatever P, the grid, and the other trials:
// every sum runs in an order that only T and the window fix.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/qkv_rope.hpp"

namespace hylas::kernels::cuda {

[[nodiscard]] bool hopper_attention_forward(Context& ctx, const Heads& heads, const AttentionData& data,
                                            const Tensor& qkv, const Tensor& out, const Tensor& lse);
// Writes all of dqkv: with rope defined, dq and dk of trials with rope.on != 0 are rotated back. Leaves the gradient of
// the sink to the caller.
[[nodiscard]] bool hopper_attention_backward(Context& ctx, const Heads& heads, const AttentionData& data,
                                             const Rope& rope, const Tensor& qkv, const Tensor& out, const Tensor& lse,
                                             const Tensor& dout, const Tensor& dqkv);

}  // namespace hylas::kernels::cuda
