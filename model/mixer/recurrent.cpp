// The passes of the recurrent mixers, written on the operators of kernels/ (see recurrent.hpp).
#include "model/mixer/recurrent.hpp"

#include "kernels/linear.hpp"
#include "kernels/norm_linear.hpp"
#include "kernels/stat_dtype.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

namespace {

// Fresh [P, B, T, columns] beside x.
Tensor fresh(Context& ctx, const Tensor& x, DType dtype, std::int64_t columns) {
  return ctx.arena.tensor(dtype, {x.dim(0), x.dim(1), x.dim(2), columns});
}

}  // namespace

void RecurrentParts::add_input(ParameterTable& table, const MixerFrame& frame,
                               const std::vector<ParameterTable::Part>& rows) {
  const std::int64_t multiple = frame.device.kind == kernels::DeviceKind::cuda ? 64 : 1;
  in_width = 0;
  for (const ParameterTable::Part& part : rows) in_width += part.rows;
  in_width = (in_width + multiple - 1) / multiple * multiple;
  in = table.add_matrix(frame.shape.d_model, rows, multiple);
}

kernels::RecurrenceInputs RecurrentMixer::inputs(const Weights& weights, const Tensor& qkv, const Tensor& g,
                                                 const Tensor& beta) const {
  return {.qkv = qkv, .g = has_gates() ? g : parts_.decay, .beta = beta, .skip = view(weights, parts_.skip)};
}

void RecurrentMixer::forward(Context& ctx, const LayerData& /*data*/, const Weights& weights, const Tensor& x,
                             const Tensor& y, MixerSaved& saved) const {
  const DType dtype = frame_.dtype, stat = kernels::stat_dtype(dtype);
  const std::int64_t heads = parts_.recurrence.heads, width = parts_.recurrence.value_width();
  const Tensor proj = fresh(ctx, x, dtype, parts_.in_width);
  const Tensor qkv = fresh(ctx, x, dtype, parts_.short_conv.channels());
  const Tensor g = has_gates() ? fresh(ctx, x, stat, heads) : Tensor();
  const Tensor beta = has_gates() ? fresh(ctx, x, stat, heads) : Tensor();
  const Tensor read = fresh(ctx, x, dtype, width);
  const Tensor gated = fresh(ctx, x, dtype, width);
  const Tensor inv_rms = fresh(ctx, x, stat, parts_.gated_norm.groups);

  kernels::norm_linear_forward(ctx, x, view(weights, parts_.norm), kNormEps, view(weights, parts_.in), proj,
                               saved.norm);
  kernels::short_conv_forward(ctx, parts_.short_conv, proj, view(weights, parts_.conv), view(weights, parts_.conv_bias),
                              qkv);
  if (has_gates()) {
    kernels::decay_gates_forward(ctx, parts_.gates, proj, view(weights, parts_.a_log), view(weights, parts_.dt_bias), g,
                                 beta);
  }
  kernels::recurrence_forward(ctx, parts_.recurrence, inputs(weights, qkv, g, beta), read, saved.recurrence);
  kernels::gated_norm_forward(ctx, parts_.gated_norm, read, proj, view(weights, parts_.gate_norm), gated, inv_rms);
  kernels::linear_forward_add(ctx, gated, view(weights, parts_.out), x, y);
  saved.tensors = {proj, qkv, g, beta, read, gated, inv_rms};
}

void RecurrentMixer::backward(Context& ctx, const LayerData& /*data*/, const Weights& weights, const Tensor& x,
                              const MixerSaved& saved, const Tensor& dx, const Tensor& grads) const {
  const kernels::ArenaScope scope(ctx.arena);
  const auto& [proj, qkv, g, beta, read, gated, inv_rms, unused] = saved.tensors;
  const DType dtype = frame_.dtype, stat = kernels::stat_dtype(dtype);
  const std::int64_t heads = parts_.recurrence.heads, width = parts_.recurrence.value_width();
  const Tensor dgated = fresh(ctx, x, dtype, width), dread = fresh(ctx, x, dtype, width);
  const Tensor dproj = fresh(ctx, x, dtype, parts_.in_width);
  const Tensor dqkv = fresh(ctx, x, dtype, parts_.short_conv.channels());
  const Tensor dg = has_gates() ? fresh(ctx, x, stat, heads) : Tensor();
  const Tensor dbeta = has_gates() ? fresh(ctx, x, stat, heads) : Tensor();

  kernels::linear_backward_input(ctx, dx, view(weights, parts_.out), dgated, false);
  kernels::linear_backward_weight(ctx, dx, gated, view(grads, parts_.out));
  // Gated norm, gates and convolution write the columns of dproj that they read of proj: all of them together.
  kernels::gated_norm_backward(ctx, parts_.gated_norm, read, proj, view(weights, parts_.gate_norm), inv_rms, dgated,
                               dread, dproj, view(grads, parts_.gate_norm));
  kernels::recurrence_backward(ctx, parts_.recurrence, inputs(weights, qkv, g, beta), saved.recurrence, dread,
                               {.dqkv = dqkv, .dg = dg, .dbeta = dbeta, .dskip = view(grads, parts_.skip)});
  if (has_gates()) {
    kernels::decay_gates_backward(ctx, parts_.gates, proj, view(weights, parts_.a_log), view(weights, parts_.dt_bias),
                                  dg, dbeta, dproj, view(grads, parts_.a_log), view(grads, parts_.dt_bias));
  }
  kernels::short_conv_backward(ctx, parts_.short_conv, proj, view(weights, parts_.conv),
                               view(weights, parts_.conv_bias), dqkv, dproj, view(grads, parts_.conv),
                               view(grads, parts_.conv_bias));
  kernels::norm_linear_backward(ctx, dproj, x, view(weights, parts_.norm), kNormEps, view(weights, parts_.in),
                                saved.norm, dx, view(grads, parts_.norm), view(grads, parts_.in));
}

}  // namespace hylas::model
