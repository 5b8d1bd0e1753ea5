// Every operator's one decision: the CPU's or the GPU's. The device of the Context chooses (kernels/backends.hpp).
#include <stdexcept>
#include <string>

#include "kernels/backends.hpp"
#include "kernels/build.hpp"

namespace hylas::kernels {
namespace {

template <auto on_cpu, auto on_gpu, class... Arguments>
void run(Context& ctx, Arguments&... arguments) {
  if (ctx.device.kind == DeviceKind::cpu) {
    on_cpu(ctx, arguments...);
  } else if constexpr (with_cuda) {
    if (ctx.gpu == nullptr) throw std::logic_error("Context: a device of kind cuda without its Runtime");
    on_gpu(ctx, arguments...);
  } else {
    throw std::runtime_error(
        "asked to run on cuda:" + std::to_string(ctx.device.index) +
        ", but this build has no CUDA; use the device cpu, or build hylas where nvcc is installed");
  }
}

}  // namespace

void embed_forward(Context& ctx, const Tensor& table, const Tensor& tokens, const Tensor& x) {
  run<cpu::embed_forward, cuda::embed_forward>(ctx, table, tokens, x);
}
void embed_backward(Context& ctx, const Tensor& dx, const Tensor& tokens, const Tensor& dtable) {
  run<cpu::embed_backward, cuda::embed_backward>(ctx, dx, tokens, dtable);
}
void broadcast_last_forward(Context& ctx, const Tensor& x, const Tensor& position, const Tensor& z) {
  run<cpu::broadcast_last_forward, cuda::broadcast_last_forward>(ctx, x, position, z);
}
void broadcast_last_backward(Context& ctx, const Tensor& dz, const Tensor& dx) {
  run<cpu::broadcast_last_backward, cuda::broadcast_last_backward>(ctx, dz, dx);
}
void linear_forward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y) {
  run<cpu::linear_forward, cuda::linear_forward>(ctx, x, w, y);
}
void linear_forward_add(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& residual, const Tensor& y) {
  run<cpu::linear_forward_add, cuda::linear_forward_add>(ctx, x, w, residual, y);
}
void linear_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, const Tensor& dx, bool accumulate) {
  run<cpu::linear_backward_input, cuda::linear_backward_input>(ctx, dy, w, dx, accumulate);
}
void linear_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& dw) {
  run<cpu::linear_backward_weight, cuda::linear_backward_weight>(ctx, dy, x, dw);
}
void add_rmsnorm_forward(Context& ctx, const Tensor& x, const Tensor& branch, const Tensor& weight, double eps,
                         const Tensor& h, const Tensor& inv_rms) {
  run<cpu::add_rmsnorm_forward, cuda::add_rmsnorm_forward>(ctx, x, branch, weight, eps, h, inv_rms);
}
void add_rmsnorm_backward(Context& ctx, const Tensor& dh, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                          const Tensor& dx, const Tensor& dweight, const Tensor& h, double eps,
                          const Tensor& residual) {
  run<cpu::add_rmsnorm_backward, cuda::add_rmsnorm_backward>(ctx, dh, x, weight, inv_rms, dx, dweight, h, eps,
                                                             residual);
}
void qkv_rope_forward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& qkv) {
  run<cpu::qkv_rope_forward, cuda::qkv_rope_forward>(ctx, heads, rope, qkv);
}
void qkv_rope_backward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& dqkv) {
  run<cpu::qkv_rope_backward, cuda::qkv_rope_backward>(ctx, heads, rope, dqkv);
}
void attention_forward(Context& ctx, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                       const Tensor& out, const Tensor& lse) {
  run<cpu::attention_forward, cuda::attention_forward>(ctx, heads, data, qkv, out, lse);
}
void attention_backward(Context& ctx, const Heads& heads, const AttentionData& data, const Rope& rope,
                        const Tensor& qkv, const Tensor& out, const Tensor& lse, const Tensor& dout, const Tensor& dqkv,
                        const Tensor& dsink) {
  run<cpu::attention_backward, cuda::attention_backward>(ctx, heads, data, rope, qkv, out, lse, dout, dqkv, dsink);
}
void attention_probe_forward(Context& ctx, const Heads& heads, const AttentionProbeData& data, const Tensor& qkv,
                             const Tensor& out) {
  run<cpu::attention_probe_forward, cuda::attention_probe_forward>(ctx, heads, data, qkv, out);
}
void attention_probe_statistics(Context& ctx, const Heads& heads, const AttentionProbeData& data,
                                const ProbeQueries& queries, const Tensor& qkv, const Tensor& statistics,
                                const Tensor& top) {
  run<cpu::attention_probe_statistics, cuda::attention_probe_statistics>(ctx, heads, data, queries, qkv, statistics,
                                                                         top);
}
void recurrence_forward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in, const Tensor& out,
                        RecurrenceSaved& saved) {
  run<cpu::recurrence_forward, cuda::recurrence_forward>(ctx, shape, in, out, saved);
}
void recurrence_backward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in,
                         const RecurrenceSaved& saved, const Tensor& dout, const RecurrenceGradients& gradients) {
  run<cpu::recurrence_backward, cuda::recurrence_backward>(ctx, shape, in, saved, dout, gradients);
}
void swiglu_forward(Context& ctx, const Tensor& gate_up, const Tensor& out) {
  run<cpu::swiglu_forward, cuda::swiglu_forward>(ctx, gate_up, out);
}
void swiglu_backward(Context& ctx, const Tensor& dout, const Tensor& gate_up, const Tensor& dgate_up,
                     const Tensor& act) {
  run<cpu::swiglu_backward, cuda::swiglu_backward>(ctx, dout, gate_up, dgate_up, act);
}
void short_conv_forward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                        const Tensor& bias, const Tensor& out) {
  run<cpu::short_conv_forward, cuda::short_conv_forward>(ctx, conv, proj, weight, bias, out);
}
void short_conv_backward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                         const Tensor& bias, const Tensor& dout, const Tensor& dproj, const Tensor& dweight,
                         const Tensor& dbias) {
  run<cpu::short_conv_backward, cuda::short_conv_backward>(ctx, conv, proj, weight, bias, dout, dproj, dweight, dbias);
}
void decay_gates_forward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                         const Tensor& dt_bias, const Tensor& g, const Tensor& beta) {
  run<cpu::decay_gates_forward, cuda::decay_gates_forward>(ctx, gates, proj, a_log, dt_bias, g, beta);
}
void decay_gates_backward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                          const Tensor& dt_bias, const Tensor& dg, const Tensor& dbeta, const Tensor& dproj,
                          const Tensor& da_log, const Tensor& ddt_bias) {
  run<cpu::decay_gates_backward, cuda::decay_gates_backward>(ctx, gates, proj, a_log, dt_bias, dg, dbeta, dproj, da_log,
                                                             ddt_bias);
}
void gated_norm_forward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                        const Tensor& y, const Tensor& inv_rms) {
  run<cpu::gated_norm_forward, cuda::gated_norm_forward>(ctx, norm, x, proj, weight, y, inv_rms);
}
void gated_norm_backward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                         const Tensor& inv_rms, const Tensor& dy, const Tensor& dx, const Tensor& dproj,
                         const Tensor& dweight) {
  run<cpu::gated_norm_backward, cuda::gated_norm_backward>(ctx, norm, x, proj, weight, inv_rms, dy, dx, dproj, dweight);
}
void linear_cross_entropy_train(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets, double scale,
                                const Tensor& loss, const Tensor& dh, const Tensor& dhead, std::int64_t most_targets) {
  run<cpu::linear_cross_entropy_train, cuda::linear_cross_entropy_train>(ctx, h, head, targets, scale, loss, dh, dhead,
                                                                         most_targets);
}
void linear_cross_entropy_eval(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets,
                               const Tensor& loss, const Tensor& predicted, std::int64_t most_targets) {
  run<cpu::linear_cross_entropy_eval, cuda::linear_cross_entropy_eval>(ctx, h, head, targets, loss, predicted,
                                                                       most_targets);
}
void grad_norm(Context& ctx, const Tensor& grads, const Tensor& norm) {
  run<cpu::grad_norm, cuda::grad_norm>(ctx, grads, norm);
}
void adamw_update(Context& ctx, const AdamW& options, const AdamWData& data, const Tensor& params, const Tensor& grads,
                  const Tensor& m, const Tensor& v, const Tensor& copy, const Tensor& apply) {
  run<cpu::adamw_update, cuda::adamw_update>(ctx, options, data, params, grads, m, v, copy, apply);
}
void add_into(Context& ctx, const Tensor& part, const Tensor& sum) {
  run<cpu::add_into, cuda::add_into>(ctx, part, sum);
}
void zero(Context& ctx, const Tensor& t) {
  run<cpu::zero, cuda::zero>(ctx, t);
}
void copy(Context& ctx, const Tensor& from, const Tensor& to) {
  run<cpu::copy, cuda::copy>(ctx, from, to);
}
void cast(Context& ctx, const Tensor& from, const Tensor& to) {
  run<cpu::cast, cuda::cast>(ctx, from, to);
}

}  // namespace hylas::kernels
