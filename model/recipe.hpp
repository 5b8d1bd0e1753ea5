// Recipe: everything besides the design that fixes a run. Design and recipe together are a trial.
//
// Units: tokens, steps, sequences. Errors: validate() throws InputError naming the field as a space file writes it.
// canonical_json() is what trial_key hashes; keys sorted, numbers printed shortest round-trip. It holds every field but
// eval.lengths, eval.probe_sequences and window_growth where they are off: keys of recipes without them stay the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/data/task_spec.hpp"
#include "model/design/design.hpp"
#include "model/design/window_growth.hpp"

namespace hylas::model {

enum class ScheduleKind : std::uint8_t { constant, cosine, wsd };

// Multiplier of the peak learning rate at a step (model/schedule.hpp): linear warm-up, then by kind.
struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  std::int64_t warmup_steps = 50;
  double decay_fraction = 0.2;  // wsd: the last part of the steps, linear to final_ratio
  double final_ratio = 0.0;     // cosine, wsd: the multiplier at the last step
  bool operator==(const Schedule&) const = default;
};

// When evaluations happen: at step 0, then at log-spaced steps, each `growth` (rounded down to whole steps) after the
// last but at least `min_steps`, and at the last step. MATHS 3 wants growth <= 0.08 for interval-censored D50.
struct EvalPlan {
  std::int64_t sequences = 96;  // of the evaluation split, the same for all seeds
  double growth = 0.08;
  std::int64_t min_steps = 10;
  std::vector<std::int64_t> lengths = {};  // other contexts to evaluate at; metrics end in "@LENGTH"
  // Of `sequences`: those in which all attention heads are scored (eval/head_queries.hpp); 0: none.
  std::int64_t probe_sequences = 0;
  bool operator==(const EvalPlan&) const = default;
};

// A capability (an accuracy among the task's metrics, model/eval/task_metrics.hpp) and the threshold that defines its
// D50; training stops early once `stop_at` held at two successive evaluations (a stop_at over 1 never stops).
struct Capability {
  std::string metric = "accuracy/far";
  double threshold = 0.5;
  double stop_at = 0.9;
  bool operator==(const Capability&) const = default;
};

// What steps x batch x context may come to.
inline constexpr std::int64_t kMostTokens = 10'000'000'000'000;

struct Recipe {
  TaskSpec task = recall_task();
  std::int64_t steps = 1000;
  std::int64_t batch = 16;  // sequences of `context` tokens
  double learning_rate = 4e-3;
  double weight_decay = 0.1;
  double clip = 1.0;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double embed_std = 0.3;  // other matrices: fan_in^-1/2, output matrices further / sqrt(2 * layers)
  Schedule schedule;
  EvalPlan eval;
  Capability capability;
  WindowGrowth window_growth;  // off unless given
  std::int64_t seed = 1;       // initialisation
  std::int64_t data_seed = 1;  // training sequences
  std::string precision = "fp32";
  bool operator==(const Recipe&) const = default;

  [[nodiscard]] std::string canonical_json() const;
};

[[nodiscard]] Recipe recipe_from_json(const std::string& text);  // the inverse of canonical_json(); throws InputError
void validate(const Recipe& recipe, const Shape& shape);         // also that the task fits vocabulary and context

[[nodiscard]] std::string trial_key(const Design& design, const Recipe& recipe);
// Trials with equal keys can train in lockstep: shape, depth, operator of each layer (full and swa are one), batch,
// steps and evaluation plan, window growth, task, AdamW's constants, precision. What may differ: windows, NoPE, sinks'
// presence, seeds, learning rate, ...
[[nodiscard]] std::string cohort_key(const Design& design, const Recipe& recipe);
// The protocol identity stored with every evaluation: task parameters, metric definitions, window convention.
[[nodiscard]] std::string protocol_json(const Recipe& recipe, const Shape& shape);
// The steps at which evaluations happen, 0 and recipe.steps included, ascending. Throws InputError over 100,000 of
// them.
[[nodiscard]] std::vector<std::int64_t> evaluation_steps(const EvalPlan& plan, std::int64_t steps);

}  // namespace hylas::model
