// MixerOperator: what every token mixer of a proxy offers. A new mixer is one file in this folder (plus its operators
// in kernels/) and one line in the table of mixer.cpp.
//
//   forward:   y = x + Mixer(RMSNorm(x)); y may be x. What backward needs besides x is taken from ctx.arena and
//   returned
//              in MixerSaved
//   backward:  dx: in, the gradient of y; out, the gradient of x. Adds the parameters' gradients, the norm's too, into
//              `grads`
//
// Shapes: x, y, dx [P, B, T, d]; weights, grads: blocks [P, N] of model/parameters.hpp; layer data [P] each.
// `full` and `swa` are one operator: the window is data. Recurrent mixers (recurrent.hpp) read no layer data.
// Errors: InputError for a mixer that cannot be trained on the device.
// Thread-safety: const after construction; a call uses only its Context.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/attention_probe.hpp"
#include "kernels/context.hpp"
#include "kernels/norm_linear.hpp"
#include "kernels/recurrence.hpp"
#include "kernels/tensor.hpp"
#include "model/design/design.hpp"
#include "model/parameters.hpp"

namespace hylas::model {

// What a probe of mechanism (model/probe/) does with the attention of one layer (kernels/attention_probe.hpp). Absent
// tensors: nothing.
struct AttentionProbe {
  bool masked = false;              // the output is attention_probe_forward's, by first_keys and head_on
  kernels::Tensor first_keys;       // [P] i32
  kernels::Tensor head_on;          // [P, H] i32
  kernels::ProbeQueries queries;    // [1, n]: whose statistics are taken
  kernels::Tensor statistics, top;  // [P, H, n, 4], [P, H, n] i32: where they go
};

// What differs in one layer between the trials of a cohort: i32 tensors [P].
struct LayerData {
  kernels::Tensor window;                 // >= 1; the context for full attention
  kernels::Tensor rope_on;                // 0: NoPE
  kernels::Tensor sink_on;                // 0: no sink
  bool any_sink = true;                   // false: no trial has one, so that nobody needs to look
  const AttentionProbe* probe = nullptr;  // forward passes of probes only
};

// What a mixer keeps from forward to backward, in its own order.
struct MixerSaved {
  kernels::NormSaved norm;
  std::array<kernels::Tensor, 8> tensors;
  kernels::RecurrenceSaved recurrence;
};

inline constexpr double kNormEps = 1e-6;

// What is common to all layers of a proxy.
struct MixerFrame {
  Shape shape;
  kernels::DType dtype = kernels::DType::f32;
  kernels::Device device;
  kernels::Tensor cos, sin;  // {1, T, head_dim / 2}, see kernels/qkv_rope.hpp
  kernels::Tensor decay;     // [layers, heads]: log decays of lightning; absent where no layer is one
};

class MixerOperator {
 public:
  virtual ~MixerOperator() = default;
  virtual void forward(kernels::Context& ctx, const LayerData& data, const Weights& weights, const kernels::Tensor& x,
                       const kernels::Tensor& y, MixerSaved& saved) const = 0;
  virtual void backward(kernels::Context& ctx, const LayerData& data, const Weights& weights, const kernels::Tensor& x,
                        const MixerSaved& saved, const kernels::Tensor& dx, const kernels::Tensor& grads) const = 0;
};

// Throws InputError, naming layer and limit, where the shape is more than the mixer's kernels take on this kind of
// device.
void check_mixer(Mixer mixer, int index, const Shape& shape, kernels::DeviceKind device);
// Makes layer `index`'s mixer and declares its parameters, its norm among them, in `table`. `frame` and `table` must
// outlive it.
[[nodiscard]] std::unique_ptr<MixerOperator> make_mixer(Mixer mixer, int index, const MixerFrame& frame,
                                                        ParameterTable& table);

}  // namespace hylas::model
