// MixerOperator: what every token mixer of a proxy offers. A new mixer is one file in this folder (plus its operators
// in kernels/) and one line in the table of mixer.cpp.
//
//   forward:   x += Mixer(h), with h = RMSNorm(x) from the block around it; what backward needs is taken from ctx.arena
//              and returned in Saved
//   backward:  from dx, the gradient of x after the sum (which is the gradient of the branch), writes dh and adds the
//              gradients of the mixer's parameters into `grads`
//
// Shapes: x, h, dx, dh [P, B, T, d]; weights, grads: blocks [P, N] of model/parameters.hpp; layer data [P] each.
// `full` and `swa` are one operator: the window is data. Errors: InputError for a mixer that cannot be trained.
// Thread-safety: const after construction; a call uses only its Context.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/context.hpp"
#include "kernels/tensor.hpp"
#include "model/design/design.hpp"
#include "model/parameters.hpp"

namespace hylas::model {

// What differs in one layer between the trials of a cohort: i32 tensors [P].
struct LayerData {
  kernels::Tensor window;   // >= 1; the context for full attention
  kernels::Tensor rope_on;  // 0: NoPE
  kernels::Tensor sink_on;  // 0: no sink
};

// What a mixer keeps from forward to backward, in its own order.
struct MixerSaved {
  std::array<kernels::Tensor, 8> tensors;
};

// What is common to all layers of a proxy.
struct MixerFrame {
  Shape shape;
  kernels::DType dtype = kernels::DType::f32;
  kernels::Tensor cos, sin;  // {1, T, head_dim / 2}, see kernels/qkv_rope.hpp
};

class MixerOperator {
 public:
  virtual ~MixerOperator() = default;
  virtual void forward(kernels::Context& ctx, const LayerData& data, const kernels::Tensor& weights,
                       const kernels::Tensor& h, const kernels::Tensor& x, MixerSaved& saved) const = 0;
  virtual void backward(kernels::Context& ctx, const LayerData& data, const kernels::Tensor& weights,
                        const kernels::Tensor& h, const MixerSaved& saved, const kernels::Tensor& dx,
                        const kernels::Tensor& dh, const kernels::Tensor& grads) const = 0;
};

// Throws InputError, naming layer and mixer, where no operator trains it.
void check_mixer(Mixer mixer, int index);
// Makes layer `index`'s mixer and declares its parameters in `table`. `frame` and `table` must outlive it.
[[nodiscard]] std::unique_ptr<MixerOperator> make_mixer(Mixer mixer, int index, const MixerFrame& frame,
                                                        ParameterTable& table);

}  // namespace hylas::model
