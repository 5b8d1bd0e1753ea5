// The feed-forward branch's forward pass (fused.hpp) for Hopper GPUs: wgmma, and weights streamed by the copy engine.
//
// Same tensors and dtypes as fused_ffn_forward. Returns false, having launched nothing, where it does not apply: other
// GPUs or dtypes, d_model other than 128 and 256, an ffn width that is no multiple of 64, trials that do not start at
// multiples of 16 bytes. The bits of a row depend on its trial's data only.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels::cuda {

[[nodiscard]] bool hopper_ffn_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps,
                                      const Tensor& gate_up, const Tensor& down, const Tensor& y);
}  // namespace hylas::kernels::cuda
