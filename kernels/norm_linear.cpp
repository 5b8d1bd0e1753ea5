// A pre-norm branch's first product out of the smaller operators, or fused (see norm_linear.hpp).
#include "kernels/norm_linear.hpp"

#include "kernels/add_rmsnorm.hpp"
#include "kernels/build.hpp"
#include "kernels/cuda/fused.hpp"
#include "kernels/linear.hpp"
#include "kernels/stat_dtype.hpp"

namespace hylas::kernels {
namespace {

Tensor like(Context& ctx, const Tensor& x) {
  return ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
}

// Whether one kernel does it, with the rotation where there is one.
bool fused(const Context& ctx, const Tensor& x, const Tensor& w, const RopeEpilogue* rope) {
  if (ctx.device.kind != DeviceKind::cuda || x.dtype() != DType::bf16) return false;
  if constexpr (with_cuda) {
    if (!cuda::fused_fits(ctx, x.dim(-1))) return false;
    return rope != nullptr ? cuda::fused_norm_linear_supported(x.dim(-1), w.dim(1), rope->heads)
                           : cuda::fused_norm_linear_supported(x.dim(-1), w.dim(1));
  }
  return false;
}

}  // namespace

void norm_linear_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps, const Tensor& w,
                         const Tensor& y, NormSaved& saved, const RopeEpilogue* rope) {
  saved = {};
  if constexpr (with_cuda) {
    if (fused(ctx, x, w, rope)) {
      cuda::FusedRope turn;
      if (rope != nullptr) turn = {rope->heads, rope->rope.cos, rope->rope.sin, rope->rope.on};
      cuda::fused_norm_linear_forward(ctx, x, norm_weight, eps, w, y, rope != nullptr ? &turn : nullptr);
      return;
    }
  }
  saved.inv_rms = ctx.arena.tensor(stat_dtype(x.dtype()), {x.dim(0), x.dim(1), x.dim(2)});
  const bool keep = ctx.device.kind == DeviceKind::cpu;  // on a GPU memory is what is short
  if (keep) saved.h = like(ctx, x);
  const ArenaScope scope(ctx.arena);
  const Tensor h = keep ? saved.h : like(ctx, x);
  add_rmsnorm_forward(ctx, x, {}, norm_weight, eps, h, saved.inv_rms);
  linear_forward(ctx, h, w, y);
  if (rope != nullptr) qkv_rope_forward(ctx, rope->heads, rope->rope, y);
}

void norm_linear_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight, double eps,
                          const Tensor& w, const NormSaved& saved, const Tensor& dx, const Tensor& dnorm_weight,
                          const Tensor& dw, const Tensor& residual) {
  const ArenaScope scope(ctx.arena);
  const Tensor h = saved.h.defined() ? saved.h : like(ctx, x);
  const Tensor remade = saved.h.defined() ? Tensor() : h;  // who keeps no h makes it again
  if constexpr (with_cuda) {
    if (fused(ctx, x, w, nullptr)) {
      cuda::fused_norm_linear_backward(ctx, dy, x, norm_weight, eps, w, residual.defined() ? residual : dx, dx, h,
                                       dnorm_weight);
      linear_backward_weight(ctx, dy, h, dw);
      return;
    }
  }
  const Tensor dh = like(ctx, x);
  linear_backward_input(ctx, dy, w, dh, false);
  add_rmsnorm_backward(ctx, dh, x, norm_weight, saved.inv_rms, dx, dnorm_weight, remade, eps, residual);
  linear_backward_weight(ctx, dy, h, dw);
}

}  // namespace hylas::kernels
