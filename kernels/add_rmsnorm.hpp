// add_rmsnorm: the residual sum and the RMSNorm that follows it, in one pass.
//
//   x [P, ..., d] (residual stream)   branch [P, ..., d] or absent   weight [P, d]   h [P, ..., d]   inv_rms [P, ...]
//
//   forward:   x += branch (when present);  inv_rms = (mean(x^2) + eps)^-1/2;  h = weight * x * inv_rms
//   backward:  dx += d h/d x applied to dh;  dweight += sum over rows of dh * x * inv_rms
//              (dx holds the gradient that arrives along the residual stream; x is the value after the sum)
//              residual, where it is given, holds that gradient instead: dx = residual + d h/d x applied to dh
//              h, where it is given, receives the forward pass's h again, so that nobody needs to keep it;
//              inv_rms may be absent where x and eps are there to make it again (both on a GPU only)
//
// bf16 (on a GPU): x, branch, h, dh, dx are bf16; weight, inv_rms, dweight f32.
//
// Source: RMSNorm, arXiv 1910.07467; eps inside the root as in Hugging Face's Llama family.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

void add_rmsnorm_forward(Context& ctx, const Tensor& x, const Tensor& branch, const Tensor& weight, double eps,
                         const Tensor& h, const Tensor& inv_rms);
void add_rmsnorm_backward(Context& ctx, const Tensor& dh, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                          const Tensor& dx, const Tensor& dweight, const Tensor& h = {}, double eps = 0,
                          const Tensor& residual = {});

}  // namespace hylas::kernels
