// The plain records that go in and out of the store: strings and numbers, no model types. One struct a table, named
// after it.
//
// Times are UTC texts ("2026-01-31T12:00:00Z"), durations seconds, ids 64-bit row ids; keys (design_id, trial_key) are
// the hashes that model/ makes. Texts may hold any bytes, NUL and quotes included: they are bound, never pasted into
// SQL.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hylas::db {

enum class TrialState : std::uint8_t { queued, running, done, stopped, diverged, failed };
[[nodiscard]] std::string_view to_string(TrialState state);
[[nodiscard]] TrialState trial_state(std::string_view name);  // the inverse; throws StoreError(corrupt)
// done, stopped, diverged, failed: no worker will touch it again.
[[nodiscard]] constexpr bool is_finished(TrialState s) {
  return s != TrialState::queued && s != TrialState::running;
}

struct Study {
  std::int64_t id = 0;
  std::string name;
  std::string space_json;  // canonical: what decides whether a space has changed
  std::string space_text;  // as its author wrote it
  std::string created_at;
};

struct Design {
  std::string design_id;
  std::string canonical;   // what design_id hashes
  std::string layout;      // canonical layout text
  std::string shape_json;  // d_model, heads, ...; any JSON object
  std::int64_t parameters_total = 0;
  std::int64_t parameters_non_embedding = 0;
  double flops_forward = 0;  // per token
  double flops_train = 0;
  std::int64_t cache_bytes = 0;
};

// What is known of a trial before it runs.
struct NewTrial {
  std::string trial_key;
  std::string design_id;
  std::string recipe_json;
  std::string protocol_json;
  std::string cohort_key;
  std::int64_t seed = 0;
  std::int64_t steps = 0;  // planned
  std::int64_t tokens_per_step = 0;
  std::string capability_metric;    // the metric whose D50 is asked for,
  double capability_threshold = 0;  // its threshold,
  double capability_stop_at = 0;    // and the value at which training stops early
};

struct Checkpoint {
  std::int64_t step = 0;
  bool evaluated = false;  // the evaluation due at this step (if any) was made before the checkpoint
  std::string path;        // relative to the directory of checkpoints
  std::int64_t bytes = 0;
};

struct Trial : NewTrial {
  std::int64_t id = 0;
  TrialState state = TrialState::queued;
  std::int64_t step = 0;                 // of the last evaluation, or the step at which the trial finished
  std::string message;                   // why it failed or diverged; "" otherwise
  double wall_seconds = 0;               // its share of the time spent on its cohorts
  std::int64_t epoch = 0;                // how often it has been claimed
  std::string owner;                     // who holds or held it: "host:pid"
  std::string started_at, finished_at;   // "" while there is none
  std::string layout;                    // of its design
  std::optional<Checkpoint> checkpoint;  // the latest
};

struct Point {
  std::int64_t trial = 0;  // row id
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::string metric;
  double value = 0;        // NaN and infinities come back as they went in
  std::int64_t count = 0;  // scored positions behind it; 0: not a mean of positions
};

struct Fit {
  std::int64_t id = 0;
  std::string kind;  // "emergence", "loss", ...
  std::string json;
  std::string program_version;
  std::string created_at;
};

// The process that writes: provenance of every evaluation.
struct Run {
  std::int64_t id = 0;
  std::string program_version;
  std::string machine;  // JSON: host, cpu, threads, memory, system
  std::string device;   // "cpu", "cuda:0 NVIDIA ..."
  std::string started_at;
};

// The right to write a trial: given by Store::claim, void once somebody else claims the trial.
struct Claim {
  std::int64_t trial = 0;
  std::int64_t epoch = 0;
};

struct MetricValue {
  std::string metric;
  double value = 0;
  std::int64_t count = 0;
};

// One evaluation of one trial.
struct EvaluationRecord {
  Claim claim;
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  double seconds = 0;  // time spent on the trial since its last record
  std::vector<MetricValue> points;
};

struct CheckpointRecord {
  Claim claim;
  Checkpoint checkpoint;
};

struct FinishRecord {
  Claim claim;
  TrialState state = TrialState::done;
  std::int64_t step = 0;
  std::string message;
  double seconds = 0;  // as in EvaluationRecord
};

// What Store::commit writes in one transaction: evaluations, then checkpoints, then ends. A claim may appear in all
// three.
struct Batch {
  std::vector<EvaluationRecord> evaluations;
  std::vector<CheckpointRecord> checkpoints;
  std::vector<FinishRecord> finishes;
  [[nodiscard]] bool empty() const { return evaluations.empty() && checkpoints.empty() && finishes.empty(); }
};

}  // namespace hylas::db
