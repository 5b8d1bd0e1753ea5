// The SwiGLU half of a layer out of the smaller operators, or fused (see feed_forward.hpp).
#include "kernels/feed_forward.hpp"

#include "kernels/build.hpp"
#include "kernels/cuda/fused.hpp"
#include "kernels/linear.hpp"
#include "kernels/swiglu.hpp"

namespace hylas::kernels {
namespace {

Tensor rows_like(Context& ctx, const Tensor& x, std::int64_t columns) {
  return ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), columns});
}

bool fused(const Context& ctx, const Tensor& x, const FeedForwardWeights& weights) {
  if (ctx.device.kind != DeviceKind::cuda || x.dtype() != DType::bf16) return false;
  if constexpr (with_cuda) {
    return cuda::fused_fits(ctx, x.dim(-1)) && cuda::fused_ffn_supported(x.dim(-1), weights.down.dim(2));
  }
  return false;
}

}  // namespace

FeedForwardSaved feed_forward_forward(Context& ctx, const Tensor& x, const FeedForwardWeights& weights, double eps,
                                      const Tensor& y) {
  FeedForwardSaved saved;
  if constexpr (with_cuda) {
    if (fused(ctx, x, weights)) {
      cuda::fused_ffn_forward(ctx, x, weights.norm, eps, weights.gate_up, weights.down, y);
      return saved;
    }
  }
  const std::int64_t f = weights.down.dim(2);
  saved.gate_up = rows_like(ctx, x, 2 * f);
  saved.act = rows_like(ctx, x, f);
  norm_linear_forward(ctx, x, weights.norm, eps, weights.gate_up, saved.gate_up, saved.norm);
  swiglu_forward(ctx, saved.gate_up, saved.act);
  linear_forward_add(ctx, saved.act, weights.down, x, y);
  return saved;
}

void feed_forward_backward(Context& ctx, const Tensor& x, const FeedForwardWeights& weights, double eps,
                           const FeedForwardSaved& saved, const Tensor& dy, const Tensor& dx,
                           const FeedForwardWeights& gradients) {
  const ArenaScope scope(ctx.arena);
  const std::int64_t f = weights.down.dim(2);
  const Tensor dgate_up = rows_like(ctx, x, 2 * f);
  if constexpr (with_cuda) {
    if (fused(ctx, x, weights)) {
      const Tensor h = rows_like(ctx, x, x.dim(-1)), act = rows_like(ctx, x, f);
      cuda::fused_ffn_backward(ctx, dy, x, weights.norm, eps, weights.gate_up, weights.down, dx, h, act, dgate_up,
                               gradients.norm);
      linear_backward_weight(ctx, dy, act, gradients.down);
      linear_backward_weight(ctx, dgate_up, h, gradients.gate_up);
      return;
    }
  }
  const Tensor dact = rows_like(ctx, x, f);
  linear_backward_input(ctx, dy, weights.down, dact, false);
  linear_backward_weight(ctx, dy, saved.act, gradients.down);
  swiglu_backward(ctx, dact, saved.gate_up, dgate_up, {});
  norm_linear_backward(ctx, dgate_up, x, weights.norm, eps, weights.gate_up, saved.norm, dx, gradients.norm,
                       gradients.gate_up, dy);
}

}  // namespace hylas::kernels
