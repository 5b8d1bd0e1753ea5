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

inline constexpr double kNormEps = 1e-6;

class Block {
 public:
  // A pre-norm branch's own memory: x before the branch, its norm and the norm's factor.
  struct Norm {
    kernels::Tensor x, h, inv_rms;
  };
  struct Saved {
    Norm mixer_norm, ffn_norm;
    MixerSaved mixer;
    FeedForward::Saved ffn;
  };

  // Declares the parameters of layer `index` in `table`; frame and table must outlive the block.
  Block(Mixer mixer, int index, const MixerFrame& frame, ParameterTable& table);

  // Returns the residual stream after the layer, a fresh tensor of ctx.arena; x itself is kept for backward.
  [[nodiscard]] kernels::Tensor forward(kernels::Context& ctx, const LayerData& data, const kernels::Tensor& weights,
                                        const kernels::Tensor& x, Saved& saved) const;
  // The same without keeping anything: x is updated in place and the arena left as it was.
  void infer(kernels::Context& ctx, const LayerData& data, const kernels::Tensor& weights,
             const kernels::Tensor& x) const;
  // dx: in, the gradient of the layer's output; out, of its input. Adds into grads.
  void backward(kernels::Context& ctx, const LayerData& data, const kernels::Tensor& weights, const Saved& saved,
                const kernels::Tensor& dx, const kernels::Tensor& grads) const;

 private:
  const ParameterTable& table_;
  ParameterId mixer_norm_, ffn_norm_;
  std::unique_ptr<MixerOperator> mixer_;
  std::optional<FeedForward> ffn_;
};

// RMSNorm of x into fresh tensors of ctx.arena.
[[nodiscard]] Block::Norm rms_normalise(kernels::Context& ctx, const kernels::Tensor& x, const kernels::Tensor& weight);

}  // namespace hylas::model
