// Clip, schedule and AdamW for one trial (see optimizer.hpp).
#include "model/optimizer.hpp"

#include <algorithm>

#include "kernels/adamw.hpp"
#include "model/schedule.hpp"

namespace hylas::model {
namespace {

using kernels::Context;
using kernels::Tensor;

// A fresh [1] tensor of the block's dtype.
Tensor scalar(Context& ctx, kernels::DType dtype, double value) {
  const Tensor t = ctx.arena.tensor(dtype, {1});
  if (dtype == kernels::DType::f64) {
    *t.trial<double>() = value;
  } else {
    *t.trial<float>() = static_cast<float>(value);
  }
  return t;
}

double value_of(const Tensor& t) {
  return t.dtype() == kernels::DType::f64 ? *t.trial<double>() : *t.trial<float>();
}

}  // namespace

Tensor range_of(const Tensor& block, std::int64_t first, std::int64_t count) {
  auto* data = static_cast<char*>(block.data()) + first * kernels::size_of(block.dtype());
  return Tensor(data, block.dtype(), {1, count}, block.device());
}

UpdatePlan plan_update(Context& ctx, const Recipe& recipe, std::int64_t step, const Tensor& grads) {
  kernels::ArenaScope scope(ctx.arena);
  const Tensor norm = scalar(ctx, grads.dtype(), 0);
  kernels::grad_norm(ctx, grads, norm);
  UpdatePlan plan{.step = step, .grad_norm = value_of(norm)};
  if (recipe.clip > 0 && plan.grad_norm > recipe.clip) plan.clip_scale = recipe.clip / plan.grad_norm;
  plan.learning_rate = recipe.learning_rate * schedule_multiplier(recipe.schedule, step, recipe.steps);
  return plan;
}

void apply_update(Context& ctx, const ParameterTable& table, const Recipe& recipe, const UpdatePlan& plan,
                  const Tensor& grads, const TrialBlocks& blocks, std::int64_t first, std::int64_t count) {
  kernels::ArenaScope scope(ctx.arena);
  const kernels::AdamW options{.beta1 = recipe.beta1,
                               .beta2 = recipe.beta2,
                               .eps = recipe.eps,
                               .decay_count = std::clamp<std::int64_t>(table.decay_count() - first, 0, count)};
  const Tensor step = ctx.arena.tensor(kernels::DType::i32, {1});
  *step.trial<std::int32_t>() = static_cast<std::int32_t>(plan.step);
  const kernels::AdamWData data{.lr = scalar(ctx, grads.dtype(), plan.learning_rate),
                                .weight_decay = scalar(ctx, grads.dtype(), recipe.weight_decay),
                                .clip_scale = scalar(ctx, grads.dtype(), plan.clip_scale),
                                .step = step};
  kernels::adamw_update(ctx, options, data, range_of(blocks.weights, first, count), range_of(grads, first, count),
                        range_of(blocks.m, first, count), range_of(blocks.v, first, count));
}

}  // namespace hylas::model
