// feed_forward: the SwiGLU half of a layer, y = x + W_down(silu(W_gate h) * (W_up h)) with h = RMSNorm(x), and its
// gradients.
//
//   x, y [P, B, T, d]   norm_weight [P, d]   gate_up [P, 2 f, d] (gate's rows first)   down [P, d, f]
//
//   forward:  y may be x. What backward needs besides x is taken from ctx.arena and returned.
//   backward: from dy writes dx (another tensor) and adds the parameters' gradients.
//
// dtypes and sources: linear.hpp, add_rmsnorm.hpp, swiglu.hpp. On a GPU narrow bf16 models run as one kernel a
// direction (kernels/cuda/fused.hpp) that keeps nothing but x, everything else as the operators one after another.
#pragma once

#include "kernels/context.hpp"
#include "kernels/norm_linear.hpp"

namespace hylas::kernels {

struct FeedForwardSaved {
  NormSaved norm;
  Tensor gate_up, act;  // absent where backward makes them again
};

struct FeedForwardWeights {  // or their gradients
  Tensor norm, gate_up, down;
};

[[nodiscard]] FeedForwardSaved feed_forward_forward(Context& ctx, const Tensor& x, const FeedForwardWeights& weights,
                                                    double eps, const Tensor& y);
void feed_forward_backward(Context& ctx, const Tensor& x, const FeedForwardWeights& weights, double eps,
                           const FeedForwardSaved& saved, const Tensor& dy, const Tensor& dx,
                           const FeedForwardWeights& gradients);

}  // namespace hylas::kernels
