// run_sweep: trains the trials of a space that are not finished yet, and stores every curve. Stands between
// search/space (which trials), model::Cohort (training) and db::Store (results); cli/sweep.cpp is its only user besides
// the tests.
//
// Contract
// - Trials of one cohort key that stand at the same step train as one cohort; a trial's points do not depend on it.
// - After every evaluation one transaction holds the points of the whole cohort; only then does training go on.
// - A trial stops early (state stopped) once its capability held stop_at at two successive evaluations; a loss that is
// not
//   finite ends it as diverged; an exception that follows it into a cohort of its own ends it as failed. Others go on.
// - Checkpoints lie in <db>.checkpoints/<trial_key>/step-N.safetensors: the file first, then its row, then older files
// go.
// - Interrupted or killed at any moment, the next call with the same space continues from the checkpoints, records the
//   points made since then again, and finds the same bits. Finished trials are not run again.
// - Several processes may sweep one store at once: each claims cohorts of its own. So do the workers of one sweep, one
// a
//   device: a cohort leaves the others their share, and when one worker throws, all checkpoint and give back their
//   claims before the call throws what it threw.
//
// Errors: InputError (exit 2) for trials that cannot be trained at all, StoreError (its own exit codes). An interrupt
// is no error: the summary says so. DeviceError where a device is not there or a GPU stops working. Thread-safety: one
// call per Store at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "search/run/profile.hpp"
#include "search/space/space.hpp"

namespace hylas::search {

enum class Progress : std::uint8_t {
  none,
  terminal,  // one line that redraws itself
  text,      // a line now and then: stderr is no terminal
  jsonl,     // one JSON object a line after each COMMIT
};
// terminal or text, by whether stderr is a terminal.
[[nodiscard]] Progress default_progress();

struct SweepOptions {
  std::string space_text;            // the space file as written, kept beside its canonical form
  bool extend = false;               // let the space of an existing study change
  bool retry_failed = false;         // run failed trials again from their beginning
  int threads = 0;                   // < 1: all
  std::string device = "cpu";        // auto, cpu, cuda, cuda:N: what worker_devices() (devices.hpp) makes workers of
  std::vector<std::string> devices;  // a worker each, instead of those of `device`; the CPU may stand here twice
  std::size_t gpu_bytes = 0;         // of each GPU's memory; 0: nearly all that is free
  std::size_t max_cohort = 0;        // trials in lockstep; 0: what memory allows, at most 256
  double checkpoint_seconds =
      30;  // cadence; 0: after every slice of training, negative: only at the end and on interrupts
  bool keep_final_checkpoint = true;
  bool keep_checkpoints = false;  // those of all evaluations, for probes; to be given again when resuming
  double lease_seconds = 120;
  Progress progress = Progress::none;
  std::string program_version;  // provenance
  // Becomes true when the sweep shall checkpoint and return. Give it InterruptGuard::flag() (interrupt.hpp).
  const std::atomic<bool>* interrupt = nullptr;
};

struct SweepSummary {
  std::map<db::TrialState, std::int64_t> trials;  // of this space, by state, at the end
  std::int64_t trained = 0;                       // trials this call brought to an end
  std::int64_t already_finished = 0;
  std::int64_t tokens = 0;  // trained by this call
  double seconds = 0;       // of the wall clock
  bool interrupted = false;
  Profile profile;

  // 0, 3 where trials failed, 75 where interrupted.
  [[nodiscard]] int exit_code() const;
};

// Throws InputError where extending the study by this space would replace a registration (space/registration.hpp), or
// register what has begun. run_sweep does it where `extend` is set; a sweep with a tuning before it, before that.
void check_registration(const db::Store& store, const Space& space);

[[nodiscard]] SweepSummary run_sweep(const Space& space, db::Store& store, const SweepOptions& options);

// What run_sweep would do, without a store and without training (sweep --dry-run).
struct SweepPlan {
  std::int64_t designs = 0;
  std::int64_t trials = 0;
  std::int64_t cohorts = 0;         // distinct cohort keys
  std::int64_t largest_cohort = 0;  // trials of one cohort key
  std::int64_t tokens = 0;          // if nothing stops early
  double flops = 0;                 // training FLOPs, likewise
  std::int64_t evaluations = 0;
};
[[nodiscard]] SweepPlan plan_sweep(const Space& space);  // of the study's own trials
[[nodiscard]] SweepPlan plan_study(const Space& space);  // those of [tuning], too
// Of one trial, to its last step.
[[nodiscard]] std::int64_t planned_tokens(const model::TrialSpec& trial);

// <db>.checkpoints
[[nodiscard]] std::filesystem::path checkpoint_directory(const std::filesystem::path& database);

}  // namespace hylas::search
