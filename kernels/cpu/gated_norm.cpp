// CPU: gated_norm (kernels/gated_norm.hpp).
#include "kernels/gated_norm.hpp"

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

void check_norm(const cpu::Check& check, const GatedNorm& norm, const Tensor& x, const Tensor& proj,
                const Tensor& weight, const Tensor& inv_rms) {
  check.require(
      norm.groups >= 1 && norm.dim >= 1,
      "groups and dim should be at least 1, are " + std::to_string(norm.groups) + " and " + std::to_string(norm.dim));
  check.rows("x", x, x.dtype(), x.trials(), x.trial_rows(), norm.groups * norm.dim);
  check.rows("proj", proj, x.dtype(), x.trials(), x.trial_rows(), proj.defined() ? proj.dim(-1) : 0);
  check.require(
      norm.z_at >= 0 && norm.z_stride >= 0 && norm.z_at + (norm.groups - 1) * norm.z_stride + norm.dim <= proj.dim(-1),
      "z, " + std::to_string(norm.groups) + " groups of " + std::to_string(norm.dim) + " from column " +
          std::to_string(norm.z_at) + " on, " + std::to_string(norm.z_stride) + " apart, leaves proj " +
          cpu::describe(proj));
  check.tensor("weight", weight, x.dtype(), {x.trials(), norm.dim});
  check.rows("inv_rms", inv_rms, x.dtype(), x.trials(), x.trial_rows(), norm.groups);
}

template <class T>
GatedNormRows<T> rows_of(const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                         const Tensor& inv_rms, std::int64_t p) {
  GatedNormRows<T> r;
  r.rows = x.trial_rows();
  r.groups = norm.groups;
  r.dim = norm.dim;
  r.z_stride = norm.z_stride;
  r.width = proj.dim(-1);
  r.gate_first = norm.form == GatedNormForm::silu_norm;
  r.sigmoid = norm.form == GatedNormForm::norm_sigmoid;
  r.eps = static_cast<T>(norm.eps);
  r.x = x.trial<T>(p);
  r.z = proj.trial<T>(p) + norm.z_at;
  r.weight = weight.trial<T>(p);
  r.inv_rms = inv_rms.trial<T>(p);
  return r;
}

}  // namespace

void gated_norm_forward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                        const Tensor& y, const Tensor& inv_rms) {
  const cpu::Check check(ctx, "gated_norm_forward");
  check.by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    check_norm(check, norm, x, proj, weight, inv_rms);
    check.rows("y", y, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
    for (std::int64_t p = 0; p < x.trials(); ++p) {
      GatedNormRows<T> r = rows_of<T>(norm, x, proj, weight, inv_rms, p);
      r.y = y.trial<T>(p);
      cpu::loops<T>(ctx).gated_norm_forward(r);
    }
  });
}

void gated_norm_backward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                         const Tensor& inv_rms, const Tensor& dy, const Tensor& dx, const Tensor& dproj,
                         const Tensor& dweight) {
  const cpu::Check check(ctx, "gated_norm_backward");
  check.by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    check_norm(check, norm, x, proj, weight, inv_rms);
    check.rows("dy", dy, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
    check.rows("dx", dx, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
    check.rows("dproj", dproj, x.dtype(), x.trials(), x.trial_rows(), proj.dim(-1));
    check.tensor("dweight", dweight, x.dtype(), {x.trials(), norm.dim});
    for (std::int64_t p = 0; p < x.trials(); ++p) {
      GatedNormRows<T> r = rows_of<T>(norm, x, proj, weight, inv_rms, p);
      r.dy = dy.trial<T>(p);
      r.dx = dx.trial<T>(p);
      r.dz = dproj.trial<T>(p) + norm.z_at;
      r.dweight = dweight.trial<T>(p);
      cpu::loops<T>(ctx).gated_norm_backward(r);
    }
  });
}

}  // namespace hylas::kernels::cpu
