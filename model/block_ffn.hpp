// FeedForward: the SwiGLU half of a layer, x += W_down(silu(W_gate h) * (W_up h)) with h = RMSNorm(x) (MATHS 1).
//
// Shapes: x, h, dx, dh [P, B, T, d]; weights, grads [P, N]. gate and up are one fused matrix [P, 2 f, d].
// Thread-safety: const after construction; a call uses only its Context.
#pragma once

#include "kernels/context.hpp"
#include "model/design/shape.hpp"
#include "model/parameters.hpp"

namespace hylas::model {

class FeedForward {
 public:
  struct Saved {
    kernels::Tensor gate_up, act;
  };

  // Declares layer `index`'s weights in `table`, which must outlive this.
  FeedForward(int index, const Shape& shape, ParameterTable& table);
  void forward(kernels::Context& ctx, const kernels::Tensor& weights, const kernels::Tensor& h,
               const kernels::Tensor& x, Saved& saved) const;
  // Writes dh, adds into grads.
  void backward(kernels::Context& ctx, const kernels::Tensor& weights, const kernels::Tensor& h, const Saved& saved,
                const kernels::Tensor& dx, const kernels::Tensor& dh, const kernels::Tensor& grads) const;

 private:
  const ParameterTable& table_;
  std::int64_t ffn_;
  ParameterId gate_up_, down_;
};

}  // namespace hylas::model
