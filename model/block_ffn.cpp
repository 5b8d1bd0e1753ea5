// The SwiGLU feed-forward half of a layer (see block_ffn.hpp).
#include "model/block_ffn.hpp"

#include "model/mixer/mixer.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::Tensor;

FeedForward::FeedForward(int index, const Shape& shape, ParameterTable& table)
    : FeedForward("model.layers." + std::to_string(index) + ".post_attention_layernorm.weight",
                  "model.layers." + std::to_string(index) + ".mlp.", shape.d_model, shape.ffn, table) {}

FeedForward::FeedForward(const std::string& norm, const std::string& prefix, std::int64_t d_model, std::int64_t ffn,
                         ParameterTable& table)
    : table_(table) {
  gate_up_ = table.add_matrix(
      d_model, {{prefix + "gate_proj.weight", ffn, Init::fan_in}, {prefix + "up_proj.weight", ffn, Init::fan_in}});
  down_ = table.add_matrix(ffn, {{prefix + "down_proj.weight", d_model, Init::output}});
  norm_ = table.add_vector(norm, d_model, Init::one);
}

template <class Block>
kernels::FeedForwardWeights FeedForward::views(const Block& block) const {
  return {
      .norm = table_.view(block, norm_), .gate_up = table_.view(block, gate_up_), .down = table_.view(block, down_)};
}

FeedForward::Saved FeedForward::forward(Context& ctx, const Weights& weights, const Tensor& x, const Tensor& y) const {
  return kernels::feed_forward_forward(ctx, x, views(weights), kNormEps, y);
}

void FeedForward::backward(Context& ctx, const Weights& weights, const Tensor& x, const Saved& saved, const Tensor& dy,
                           const Tensor& dx, const Tensor& grads) const {
  kernels::feed_forward_backward(ctx, x, views(weights), kNormEps, saved, dy, dx, views(grads));
}

}  // namespace hylas::model
