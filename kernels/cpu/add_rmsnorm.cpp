// CPU: add_rmsnorm (kernels/add_rmsnorm.hpp).
#include "kernels/add_rmsnorm.hpp"

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

// inv_rms is [P, ...] without the last dim of x.
void check_norm(const cpu::Check& check, const Tensor& x, const Tensor& weight, const Tensor& inv_rms) {
  const std::int64_t columns = x.dim(-1);
  check.rows("x", x, x.dtype(), x.trials(), x.trial_rows(), columns);
  check.tensor("weight", weight, x.dtype(), {x.trials(), columns});
  check.require(inv_rms.defined() && inv_rms.dtype() == x.dtype() && inv_rms.trials() == x.trials() &&
                    inv_rms.trial_size() == x.trial_rows(),
                "inv_rms should hold one " + std::string("value for each row of x ") + cpu::describe(x) + ", is " +
                    cpu::describe(inv_rms));
}

}  // namespace

void add_rmsnorm_forward(Context& ctx, const Tensor& x, const Tensor& branch, const Tensor& weight, double eps,
                         const Tensor& h, const Tensor& inv_rms) {
  const cpu::Check check(ctx, "add_rmsnorm_forward");
  check.by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    check_norm(check, x, weight, inv_rms);
    check.rows("h", h, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
    if (branch.defined()) check.rows("branch", branch, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
    for (std::int64_t p = 0; p < x.trials(); ++p) {
      cpu::NormRows<T> r;
      r.rows = x.trial_rows();
      r.columns = x.dim(-1);
      r.eps = static_cast<T>(eps);
      r.x = x.trial<T>(p);
      r.branch = branch.defined() ? branch.trial<T>(p) : nullptr;
      r.weight = weight.trial<T>(p);
      r.h = h.trial<T>(p);
      r.inv_rms = inv_rms.trial<T>(p);
      cpu::loops<T>(ctx).rmsnorm_forward(r);
    }
  });
}

void add_rmsnorm_backward(Context& ctx, const Tensor& dh, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                          const Tensor& dx, const Tensor& dweight, const Tensor& h, double /*eps*/,
                          const Tensor& residual) {
  const cpu::Check check(ctx, "add_rmsnorm_backward");
  check.by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    check_norm(check, x, weight, inv_rms);
    check.rows("dh", dh, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
    check.rows("dx", dx, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
    check.tensor("dweight", dweight, x.dtype(), {x.trials(), x.dim(-1)});
    if (residual.defined() && residual.data() != dx.data()) cpu::copy(ctx, residual, dx);
    check.require(!h.defined(), "the CPU keeps the forward pass's h and does not make it again");
    for (std::int64_t p = 0; p < x.trials(); ++p) {
      cpu::NormRows<T> r;
      r.rows = x.trial_rows();
      r.columns = x.dim(-1);
      r.x = x.trial<T>(p);
      r.weight = weight.trial<T>(p);
      r.inv_rms = inv_rms.trial<T>(p);
      r.dh = dh.trial<T>(p);
      r.dx = dx.trial<T>(p);
      r.dweight = dweight.trial<T>(p);
      cpu::loops<T>(ctx).rmsnorm_backward(r);
    }
  });
}

}  // namespace hylas::kernels::cpu
