// CPU: decay_gates (kernels/decay_gates.hpp). A few numbers a token: plain loops.
#include "kernels/decay_gates.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"

namespace hylas::kernels::cpu {

namespace {

// Only e^-|x| is ever taken.
template <class T>
T softplus(T x) {
  return std::max(x, T{0}) + std::log1p(std::exp(-std::abs(x)));
}
template <class T>
T sigmoid(T x) {
  const T e = std::exp(-std::abs(x));
  return (x >= 0 ? T{1} : e) / (T{1} + e);
}

void check_columns(const cpu::Check& check, const char* name, const DecayGates& gates, std::int64_t at,
                   std::int64_t stride, const Tensor& proj) {
  check.require(at >= 0 && stride >= 1 && at + (gates.heads - 1) * stride < proj.dim(-1),
                std::string(name) + " of " + std::to_string(gates.heads) + " heads from column " + std::to_string(at) +
                    " on, " + std::to_string(stride) + " apart, leaves proj " + cpu::describe(proj));
}

void check_gates(const cpu::Check& check, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                 const Tensor& dt_bias) {
  check.require(gates.heads >= 1, "heads should be at least 1, are " + std::to_string(gates.heads));
  check.rows("proj", proj, proj.dtype(), proj.trials(), proj.trial_rows(), proj.dim(-1));
  check_columns(check, "the step", gates, gates.step_at, gates.step_stride, proj);
  if (!gates.beta_is_step) check_columns(check, "beta", gates, gates.beta_at, gates.beta_stride, proj);
  check.require(gates.unused >= 0 && gates.unused_at >= 0 && gates.unused_at + gates.unused <= proj.dim(-1),
                "the unused columns leave proj " + cpu::describe(proj));
  check.tensor("a_log", a_log, proj.dtype(), {proj.trials(), gates.heads});
  check.tensor("dt_bias", dt_bias, proj.dtype(), {proj.trials(), gates.heads});
}

template <class T>
void forward_rows(const DecayGates& gates, std::int64_t rows, std::int64_t width, const T* proj, const T* a_log,
                  const T* dt_bias, T* g, T* beta) {
  for (std::int64_t row = 0; row < rows; ++row, proj += width, g += gates.heads, beta += gates.heads) {
    for (std::int64_t h = 0; h < gates.heads; ++h) {
      const T step = softplus(proj[gates.step_at + h * gates.step_stride] + dt_bias[h]);
      g[h] = -std::exp(a_log[h]) * step;
      beta[h] = gates.beta_is_step ? step : sigmoid(proj[gates.beta_at + h * gates.beta_stride]);
    }
  }
}

// sums: of da_log, then of ddt_bias, 2 heads of them.
template <class T>
void backward_rows(const DecayGates& gates, std::int64_t rows, std::int64_t width, const T* proj, const T* a_log,
                   const T* dt_bias, const T* dg, const T* dbeta, T* dproj, double* sums) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t h = 0; h < gates.heads; ++h) {
      const std::int64_t step_at = gates.step_at + h * gates.step_stride;
      const T before = proj[step_at] + dt_bias[h], rate = -std::exp(a_log[h]);
      const T dstep = rate * dg[h] + (gates.beta_is_step ? dbeta[h] : T{0});
      const T dbefore = dstep * sigmoid(before);
      dproj[step_at] = dbefore;
      sums[h] += static_cast<double>(dg[h] * rate * softplus(before));
      sums[gates.heads + h] += static_cast<double>(dbefore);
      if (gates.beta_is_step) continue;
      const std::int64_t beta_at = gates.beta_at + h * gates.beta_stride;
      dproj[beta_at] = dbeta[h] * sigmoid(proj[beta_at]) * sigmoid(-proj[beta_at]);
    }
    std::fill_n(dproj + gates.unused_at, gates.unused, T{0});
    proj += width;
    dproj += width;
    dg += gates.heads;
    dbeta += gates.heads;
  }
}

}  // namespace

void decay_gates_forward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                         const Tensor& dt_bias, const Tensor& g, const Tensor& beta) {
  const cpu::Check check(ctx, "decay_gates_forward");
  check.by_dtype("proj", proj, [&](auto zero) {
    using T = decltype(zero);
    check_gates(check, gates, proj, a_log, dt_bias);
    const std::int64_t rows = proj.trial_rows();
    check.rows("g", g, proj.dtype(), proj.trials(), rows, gates.heads);
    check.rows("beta", beta, proj.dtype(), proj.trials(), rows, gates.heads);
    for (std::int64_t p = 0; p < proj.trials(); ++p) {
      forward_rows<T>(gates, rows, proj.dim(-1), proj.trial<T>(p), a_log.trial<T>(p), dt_bias.trial<T>(p),
                      g.trial<T>(p), beta.trial<T>(p));
    }
  });
}

void decay_gates_backward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                          const Tensor& dt_bias, const Tensor& dg, const Tensor& dbeta, const Tensor& dproj,
                          const Tensor& da_log, const Tensor& ddt_bias) {
  const cpu::Check check(ctx, "decay_gates_backward");
  check.by_dtype("proj", proj, [&](auto zero) {
    using T = decltype(zero);
    check_gates(check, gates, proj, a_log, dt_bias);
    const std::int64_t rows = proj.trial_rows();
    check.rows("dg", dg, proj.dtype(), proj.trials(), rows, gates.heads);
    check.rows("dbeta", dbeta, proj.dtype(), proj.trials(), rows, gates.heads);
    check.rows("dproj", dproj, proj.dtype(), proj.trials(), rows, proj.dim(-1));
    check.tensor("da_log", da_log, proj.dtype(), {proj.trials(), gates.heads});
    check.tensor("ddt_bias", ddt_bias, proj.dtype(), {proj.trials(), gates.heads});
    const ArenaScope scope(ctx.arena);
    double* sums = ctx.arena.take<double>(2 * gates.heads);
    for (std::int64_t p = 0; p < proj.trials(); ++p) {
      std::fill_n(sums, 2 * gates.heads, 0.0);
      backward_rows<T>(gates, rows, proj.dim(-1), proj.trial<T>(p), a_log.trial<T>(p), dt_bias.trial<T>(p),
                       dg.trial<T>(p), dbeta.trial<T>(p), dproj.trial<T>(p), sums);
      for (std::int64_t h = 0; h < gates.heads; ++h) {
        da_log.trial<T>(p)[h] += static_cast<T>(sums[h]);
        ddt_bias.trial<T>(p)[h] += static_cast<T>(sums[gates.heads + h]);
      }
    }
  });
}

}  // namespace hylas::kernels::cpu
