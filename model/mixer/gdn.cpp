// Gated DeltaNet as a recurrent mixer (see gdn.hpp, recurrent.hpp).
//
// Columns of the input product: for each head q, k, v, z of head_dim each; then for each head b (write strength) and a
// (decay).
#include "model/mixer/gdn.hpp"

#include <cmath>

#include "model/design/recurrent_sizes.hpp"
#include "model/mixer/recurrent.hpp"

namespace hylas::model {

std::unique_ptr<MixerOperator> make_gdn(int index, const MixerFrame& frame, ParameterTable& table) {
  const Shape& s = frame.shape;
  const std::int64_t n = s.head_dim, H = s.heads, w = s.q_width();
  const std::string layer = "model.layers." + std::to_string(index) + ".", prefix = layer + "linear_attn.";
  RecurrentParts parts;
  parts.add_input(
      table, frame,
      {{prefix + "in_proj_qkvz.weight", 4 * w, Init::fan_in}, {prefix + "in_proj_ba.weight", 2 * H, Init::fan_in}});
  parts.conv = table.add_conv(prefix + "conv1d.weight", 3 * w, kernels::kConvWidth);
  parts.out = table.add_matrix(w, {{prefix + "out_proj.weight", s.d_model, Init::output}});
  parts.dt_bias = table.add_vector(prefix + "dt_bias", H, Init::dt_bias);
  parts.a_log = table.add_vector(prefix + "A_log", H, Init::a_log);
  parts.gate_norm = table.add_vector(prefix + "norm.weight", n, Init::one);
  parts.norm = table.add_vector(layer + "input_layernorm.weight", s.d_model, Init::one);

  const auto segment = [&](std::int64_t part, bool normalised) {
    return kernels::ConvSegment{.at = part * n, .stride = 4 * n, .heads = H, .dim = n, .normalised = normalised};
  };
  parts.short_conv.segments = {segment(0, true), segment(1, true), segment(2, false)};
  parts.gates = {.heads = H,
                 .step_at = 4 * w + 1,
                 .step_stride = 2,
                 .beta_is_step = false,
                 .beta_at = 4 * w,
                 .beta_stride = 2,
                 .unused_at = 4 * w + 2 * H,
                 .unused = parts.in_width - (4 * w + 2 * H)};
  parts.recurrence = {.heads = H,
                      .groups = H,
                      .key_dim = n,
                      .value_dim = n,
                      .q_at = 0,
                      .k_at = w,
                      .v_at = 2 * w,
                      .scale = 1 / std::sqrt(static_cast<double>(n)),
                      .delta = true,
                      .chunk = kRecurrentChunk};
  parts.gated_norm = {.form = kernels::GatedNormForm::norm_silu,
                      .groups = H,
                      .dim = n,
                      .z_at = 3 * n,
                      .z_stride = 4 * n,
                      .eps = kNormEps};
  return std::make_unique<RecurrentMixer>(frame, table, parts);
}

}  // namespace hylas::model
