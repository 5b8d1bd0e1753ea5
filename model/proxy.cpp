// The proxy's forward and backward passes, written on the operators of kernels/ (see proxy.hpp).
#include "model/proxy.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/add_rmsnorm.hpp"
#include "kernels/embed.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "kernels/qkv_rope.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::Tensor;

LayoutData::LayoutData(std::span<const Layout* const> layouts, std::int64_t context)
    : trials_(static_cast<std::int64_t>(layouts.size())) {
  const std::size_t depth = layouts.front()->layers.size();
  values_.reserve(depth * 3 * layouts.size());
  for (std::size_t i = 0; i < depth; ++i) {
    for (const Layout* layout : layouts) {
      const Layer& layer = layout->layers[i];
      const bool windowed = layer.mixer == Mixer::swa;
      values_.push_back(static_cast<std::int32_t>(windowed ? std::min<std::int64_t>(layer.window, context) : context));
    }
    for (const Layout* layout : layouts) values_.push_back(layout->layers[i].rope ? 1 : 0);
    for (const Layout* layout : layouts) values_.push_back(layout->layers[i].sink ? 1 : 0);
  }
}

LayerData LayoutData::layer(int index) const {
  const std::int32_t* base = values_.data() + index * 3 * trials_;
  return {.window = Tensor::of(base, {trials_}),
          .rope_on = Tensor::of(base + trials_, {trials_}),
          .sink_on = Tensor::of(base + 2 * trials_, {trials_})};
}

Proxy::Proxy(const Design& design, kernels::DType dtype) {
  frame_.shape = design.shape;
  frame_.dtype = dtype;
  const Shape& s = frame_.shape;
  const std::int64_t half = s.head_dim / 2;
  const auto table_bytes = static_cast<std::size_t>(s.context * half * kernels::size_of(dtype));
  rope_.resize(2 * table_bytes);
  frame_.cos = Tensor(rope_.data(), dtype, {1, s.context, half});
  frame_.sin = Tensor(rope_.data() + table_bytes, dtype, {1, s.context, half});
  kernels::rope_table(s.rope_theta, frame_.cos, frame_.sin);

  embedding_ = table_.add_matrix(s.d_model, {{"model.embed_tokens.weight", s.vocab, Init::embedding}});
  blocks_.reserve(design.layout.layers.size());
  for (int i = 0; i < design.depth(); ++i) {
    blocks_.emplace_back(design.layout.layers[static_cast<std::size_t>(i)].mixer, i, frame_, table_);
  }
  final_norm_ = table_.add_vector("model.norm.weight", s.d_model, Init::one);
  head_ = s.tied ? embedding_ : table_.add_matrix(s.d_model, {{"lm_head.weight", s.vocab, Init::fan_in}});
  table_.freeze();
}

Proxy::~Proxy() = default;

Tensor Proxy::embed(Context& ctx, const Tensor& weights, const Tensor& tokens) const {
  const Tensor x = ctx.arena.tensor(frame_.dtype, {tokens.dim(0), tokens.dim(1), tokens.dim(2), frame_.shape.d_model});
  kernels::embed_forward(ctx, table_.view(weights, embedding_), tokens, x);
  return x;
}

void Proxy::loss_and_gradients(Context& ctx, const LayoutData& data, const Tensor& weights, const Tensor& tokens,
                               const Tensor& targets, double scale, const Tensor& loss, const Tensor& grads) const {
  kernels::ArenaScope scope(ctx.arena);
  std::vector<Block::Saved> saved(blocks_.size());
  Tensor x = embed(ctx, weights, tokens);
  for (int i = 0; i < depth(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    x = blocks_[at].forward(ctx, data.layer(i), weights, x, saved[at]);
  }
  const Block::Norm last = rms_normalise(ctx, x, table_.view(weights, final_norm_));

  const Tensor dh = ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  const Tensor dx = ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  kernels::linear_cross_entropy_train(ctx, last.h, table_.view(weights, head_), targets, scale, loss, dh,
                                      table_.view(grads, head_));
  std::memset(dx.data(), 0, static_cast<std::size_t>(dx.size() * kernels::size_of(dx.dtype())));
  kernels::add_rmsnorm_backward(ctx, dh, x, table_.view(weights, final_norm_), last.inv_rms, dx,
                                table_.view(grads, final_norm_));
  for (int i = depth() - 1; i >= 0; --i) {
    const auto at = static_cast<std::size_t>(i);
    blocks_[at].backward(ctx, data.layer(i), weights, saved[at], dx, grads);
  }
  kernels::embed_backward(ctx, dx, tokens, table_.view(grads, embedding_));
}

Tensor Proxy::infer(Context& ctx, const LayoutData& data, const Tensor& weights, const Tensor& tokens) const {
  const Tensor x = embed(ctx, weights, tokens);
  for (int i = 0; i < depth(); ++i) blocks_[static_cast<std::size_t>(i)].infer(ctx, data.layer(i), weights, x);
  return rms_normalise(ctx, x, table_.view(weights, final_norm_)).h;
}

void Proxy::evaluate(Context& ctx, const LayoutData& data, const Tensor& weights, const Tensor& tokens,
                     const Tensor& targets, const Tensor& loss, const Tensor& predicted) const {
  kernels::ArenaScope scope(ctx.arena);
  const Tensor h = infer(ctx, data, weights, tokens);
  kernels::linear_cross_entropy_eval(ctx, h, table_.view(weights, head_), targets, loss, predicted);
}

void Proxy::logits(Context& ctx, const LayoutData& data, const Tensor& weights, const Tensor& tokens,
                   const Tensor& logits) const {
  kernels::ArenaScope scope(ctx.arena);
  const Tensor h = infer(ctx, data, weights, tokens);
  kernels::linear_forward(ctx, h, table_.view(weights, head_), logits);
}

}  // namespace hylas::model
