// The attention mixer: one fused q/k/v projection, RoPE in place, windowed attention, output projection onto the
// residual stream (MATHS 1). Window, RoPE switch and sink are data of each trial.
#include "model/mixer/attention.hpp"

#include "kernels/attention.hpp"
#include "kernels/attention_probe.hpp"
#include "kernels/linear.hpp"
#include "kernels/qkv_rope.hpp"
#include "kernels/stat_dtype.hpp"

namespace hylas::model {
namespace {

using kernels::Context;
using kernels::Tensor;

class Attention final : public MixerOperator {
 public:
  Attention(int index, const MixerFrame& frame, ParameterTable& table) : frame_(frame), table_(table) {
    const Shape& s = frame.shape;
    heads_ = {.query = s.heads, .kv = s.kv_heads, .dim = s.head_dim};
    const std::string prefix = "model.layers." + std::to_string(index) + ".self_attn.";
    qkv_ = table.add_matrix(s.d_model, {{prefix + "q_proj.weight", s.q_width(), Init::fan_in},
                                        {prefix + "k_proj.weight", s.kv_width(), Init::fan_in},
                                        {prefix + "v_proj.weight", s.kv_width(), Init::fan_in}});
    out_ = table.add_matrix(s.q_width(), {{prefix + "o_proj.weight", s.d_model, Init::output}});
    sinks_ = table.add_vector(prefix + "sinks", s.heads, Init::zero, index);
    norm_ = table.add_vector("model.layers." + std::to_string(index) + ".input_layernorm.weight", s.d_model, Init::one);
  }

  void forward(Context& ctx, const LayerData& data, const Weights& weights, const Tensor& x, const Tensor& y,
               MixerSaved& saved) const override {
    const Shape& s = frame_.shape;
    const std::int64_t P = x.dim(0), B = x.dim(1), T = x.dim(2);
    const Tensor qkv = ctx.arena.tensor(frame_.dtype, {P, B, T, s.qkv_width()});
    const Tensor out = ctx.arena.tensor(frame_.dtype, {P, B, T, s.q_width()});
    const Tensor lse = ctx.arena.tensor(kernels::stat_dtype(frame_.dtype), {P, B, s.heads, T});
    const kernels::RopeEpilogue rope{heads_, rope_of(data)};
    kernels::norm_linear_forward(ctx, x, table_.view(weights, norm_), kNormEps, table_.view(weights, qkv_), qkv,
                                 saved.norm, &rope);
    if (data.probe != nullptr) probe(ctx, data, weights, qkv);
    if (data.probe != nullptr && data.probe->masked) {
      kernels::attention_probe_forward(ctx, heads_, probe_data(data, weights), qkv, out);
    } else {
      kernels::attention_forward(ctx, heads_, attention_data(data, weights), qkv, out, lse);
    }
    kernels::linear_forward_add(ctx, out, table_.view(weights, out_), x, y);
    saved.tensors = {qkv, out, lse};
  }

  void backward(Context& ctx, const LayerData& data, const Weights& weights, const Tensor& x, const MixerSaved& saved,
                const Tensor& dx, const Tensor& grads) const override {
    const kernels::ArenaScope scope(ctx.arena);
    const auto& [qkv, out, lse, u3, u4, u5, u6, u7] = saved.tensors;
    const std::int64_t P = x.dim(0), B = x.dim(1), T = x.dim(2);
    const Tensor dout = ctx.arena.tensor(frame_.dtype, {P, B, T, frame_.shape.q_width()});
    const Tensor dqkv = ctx.arena.tensor(frame_.dtype, {P, B, T, frame_.shape.qkv_width()});
    kernels::linear_backward_input(ctx, dx, table_.view(weights, out_), dout, false);
    kernels::linear_backward_weight(ctx, dx, out, table_.view(grads, out_));
    kernels::attention_backward(ctx, heads_, attention_data(data, weights), rope_of(data), qkv, out, lse, dout, dqkv,
                                table_.view(grads, sinks_));
    kernels::norm_linear_backward(ctx, dqkv, x, table_.view(weights, norm_), kNormEps, table_.view(weights, qkv_),
                                  saved.norm, dx, table_.view(grads, norm_), table_.view(grads, qkv_));
  }

 private:
  [[nodiscard]] kernels::AttentionData attention_data(const LayerData& data, const Weights& weights) const {
    if (!data.any_sink) return {.window = data.window, .sink = {}, .sink_on = {}};
    return {.window = data.window, .sink = table_.view(weights, sinks_), .sink_on = data.sink_on};
  }

  // A probe's view of the same data.
  [[nodiscard]] kernels::AttentionProbeData probe_data(const LayerData& data, const Weights& weights) const {
    const kernels::AttentionData plain = attention_data(data, weights);
    return {.window = plain.window,
            .first_keys = data.probe->first_keys,
            .sink = plain.sink,
            .sink_on = plain.sink_on,
            .head_on = data.probe->head_on};
  }

  void probe(Context& ctx, const LayerData& data, const Weights& weights, const Tensor& qkv) const {
    const AttentionProbe& p = *data.probe;
    if (!p.statistics.defined()) return;
    kernels::attention_probe_statistics(ctx, heads_, probe_data(data, weights), p.queries, qkv, p.statistics, p.top);
  }

  [[nodiscard]] kernels::Rope rope_of(const LayerData& data) const { return {frame_.cos, frame_.sin, data.rope_on}; }

  const MixerFrame& frame_;
  const ParameterTable& table_;
  kernels::Heads heads_;
  ParameterId norm_, qkv_, out_, sinks_;
};

}  // namespace

std::unique_ptr<MixerOperator> make_attention(int index, const MixerFrame& frame, ParameterTable& table) {
  return std::make_unique<Attention>(index, frame, table);
}

}  // namespace hylas::model
