// Decoder: what makes of the last hidden state and a position the hidden state from which that position's target is
// predicted. A proxy has one between its last layer and its final norm where the task asks for it (Head::decoder).
//
//   z[b, t] = x[b, T - 1] + position[t];   y = z + W_down(silu(W_gate h) * (W_up h)) with h = RMSNorm(z)
//
// position: fixed sines and cosines (kernels/broadcast_last.hpp). The width of the feed-forward branch is the shape's
// ffn, or 3 d_model where the layers have none.
//
// A port of the decoder of MAD's compression task (arXiv 2403.17844; mad-lab, AutoEncoder): there it is twice (norm,
// linear d x d, GELU) without a residual, here one pre-norm SwiGLU branch as in the layers; broadcast, position codes,
// and the norm and linear head after it are the original's.
//
// Shapes: x, y, dy, dx [P, B, T, d], T = shape.context; weights, grads [P, N]. The parameters are named "decoder...".
// Thread-safety: const after construction; a call uses only its Context.
#pragma once

#include "kernels/context.hpp"
#include "model/block_ffn.hpp"

namespace hylas::model {

class Decoder {
 public:
  struct Saved {
    kernels::Tensor z;
    FeedForward::Saved mlp;
  };

  // Declares its parameters in `table`, which must outlive it, as must the memory of position {1, T, d}.
  Decoder(const Shape& shape, const kernels::Tensor& position, ParameterTable& table);

  // Returns y, a fresh tensor of ctx.arena.
  [[nodiscard]] kernels::Tensor forward(kernels::Context& ctx, const Weights& weights, const kernels::Tensor& x,
                                        Saved& saved) const;
  // The same without keeping anything but y.
  [[nodiscard]] kernels::Tensor infer(kernels::Context& ctx, const Weights& weights, const kernels::Tensor& x) const;
  // In dx: y's gradient before, x's after. spare is overwritten. Adds into grads.
  void backward(kernels::Context& ctx, const Weights& weights, const Saved& saved, const kernels::Tensor& dx,
                const kernels::Tensor& spare, const kernels::Tensor& grads) const;

 private:
  kernels::Tensor position_;
  FeedForward mlp_;
};

}  // namespace hylas::model
