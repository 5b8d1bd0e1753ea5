// Lightning attention as a recurrent mixer (see lightning.hpp, recurrent.hpp).
//
// Columns of the input product: for each head q, k, v of head_dim each; then the output gate, as wide as all heads. The
// gated norm is one over all heads.
#include "model/mixer/lightning.hpp"

#include <cmath>

#include "model/design/recurrent_sizes.hpp"
#include "model/mixer/recurrent.hpp"

namespace hylas::model {

double lightning_decay(std::int64_t head, std::int64_t heads, std::int64_t layer, std::int64_t layers) {
  const double slope = std::exp2(-8.0 * static_cast<double>(head + 1) / static_cast<double>(heads));
  if (layers == 1) return -slope;
  return -slope * (1 - static_cast<double>(layer) / static_cast<double>(layers - 1) + 1e-5);
}

std::unique_ptr<MixerOperator> make_lightning(int index, const MixerFrame& frame, ParameterTable& table) {
  const Shape& s = frame.shape;
  const std::int64_t n = s.head_dim, H = s.heads, w = s.q_width();
  const std::string layer = "model.layers." + std::to_string(index) + ".", prefix = layer + "self_attn.";
  RecurrentParts parts;
  parts.in_width = 4 * w;
  parts.in = table.add_matrix(
      s.d_model, {{prefix + "qkv_proj.weight", 3 * w, Init::fan_in}, {prefix + "output_gate.weight", w, Init::fan_in}});
  parts.out = table.add_matrix(w, {{prefix + "out_proj.weight", s.d_model, Init::output}});
  parts.gate_norm = table.add_vector(prefix + "norm.weight", w, Init::one);
  parts.norm = table.add_vector(layer + "input_layernorm.weight", s.d_model, Init::one);

  const auto segment = [&](std::int64_t part) {
    return kernels::ConvSegment{.at = part * n, .stride = 3 * n, .heads = H, .dim = n, .normalised = false};
  };
  parts.short_conv.segments = {segment(0), segment(1), segment(2)};
  parts.recurrence = {.heads = H,
                      .groups = H,
                      .key_dim = n,
                      .value_dim = n,
                      .q_at = 0,
                      .k_at = w,
                      .v_at = 2 * w,
                      .scale = 1,
                      .delta = false,
                      .chunk = kRecurrentChunk};
  parts.gated_norm = {.form = kernels::GatedNormForm::norm_sigmoid,
                      .groups = 1,
                      .dim = w,
                      .z_at = 3 * w,
                      .z_stride = w,
                      .eps = kNormEps};
  parts.decay = frame.decay.trials_from(index, 1);
  return std::make_unique<RecurrentMixer>(frame, table, parts);
}

}  // namespace hylas::model
