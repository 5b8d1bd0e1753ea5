// linear: y = x W^T without bias, and its two gradients.
//
//   x  [P, ..., in]   w  [P, out, in]   y  [P, ..., out]      all of one dtype (f32, f64 or, on a GPU, bf16)
//
// backward_input: dx = dy W (or dx += with accumulate). backward_weight: dw += dy^T x, always accumulated (dw is f32
// where the others are bf16).
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

void linear_forward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y);
// y = residual + x W^T; residual may be y. The residual stream takes a branch's output without a second pass.
void linear_forward_add(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& residual, const Tensor& y);
void linear_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, const Tensor& dx, bool accumulate);
void linear_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& dw);

}  // namespace hylas::kernels
