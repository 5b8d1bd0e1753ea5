// CPU: qkv_rope (kernels/qkv_rope.hpp).
#include "kernels/qkv_rope.hpp"

#include <cmath>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

// sign 1: the rotation; -1: its transpose.
void rotate(Context& ctx, const char* op, const Heads& heads, const Rope& rope, const Tensor& qkv, int sign) {
  const cpu::Check check(ctx, op);
  check.by_dtype("qkv", qkv, [&](auto zero) {
    using T = decltype(zero);
    check.require(heads.dim >= 2 && heads.dim % 2 == 0 && heads.query >= 1 && heads.kv >= 1,
                  "heads should be at least one of an even dim, are " + std::to_string(heads.query) + " and " +
                      std::to_string(heads.kv) + " of dim " + std::to_string(heads.dim));
    const std::int64_t width = (heads.query + 2 * heads.kv) * heads.dim;
    const std::int64_t half = heads.dim / 2;
    const std::int64_t any = cpu::Check::any;
    check.tensor("qkv", qkv, qkv.dtype(), {qkv.trials(), any, any, width});
    check.tensor("rope.on", rope.on, DType::i32, {qkv.trials()});
    const std::int64_t length = qkv.dim(2);
    check.tensor("cos", rope.cos, qkv.dtype(), {1, length, half})
        .tensor("sin", rope.sin, qkv.dtype(), {1, length, half});
    for (std::int64_t p = 0; p < qkv.trials(); ++p) {
      if (*rope.on.trial<std::int32_t>(p) == 0) continue;
      for (std::int64_t row = 0; row < qkv.dim(1) * length; ++row) {
        const std::int64_t t = row % length;
        cpu::loops<T>(ctx).rotate({heads.query + heads.kv, half, rope.cos.trial<T>() + t * half,
                                   rope.sin.trial<T>() + t * half, qkv.trial<T>(p) + row * width,
                                   static_cast<T>(sign)});
      }
    }
  });
}

}  // namespace

void qkv_rope_forward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& qkv) {
  rotate(ctx, "qkv_rope_forward", heads, rope, qkv, 1);
}

void qkv_rope_backward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& dqkv) {
  rotate(ctx, "qkv_rope_backward", heads, rope, dqkv, -1);
}

}  // namespace hylas::kernels::cpu

namespace hylas::kernels {

void rope_table(double theta, const Tensor& cos, const Tensor& sin) {
  const cpu::Check check(Context(), "rope_table");
  check.by_dtype("cos", cos, [&](auto zero) {
    using T = decltype(zero);
    check.tensor("cos", cos, cos.dtype(), {1, cpu::Check::any, cpu::Check::any});
    const std::int64_t half = cos.dim(2);
    check.tensor("sin", sin, cos.dtype(), {1, cos.dim(1), half});
    for (std::int64_t t = 0; t < cos.dim(1); ++t) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double exponent = -static_cast<double>(i) / static_cast<double>(half);
        const double angle = static_cast<double>(t) * std::pow(theta, exponent);
        cos.trial<T>()[t * half + i] = static_cast<T>(std::cos(angle));
        sin.trial<T>()[t * half + i] = static_cast<T>(std::sin(angle));
      }
    }
  });
}

}  // namespace hylas::kernels
