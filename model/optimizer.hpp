// The update of one trial: global-norm clip, schedule, AdamW (kernels/adamw.hpp) on its flat blocks.
//
//   norm = |grads|;  clip_scale = min(1, recipe.clip / norm)  (a clip of 0 or less: no clipping)
//   lr = recipe.learning_rate * schedule_multiplier(step);  weight decay on the matrix part only
//
// In two parts, so that the second, elementwise one can be cut into ranges for several threads: the bits do not depend
// on the cut as long as ranges start at multiples of kRangeAlignment. Blocks: [1, N], f32 or f64, all of one dtype.
// Thread-safety: a call uses only its Context and its range.
#pragma once

#include "kernels/context.hpp"
#include "model/parameters.hpp"
#include "model/recipe.hpp"

namespace hylas::model {

inline constexpr std::int64_t kRangeAlignment = 4096;

struct UpdatePlan {
  std::int64_t step = 1;  // of this update, from 1
  double grad_norm = 0;   // before clipping; when it is not finite the update must not be applied
  double clip_scale = 1;
  double learning_rate = 0;
};

struct TrialBlocks {  // [1, N] each
  kernels::Tensor weights, m, v;
};

// Elements [first, first + count) of a block [1, N].
[[nodiscard]] kernels::Tensor range_of(const kernels::Tensor& block, std::int64_t first, std::int64_t count);

[[nodiscard]] UpdatePlan plan_update(kernels::Context& ctx, const Recipe& recipe, std::int64_t step,
                                     const kernels::Tensor& grads);
// Applies the plan to elements [first, first + count).
void apply_update(kernels::Context& ctx, const ParameterTable& table, const Recipe& recipe, const UpdatePlan& plan,
                  const kernels::Tensor& grads, const TrialBlocks& blocks, std::int64_t first, std::int64_t count);

}  // namespace hylas::model
