// CPU: broadcast_last (kernels/broadcast_last.hpp).
#include "kernels/broadcast_last.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

void broadcast_last_forward(Context& ctx, const Tensor& x, const Tensor& position, const Tensor& z) {
  const cpu::Check check(ctx, "broadcast_last_forward");
  check.by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    check.tensor("x", x, x.dtype(), {x.trials(), cpu::Check::any, cpu::Check::any, cpu::Check::any});
    const std::int64_t length = x.dim(2), d = x.dim(3);
    check.tensor("position", position, x.dtype(), {1, length, d})
        .tensor("z", z, x.dtype(), {x.trials(), x.dim(1), length, d})
        .require(z.data() != x.data(), "z should be another tensor than x");
    for (std::int64_t p = 0; p < x.trials(); ++p) {
      for (std::int64_t b = 0; b < x.dim(1); ++b) {
        T* rows = z.trial<T>(p) + b * length * d;
        std::copy_n(position.trial<T>(), length * d, rows);
        const T* last = x.trial<T>(p) + ((b + 1) * length - 1) * d;
        for (std::int64_t t = 0; t < length; ++t) cpu::loops<T>(ctx).add(last, rows + t * d, d);
      }
    }
  });
}

void broadcast_last_backward(Context& ctx, const Tensor& dz, const Tensor& dx) {
  const cpu::Check check(ctx, "broadcast_last_backward");
  check.by_dtype("dz", dz, [&](auto zero) {
    using T = decltype(zero);
    check.tensor("dz", dz, dz.dtype(), {dz.trials(), cpu::Check::any, cpu::Check::any, cpu::Check::any});
    const std::int64_t length = dz.dim(2), d = dz.dim(3);
    check.tensor("dx", dx, dz.dtype(), {dz.trials(), dz.dim(1), length, d})
        .require(dx.data() != dz.data(), "dx should be another tensor than dz");
    for (std::int64_t p = 0; p < dz.trials(); ++p) {
      std::fill_n(dx.trial<T>(p), dx.trial_size(), T(0));
      for (std::int64_t b = 0; b < dz.dim(1); ++b) {
        T* last = dx.trial<T>(p) + ((b + 1) * length - 1) * d;
        for (std::int64_t t = 0; t < length; ++t) {
          cpu::loops<T>(ctx).add(dz.trial<T>(p) + (b * length + t) * d, last, d);
        }
      }
    }
  });
}

}  // namespace hylas::kernels::cpu

namespace hylas::kernels {

void sinusoid_table(const Tensor& position) {
  const cpu::Check check(Context(), "sinusoid_table");
  check.by_dtype("position", position, [&](auto zero) {
    using T = decltype(zero);
    check.tensor("position", position, position.dtype(), {1, cpu::Check::any, cpu::Check::any});
    const std::int64_t d = position.dim(2), half = d / 2;
    std::fill_n(position.trial<T>(), position.trial_size(), T(0));
    for (std::int64_t t = 0; t < position.dim(1); ++t) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double exponent = i == 0 ? 0 : -static_cast<double>(i) / static_cast<double>(half - 1);
        const double angle = static_cast<double>(t) * std::pow(10000.0, exponent);
        position.trial<T>()[t * d + i] = static_cast<T>(std::sin(angle));
        position.trial<T>()[t * d + half + i] = static_cast<T>(std::cos(angle));
      }
    }
  });
}

}  // namespace hylas::kernels
