// The decoder of the last hidden state (see decoder.hpp).
#include "model/decoder.hpp"

#include "kernels/broadcast_last.hpp"

namespace hylas::model {
namespace {

using kernels::Context;
using kernels::Tensor;

Tensor fresh(Context& ctx, const Tensor& x) {
  return ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
}

}  // namespace

Decoder::Decoder(const Shape& shape, const Tensor& position, ParameterTable& table)
    : position_(position),
      mlp_("decoder.norm.weight", "decoder.mlp.", shape.d_model, shape.ffn > 0 ? shape.ffn : 3 * shape.d_model, table) {
}

Tensor Decoder::forward(Context& ctx, const Weights& weights, const Tensor& x, Saved& saved) const {
  saved.z = fresh(ctx, x);
  const Tensor y = fresh(ctx, x);
  kernels::broadcast_last_forward(ctx, x, position_, saved.z);
  saved.mlp = mlp_.forward(ctx, weights, saved.z, y);
  return y;
}

Tensor Decoder::infer(Context& ctx, const Weights& weights, const Tensor& x) const {
  const Tensor y = fresh(ctx, x);
  const kernels::ArenaScope scope(ctx.arena);
  kernels::broadcast_last_forward(ctx, x, position_, y);
  (void)mlp_.forward(ctx, weights, y, y);
  return y;
}

void Decoder::backward(Context& ctx, const Weights& weights, const Saved& saved, const Tensor& dx, const Tensor& spare,
                       const Tensor& grads) const {
  mlp_.backward(ctx, weights, saved.z, saved.mlp, dx, spare, grads);
  kernels::broadcast_last_backward(ctx, spare, dx);
}

}  // namespace hylas::model
