// What the tests of models with a decoder share: small trials of MAD's compression task.
#pragma once

#include <cmath>
#include <string>

#include "tests/catch.hpp"
#include "tests/model/test_cohort_common.hpp"

namespace hylas::tests {

// MAD's compression at 16 tokens and a context of 8, never the same sequence twice.
inline model::TrialSpec compression(const std::string& layout, std::int64_t seed, std::int64_t steps) {
  const model::Shape shape{.d_model = 32,
                           .heads = 2,
                           .kv_heads = 2,
                           .head_dim = 16,
                           .ffn = 96,
                           .vocab = 16,
                           .context = 8,
                           .tied = true,
                           .rope_theta = 10000.0};
  model::Recipe recipe;
  recipe.task = model::task_spec("mad_compression", {{"train_sequences", std::int64_t{0}}});
  recipe.capability.metric = "accuracy";
  recipe.steps = steps;
  recipe.batch = 32;
  recipe.learning_rate = 4e-3;
  recipe.weight_decay = 0;
  recipe.schedule.warmup_steps = 20;
  recipe.seed = seed;
  return {model::Design::make(layout, shape), recipe};
}

inline double metric(const model::Evaluation& evaluation, const std::string& name) {
  for (const auto& point : evaluation.points) {
    if (point.metric == name) return point.value;
  }
  FAIL("no metric " << name);
  return NAN;
}

}  // namespace hylas::tests
