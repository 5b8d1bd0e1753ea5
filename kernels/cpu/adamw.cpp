// CPU: grad_norm, adamw_update, add_into (kernels/adamw.hpp).
#include "kernels/adamw.hpp"

#include <cmath>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

void grad_norm(Context& ctx, const Tensor& grads, const Tensor& norm) {
  const cpu::Check check(ctx, "grad_norm");
  check.by_dtype("grads", grads, [&](auto zero) {
    using T = decltype(zero);
    check.tensor("grads", grads, grads.dtype(), {grads.trials(), cpu::Check::any});
    check.tensor("norm", norm, grads.dtype(), {grads.trials()});
    for (std::int64_t p = 0; p < grads.trials(); ++p) {
      const double sum = cpu::loops<T>(ctx).sum_of_squares(grads.trial<T>(p), grads.trial_size());
      *norm.trial<T>(p) = static_cast<T>(std::sqrt(sum));
    }
  });
}

namespace {

// The constants of trial p's update; lr and the corrections in double, rounded once.
template <class T>
cpu::AdamWBlock<T> block_of(const AdamW& options, const AdamWData& data, std::int64_t p) {
  const double step = *data.step.trial<std::int32_t>(p);
  const double lr = static_cast<double>(*data.lr.trial<T>(p));
  cpu::AdamWBlock<T> b;
  b.beta1 = static_cast<T>(options.beta1);
  b.beta2 = static_cast<T>(options.beta2);
  b.eps = static_cast<T>(options.eps);
  b.clip_scale = *data.clip_scale.trial<T>(p);
  b.step_size = static_cast<T>(lr / (1 - std::pow(options.beta1, step)));
  b.inv_sqrt_correction = static_cast<T>(1 / std::sqrt(1 - std::pow(options.beta2, step)));
  b.decay = static_cast<T>(lr * static_cast<double>(*data.weight_decay.trial<T>(p)));
  return b;
}

}  // namespace

void adamw_update(Context& ctx, const AdamW& options, const AdamWData& data, const Tensor& params, const Tensor& grads,
                  const Tensor& m, const Tensor& v, const Tensor& copy, const Tensor& apply) {
  const cpu::Check check(ctx, "adamw_update");
  check.require(!copy.defined() && !apply.defined(), "the CPU keeps no second copy of params and updates every trial");
  check.by_dtype("params", params, [&](auto zero) {
    using T = decltype(zero);
    const DType dtype = params.dtype();
    const std::int64_t trials = params.trials();
    check.tensor("params", params, dtype, {trials, cpu::Check::any});
    const std::int64_t n = params.dim(1);
    check.tensor("grads", grads, dtype, {trials, n})
        .tensor("m", m, dtype, {trials, n})
        .tensor("v", v, dtype, {trials, n});
    check.tensor("lr", data.lr, dtype, {trials}).tensor("weight_decay", data.weight_decay, dtype, {trials});
    check.tensor("clip_scale", data.clip_scale, dtype, {trials}).tensor("step", data.step, DType::i32, {trials});
    check.require(options.decay_count >= 0 && options.decay_count <= n,
                  "decay_count should be 0.." + std::to_string(n) + ", is " + std::to_string(options.decay_count));
    for (std::int64_t p = 0; p < trials; ++p) {
      check.require(*data.step.trial<std::int32_t>(p) >= 1,
                    "the step of a first update is 1, not " + std::to_string(*data.step.trial<std::int32_t>(p)));
      auto block = block_of<T>(options, data, p);
      const auto update = [&](std::int64_t begin, std::int64_t end) {
        block.count = end - begin;
        block.param = params.trial<T>(p) + begin;
        block.grad = grads.trial<T>(p) + begin;
        block.m = m.trial<T>(p) + begin;
        block.v = v.trial<T>(p) + begin;
        cpu::loops<T>(ctx).adamw(block);
      };
      update(0, options.decay_count);
      block.decay = T{};
      update(options.decay_count, n);
    }
  });
}

void add_into(Context& ctx, const Tensor& part, const Tensor& sum) {
  const cpu::Check check(ctx, "add_into");
  check.by_dtype("part", part, [&](auto zero) {
    using T = decltype(zero);
    check.tensor("part", part, part.dtype(), {part.trials(), cpu::Check::any});
    check.tensor("sum", sum, part.dtype(), {part.trials(), part.dim(1)});
    for (std::int64_t p = 0; p < part.trials(); ++p) {
      cpu::loops<T>(ctx).add(part.trial<T>(p), sum.trial<T>(p), part.trial_size());
    }
  });
}

}  // namespace hylas::kernels::cpu
