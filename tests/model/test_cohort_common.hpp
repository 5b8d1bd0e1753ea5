// What the cohort tests share: small trials that differ in everything a cohort allows, and their stored state as bytes.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "model/checkpoint.hpp"
#include "model/cohort.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::tests {

using test::TempDir;

inline model::TrialSpec trial(const std::string& layout, std::int64_t seed, double learning_rate,
                              std::int64_t data_seed = 1) {
  const model::Shape shape{.d_model = 16,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_dim = 8,
                           .ffn = 24,
                           .vocab = 16,
                           .context = 32,
                           .tied = true,
                           .rope_theta = 10000.0};
  model::Recipe recipe;
  recipe.task = model::recall_task(8, 8, 0.5);
  recipe.steps = 24;
  recipe.batch = 18;  // 576 tokens: two chunks
  recipe.learning_rate = learning_rate;
  recipe.schedule.warmup_steps = 4;
  recipe.eval.sequences = 21;
  recipe.seed = seed;
  recipe.data_seed = data_seed;
  return {model::Design::make(layout, shape), recipe};
}

// Windows, NoPE, sinks, seeds, data seeds and learning rates all differ.
inline std::vector<model::TrialSpec> five_trials() {
  return {trial("swa:4 full swa:4 full", 1, 4e-3), trial("swa:16 full/nope swa:16 full/nope", 2, 2e-3),
          trial("full*4", 3, 8e-3, 5), trial("swa:2/sink full/sink full/nope/sink swa:9", 4, 1e-2),
          trial("swa:30/nope swa:3 full swa:5/nope", 1, 4e-3, 7)};
}

// Everything a checkpoint holds: weights, moments, step, running loss.
inline model::Checkpoint state_of(const model::Cohort& cohort, std::size_t trial) {
  const TempDir dir;
  cohort.save(trial, dir / "trial");
  return model::load_checkpoint(dir / "trial");
}

// Bytes, not numbers: NaNs compare equal to themselves, and 0 differs from -0.
inline bool same_bits(const model::Checkpoint& a, const model::Checkpoint& b) {
  if (a.metadata != b.metadata || a.tensors.size() != b.tensors.size()) return false;
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    const auto &x = a.tensors[i], &y = b.tensors[i];
    if (x.name != y.name || x.dims != y.dims || x.data.size() != y.data.size()) return false;
    if (std::memcmp(x.data.data(), y.data.data(), x.data.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

inline bool same_points(const model::Evaluation& a, const model::Evaluation& b) {
  if (a.step != b.step || a.tokens != b.tokens || a.points.size() != b.points.size()) return false;
  for (std::size_t i = 0; i < a.points.size(); ++i) {
    const auto &x = a.points[i], &y = b.points[i];
    if (x.metric != y.metric || x.count != y.count || std::memcmp(&x.value, &y.value, sizeof x.value) != 0)
      return false;
  }
  return true;
}

}  // namespace hylas::tests
