// The SwiGLU feed-forward half of a layer (see block_ffn.hpp).
#include "model/block_ffn.hpp"

#include "kernels/linear.hpp"
#include "kernels/swiglu.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::Tensor;

FeedForward::FeedForward(int index, const Shape& shape, ParameterTable& table) : table_(table), ffn_(shape.ffn) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".mlp.";
  gate_up_ = table.add_matrix(shape.d_model, {{prefix + "gate_proj.weight", ffn_, Init::fan_in},
                                              {prefix + "up_proj.weight", ffn_, Init::fan_in}});
  down_ = table.add_matrix(ffn_, {{prefix + "down_proj.weight", shape.d_model, Init::output}});
}

void FeedForward::forward(Context& ctx, const Tensor& weights, const Tensor& h, const Tensor& x, Saved& saved) const {
  const std::int64_t P = h.dim(0), B = h.dim(1), T = h.dim(2);
  saved.gate_up = ctx.arena.tensor(h.dtype(), {P, B, T, 2 * ffn_});
  saved.act = ctx.arena.tensor(h.dtype(), {P, B, T, ffn_});
  kernels::linear_forward(ctx, h, table_.view(weights, gate_up_), saved.gate_up);
  kernels::swiglu_forward(ctx, saved.gate_up, saved.act);
  kernels::linear_forward_add(ctx, saved.act, table_.view(weights, down_), x);
}

void FeedForward::backward(Context& ctx, const Tensor& weights, const Tensor& h, const Saved& saved, const Tensor& dx,
                           const Tensor& dh, const Tensor& grads) const {
  kernels::ArenaScope scope(ctx.arena);
  const std::int64_t P = h.dim(0), B = h.dim(1), T = h.dim(2);
  const Tensor dact = ctx.arena.tensor(h.dtype(), {P, B, T, ffn_});
  const Tensor dgate_up = ctx.arena.tensor(h.dtype(), {P, B, T, 2 * ffn_});
  kernels::linear_backward_input(ctx, dx, table_.view(weights, down_), dact, false);
  kernels::linear_backward_weight(ctx, dx, saved.act, table_.view(grads, down_));
  kernels::swiglu_backward(ctx, dact, saved.gate_up, dgate_up);
  kernels::linear_backward_input(ctx, dgate_up, table_.view(weights, gate_up_), dh, false);
  kernels::linear_backward_weight(ctx, dgate_up, h, table_.view(grads, gate_up_));
}

}  // namespace hylas::model
