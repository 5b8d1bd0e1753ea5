// norm_linear: a pre-norm branch's first product, y = RMSNorm(x) W^T, and its gradients.
//
//   x [P, B, T, d]   norm_weight [P, d]   w [P, out, d]   y [P, B, T, out]
//
//   forward:  h = norm_weight * x * inv_rms, y = h W^T; with a rope (whose heads then say what y is) the query and key
//             heads of y are rotated. What backward needs is taken from ctx.arena; a backend that makes h again keeps
//             none.
//   backward: dw += dy^T h;  dx += the gradient through product and norm (dx = residual + it, where a
//             residual is given);  dnorm_weight += likewise
//
// dtypes and sources: linear.hpp, add_rmsnorm.hpp, qkv_rope.hpp. On a GPU narrow bf16 models run as one kernel
// (kernels/cuda/fused.hpp), everything else as the operators one after another.
#pragma once

#include "kernels/context.hpp"
#include "kernels/qkv_rope.hpp"

namespace hylas::kernels {

struct NormSaved {
  Tensor h, inv_rms;  // absent where backward makes them again
};

// The rotation that follows the product, where y is a qkv activation.
struct RopeEpilogue {
  Heads heads;
  Rope rope;
};

void norm_linear_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps, const Tensor& w,
                         const Tensor& y, NormSaved& saved, const RopeEpilogue* rope = nullptr);
void norm_linear_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight, double eps,
                          const Tensor& w, const NormSaved& saved, const Tensor& dx, const Tensor& dnorm_weight,
                          const Tensor& dw, const Tensor& residual = {});

}  // namespace hylas::kernels
