// Block: one layer of the proxy, a pre-norm mixer followed by a pre-norm SwiGLU feed-forward block (none when ffn = 0).
//
//   x += Mixer(RMSNorm(x));  x += FFN(RMSNorm(x))        eps 1e-6
//
// Shapes: x, dx [P, B, T, d]; weights, grads [P, N]. Thread-safety: const after construction; a call uses its Context.
#pragma once

#include <memory>
#include <optional>

#include "kernels/context.hpp"
#include "model/block_ffn.hpp"
#include "model/mixer/mixer.hpp"

namespace hylas::model {

class Block {
 public:
  struct Saved {
    kernels::Tensor x, middle;  // the residual stream before the mixer and before the feed-forward block
    MixerSaved mixer;
    FeedForward::Saved ffn;
  };

  // Declares the parameters of layer `index` in `table`; frame and table must outlive the block.
  Block(Mixer mixer, int index, const MixerFrame& frame, ParameterTable& table);

  // Returns the residual stream after the layer, a fresh tensor of ctx.arena; x itself is kept for backward.
  [[nodiscard]] kernels::Tensor forward(kernels::Context& ctx, const LayerData& data, const Weights& weights,
                                        const kernels::Tensor& x, Saved& saved) const;
  // The same without keeping anything: x is updated in place and the arena left as it was.
  void infer(kernels::Context& ctx, const LayerData& data, const Weights& weights, const kernels::Tensor& x) const;
  // From dx, the gradient of the layer's output, the gradient of its input: in dx or in spare, whichever is returned;
  // the other is free then. Adds into grads.
  [[nodiscard]] kernels::Tensor backward(kernels::Context& ctx, const LayerData& data, const Weights& weights,
                                         const Saved& saved, const kernels::Tensor& dx, const kernels::Tensor& spare,
                                         const kernels::Tensor& grads) const;

 private:
  std::unique_ptr<MixerOperator> mixer_;
  std::optional<FeedForward> ffn_;
};

}  // namespace hylas::model
