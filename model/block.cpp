// One layer of the proxy: two pre-norm branches on the residual stream (see block.hpp).
#include "model/block.hpp"

#include <cstring>

#include "kernels/add_rmsnorm.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::Tensor;

namespace {

// A fresh copy of an activation; the branch is then added to the copy, so that backward still finds x.
Tensor copy_of(Context& ctx, const Tensor& x) {
  const Tensor y = ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  std::memcpy(y.data(), x.data(), static_cast<std::size_t>(x.size() * kernels::size_of(x.dtype())));
  return y;
}

}  // namespace

Block::Norm rms_normalise(Context& ctx, const Tensor& x, const Tensor& weight) {
  const Block::Norm norm{.x = x,
                         .h = ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)}),
                         .inv_rms = ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2)})};
  kernels::add_rmsnorm_forward(ctx, x, {}, weight, kNormEps, norm.h, norm.inv_rms);
  return norm;
}

Block::Block(Mixer mixer, int index, const MixerFrame& frame, ParameterTable& table) : table_(table) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  mixer_ = make_mixer(mixer, index, frame, table);
  mixer_norm_ = table.add_vector(prefix + "input_layernorm.weight", frame.shape.d_model, Init::one);
  if (frame.shape.ffn > 0) {
    ffn_.emplace(index, frame.shape, table);
    ffn_norm_ = table.add_vector(prefix + "post_attention_layernorm.weight", frame.shape.d_model, Init::one);
  }
}

Tensor Block::forward(Context& ctx, const LayerData& data, const Tensor& weights, const Tensor& x, Saved& saved) const {
  saved.mixer_norm = rms_normalise(ctx, x, table_.view(weights, mixer_norm_));
  const Tensor middle = copy_of(ctx, x);
  mixer_->forward(ctx, data, weights, saved.mixer_norm.h, middle, saved.mixer);
  if (!ffn_) return middle;
  saved.ffn_norm = rms_normalise(ctx, middle, table_.view(weights, ffn_norm_));
  const Tensor out = copy_of(ctx, middle);
  ffn_->forward(ctx, weights, saved.ffn_norm.h, out, saved.ffn);
  return out;
}

void Block::infer(Context& ctx, const LayerData& data, const Tensor& weights, const Tensor& x) const {
  kernels::ArenaScope scope(ctx.arena);
  Saved unused;
  mixer_->forward(ctx, data, weights, rms_normalise(ctx, x, table_.view(weights, mixer_norm_)).h, x, unused.mixer);
  if (ffn_) ffn_->forward(ctx, weights, rms_normalise(ctx, x, table_.view(weights, ffn_norm_)).h, x, unused.ffn);
}

void Block::backward(Context& ctx, const LayerData& data, const Tensor& weights, const Saved& saved, const Tensor& dx,
                     const Tensor& grads) const {
  kernels::ArenaScope scope(ctx.arena);
  const Tensor dh = ctx.arena.tensor(dx.dtype(), {dx.dim(0), dx.dim(1), dx.dim(2), dx.dim(3)});
  const auto through_norm = [&](const Norm& norm, ParameterId weight) {
    kernels::add_rmsnorm_backward(ctx, dh, norm.x, table_.view(weights, weight), norm.inv_rms, dx,
                                  table_.view(grads, weight));
  };
  if (ffn_) {
    ffn_->backward(ctx, weights, saved.ffn_norm.h, saved.ffn, dx, dh, grads);
    through_norm(saved.ffn_norm, ffn_norm_);
  }
  mixer_->backward(ctx, data, weights, saved.mixer_norm.h, saved.mixer, dx, dh, grads);
  through_norm(saved.mixer_norm, mixer_norm_);
}

}  // namespace hylas::model
