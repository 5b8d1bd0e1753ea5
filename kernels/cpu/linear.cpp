// CPU: linear (kernels/linear.hpp), one product a trial.
#include "kernels/linear.hpp"

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

template <class T>
T* scratch_of(Context& ctx) {
  return ctx.arena.take<T>(cpu::gemm_scratch);
}

void forward(Context& ctx, const char* op, const Tensor& x, const Tensor& w, const Tensor& y, bool add) {
  const cpu::Check check(ctx, op);
  check.by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t trials = x.trials();
    const std::int64_t rows = x.trial_rows();
    const std::int64_t in = x.dim(-1);
    const DType dtype = x.dtype();
    check.tensor("w", w, dtype, {trials, cpu::Check::any, in}).rows("x", x, dtype, trials, rows, in);
    const std::int64_t out = w.dim(1);
    check.rows("y", y, dtype, trials, rows, out);
    const ArenaScope scope(ctx.arena);
    T* scratch = scratch_of<T>(ctx);
    for (std::int64_t p = 0; p < trials; ++p) {
      cpu::loops<T>(ctx).gemm(
          {rows, out, in, x.trial<T>(p), in, false, w.trial<T>(p), in, true, y.trial<T>(p), out, add}, scratch);
    }
  });
}

}  // namespace

void linear_forward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y) {
  forward(ctx, "linear_forward", x, w, y, false);
}

void linear_forward_add(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& residual, const Tensor& y) {
  if (residual.data() != y.data()) cpu::copy(ctx, residual, y);
  forward(ctx, "linear_forward_add", x, w, y, true);
}

void linear_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, const Tensor& dx, bool accumulate) {
  const cpu::Check check(ctx, "linear_backward_input");
  check.by_dtype("dy", dy, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t trials = dy.trials();
    const std::int64_t rows = dy.trial_rows();
    const std::int64_t out = dy.dim(-1);
    const DType dtype = dy.dtype();
    check.tensor("w", w, dtype, {trials, out, cpu::Check::any}).rows("dy", dy, dtype, trials, rows, out);
    const std::int64_t in = w.dim(2);
    check.rows("dx", dx, dtype, trials, rows, in);
    const ArenaScope scope(ctx.arena);
    T* scratch = scratch_of<T>(ctx);
    for (std::int64_t p = 0; p < trials; ++p) {
      cpu::loops<T>(ctx).gemm(
          {rows, in, out, dy.trial<T>(p), out, false, w.trial<T>(p), in, false, dx.trial<T>(p), in, accumulate},
          scratch);
    }
  });
}

void linear_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& dw) {
  const cpu::Check check(ctx, "linear_backward_weight");
  check.by_dtype("dy", dy, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t trials = dy.trials();
    const std::int64_t rows = dy.trial_rows();
    const std::int64_t out = dy.dim(-1);
    const std::int64_t in = x.defined() ? x.dim(-1) : 0;
    const DType dtype = dy.dtype();
    check.rows("dy", dy, dtype, trials, rows, out).rows("x", x, dtype, trials, rows, in);
    check.tensor("dw", dw, dtype, {trials, out, in});
    const ArenaScope scope(ctx.arena);
    T* scratch = scratch_of<T>(ctx);
    for (std::int64_t p = 0; p < trials; ++p) {
      cpu::loops<T>(ctx).gemm(
          {out, in, rows, dy.trial<T>(p), out, true, x.trial<T>(p), in, false, dw.trial<T>(p), in, true}, scratch);
    }
  });
}

}  // namespace hylas::kernels::cpu
