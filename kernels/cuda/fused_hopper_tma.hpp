// The feed-forward branch of fused.hpp for Hopper GPUs: wgmma, and weights streamed by the copy engine.
//
// Same operators, tensors and dtypes as fused_ffn_forward and fused_ffn_backward. A function returns false, having
// launched nothing, where it does not apply: other GPUs or dtypes, d_model other than 128 and 256, an ffn width that is
// no multiple of 64, trials that do not start at multiples of 16 bytes. The bits of a row depend on its trial's data
// only; those of dnorm_weight also on the number of rows.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels::cuda {

[[nodiscard]] bool hopper_ffn_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps,
                                      const Tensor& gate_up, const Tensor& down, const Tensor& y);
[[nodiscard]] bool hopper_ffn_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight,
                                       double eps, const Tensor& gate_up, const Tensor& down, const Tensor& dx_out,
                                       const Tensor& h_out, const Tensor& act_out, const Tensor& dgate_up_out,
                                       const Tensor& dnorm_weight);

}  // namespace hylas::kernels::cuda
