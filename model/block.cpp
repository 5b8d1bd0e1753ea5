// One layer of the proxy: two pre-norm branches on the residual stream (see block.hpp).
#include "model/block.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::Tensor;

Block::Block(Mixer mixer, int index, const MixerFrame& frame, ParameterTable& table)
    : mixer_(make_mixer(mixer, index, frame, table)) {
  if (frame.shape.ffn > 0) ffn_.emplace(index, frame.shape, table);
}

Tensor Block::forward(Context& ctx, const LayerData& data, const Weights& weights, const Tensor& x,
                      Saved& saved) const {
  const auto fresh = [&] { return ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)}); };
  saved.x = x;
  saved.middle = fresh();
  mixer_->forward(ctx, data, weights, x, saved.middle, saved.mixer);
  if (!ffn_) return saved.middle;
  const Tensor out = fresh();
  saved.ffn = ffn_->forward(ctx, weights, saved.middle, out);
  return out;
}

void Block::infer(Context& ctx, const LayerData& data, const Weights& weights, const Tensor& x) const {
  {
    const kernels::ArenaScope scope(ctx.arena);
    MixerSaved unused;
    mixer_->forward(ctx, data, weights, x, x, unused);
  }
  const kernels::ArenaScope scope(ctx.arena);
  if (ffn_) (void)ffn_->forward(ctx, weights, x, x);
}

Tensor Block::backward(Context& ctx, const LayerData& data, const Weights& weights, const Saved& saved,
                       const Tensor& dx, const Tensor& spare, const Tensor& grads) const {
  if (ffn_) ffn_->backward(ctx, weights, saved.middle, saved.ffn, dx, spare, grads);
  const Tensor& middle = ffn_ ? spare : dx;
  mixer_->backward(ctx, data, weights, saved.x, saved.mixer, middle, grads);
  return middle;
}

}  // namespace hylas::model
