// CPU: swiglu (kernels/swiglu.hpp).
#include "kernels/swiglu.hpp"

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

void swiglu_forward(Context& ctx, const Tensor& gate_up, const Tensor& out) {
  const cpu::Check check(ctx, "swiglu_forward");
  check.by_dtype("out", out, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t f = out.dim(-1);
    check.rows("out", out, out.dtype(), out.trials(), out.trial_rows(), f);
    check.rows("gate_up", gate_up, out.dtype(), out.trials(), out.trial_rows(), 2 * f);
    for (std::int64_t p = 0; p < out.trials(); ++p) {
      cpu::GateRows<T> r;
      r.rows = out.trial_rows();
      r.columns = f;
      r.gate_up = gate_up.trial<T>(p);
      r.out = out.trial<T>(p);
      cpu::loops<T>(ctx).swiglu_forward(r);
    }
  });
}

void swiglu_backward(Context& ctx, const Tensor& dout, const Tensor& gate_up, const Tensor& dgate_up,
                     const Tensor& act) {
  const cpu::Check check(ctx, "swiglu_backward");
  check.by_dtype("dout", dout, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t f = dout.dim(-1);
    check.rows("dout", dout, dout.dtype(), dout.trials(), dout.trial_rows(), f);
    check.rows("gate_up", gate_up, dout.dtype(), dout.trials(), dout.trial_rows(), 2 * f);
    check.rows("dgate_up", dgate_up, dout.dtype(), dout.trials(), dout.trial_rows(), 2 * f);
    for (std::int64_t p = 0; p < dout.trials(); ++p) {
      cpu::GateRows<T> r;
      r.rows = dout.trial_rows();
      r.columns = f;
      r.gate_up = gate_up.trial<T>(p);
      r.dout = dout.trial<T>(p);
      r.dgate_up = dgate_up.trial<T>(p);
      cpu::loops<T>(ctx).swiglu_backward(r);
    }
  });
  if (act.defined()) cpu::swiglu_forward(ctx, gate_up, act);
}

}  // namespace hylas::kernels::cpu
