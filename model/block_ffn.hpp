// FeedForward: the SwiGLU half of a layer, y = x + W_down(silu(W_gate h) * (W_up h)) with h = RMSNorm(x) (MATHS 1).
//
// Shapes: x, y, dy, dx [P, B, T, d]; weights, grads [P, N]. gate and up are one fused matrix [P, 2 f, d].
// Thread-safety: const after construction; a call uses only its Context.
#pragma once

#include <string>

#include "kernels/feed_forward.hpp"
#include "model/design/shape.hpp"
#include "model/parameters.hpp"

namespace hylas::model {

class FeedForward {
 public:
  using Saved = kernels::FeedForwardSaved;

  // Declares layer `index`'s weights in `table`, which must outlive this.
  FeedForward(int index, const Shape& shape, ParameterTable& table);
  // The same of width `ffn` under other names: the norm's, and what precedes "gate_proj.weight" and its like.
  FeedForward(const std::string& norm, const std::string& prefix, std::int64_t d_model, std::int64_t ffn,
              ParameterTable& table);
  // y may be x.
  [[nodiscard]] Saved forward(kernels::Context& ctx, const Weights& weights, const kernels::Tensor& x,
                              const kernels::Tensor& y) const;
  // Writes dx (not dy's memory), adds into grads.
  void backward(kernels::Context& ctx, const Weights& weights, const kernels::Tensor& x, const Saved& saved,
                const kernels::Tensor& dy, const kernels::Tensor& dx, const kernels::Tensor& grads) const;

 private:
  template <class Block>  // Weights, or a block of gradients
  [[nodiscard]] kernels::FeedForwardWeights views(const Block& block) const;

  const ParameterTable& table_;
  ParameterId norm_, gate_up_, down_;
};

}  // namespace hylas::model
