// Mamba-2 as a recurrent mixer (see mamba2.hpp, recurrent.hpp).
//
// Columns of the input product: gate z (e), x (e), B and C (the state's size each, shared by the heads), a time step a
// head. The convolution runs over x, B, C; the recurrence reads x as values, B as keys, C as queries.
#include "model/mixer/mamba2.hpp"

#include "model/design/recurrent_sizes.hpp"
#include "model/mixer/recurrent.hpp"

namespace hylas::model {

std::unique_ptr<MixerOperator> make_mamba2(int index, const MixerFrame& frame, ParameterTable& table) {
  const std::int64_t d = frame.shape.d_model, e = kMamba2Expand * d, n = e / kMamba2HeadDim;
  const std::int64_t channels = e + 2 * kMamba2State;
  const std::string layer = "model.layers." + std::to_string(index) + ".", prefix = layer + "mamba.";
  RecurrentParts parts;
  const std::int64_t columns = e + channels + n;
  parts.add_input(table, frame, {{prefix + "in_proj.weight", columns, Init::fan_in}});
  parts.conv = table.add_conv(prefix + "conv1d.weight", channels, kernels::kConvWidth);
  parts.out = table.add_matrix(e, {{prefix + "out_proj.weight", d, Init::output}});
  parts.conv_bias = table.add_vector(prefix + "conv1d.bias", channels, Init::conv);
  parts.dt_bias = table.add_vector(prefix + "dt_bias", n, Init::dt_bias);
  parts.a_log = table.add_vector(prefix + "A_log", n, Init::a_log);
  parts.skip = table.add_vector(prefix + "D", n, Init::one);
  parts.gate_norm = table.add_vector(prefix + "norm.weight", e, Init::one);
  parts.norm = table.add_vector(layer + "input_layernorm.weight", d, Init::one);

  parts.short_conv.segments[0] = {.at = e, .stride = channels, .heads = 1, .dim = channels, .normalised = false};
  parts.gates = {.heads = n,
                 .step_at = e + channels,
                 .step_stride = 1,
                 .beta_is_step = true,
                 .unused_at = columns,
                 .unused = parts.in_width - columns};
  parts.recurrence = {.heads = n,
                      .groups = 1,
                      .key_dim = kMamba2State,
                      .value_dim = kMamba2HeadDim,
                      .q_at = e + kMamba2State,
                      .k_at = e,
                      .v_at = 0,
                      .scale = 1,
                      .delta = false,
                      .chunk = kRecurrentChunk};
  parts.gated_norm = {
      .form = kernels::GatedNormForm::silu_norm, .groups = 1, .dim = e, .z_at = 0, .z_stride = e, .eps = kNormEps};
  return std::make_unique<RecurrentMixer>(frame, table, parts);
}

}  // namespace hylas::model
