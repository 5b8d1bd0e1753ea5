// Cohort: P trials of one cohort key, trained in lockstep as one batched computation.
//
// A trial's bits depend on the trial and the binary only: not on P, its neighbours, the number of threads, or on when
// it was interrupted. On the CPU a thread takes one trial's steps (trial-major); where trials are fewer than threads
// the fixed chunks of a batch are spread instead. Gradients are always the ordered sum of the same chunks. On a GPU all
// trials go through every operator together; the bits are others than the CPU's, and as constant.
//
// Where the recipe lets windows grow, every update and evaluation sees those of its step (design/window_growth.hpp),
// also after load().
//
// Typical use: for (step : evaluation_steps) { cohort.train_to(step); store(cohort.evaluate()); drop the saturated }.
// Errors: those of check_trainable(); InputError for trials that do not share a cohort key; CheckpointError for a file
// that cannot be loaded. Thread-safety: one thread at a time; it uses its pool inside.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/tensor.hpp"
#include "model/eval/task_metrics.hpp"
#include "model/recipe.hpp"

namespace hylas::model {

struct TrialSpec {
  Design design;
  Recipe recipe;
};

struct Evaluation {
  std::size_t trial = 0;  // index into the specs the cohort was made with
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::vector<Point> points;
};

struct Divergence {
  std::size_t trial = 0;
  std::int64_t step = 0;  // the first step whose loss or gradient norm was not finite
};

struct CohortOptions {
  int threads = 0;             // on the CPU; < 1: all
  std::string device = "cpu";  // auto (a GPU where there is one), cpu, cuda (the first GPU), cuda:N
  std::size_t gpu_bytes = 0;   // memory of the GPU that may be used; 0: nearly all that is free
};

// The device that was asked for is not there. Ends a command with exit code 6.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Whether a cohort could train this trial: a device of this build (DeviceError, or InputError for a word that is none),
// mixers, recipe and precision (InputError). Trains and writes nothing; what a command checks before it touches a
// store.
void check_trainable(const TrialSpec& trial, const CohortOptions& options);
// The device that a word means. Throws InputError for a word that is none, DeviceError for a device that is not there.
[[nodiscard]] kernels::Device device_of(const std::string& text);
// How many trials like this one a cohort can hold at most, by the GPU's memory; without limit on the CPU.
[[nodiscard]] std::size_t trials_that_fit(const TrialSpec& trial, const CohortOptions& options);

class Cohort {
 public:
  Cohort(std::vector<TrialSpec> trials, const CohortOptions& options);
  ~Cohort();
  Cohort(Cohort&&) noexcept;
  Cohort& operator=(Cohort&&) noexcept;

  [[nodiscard]] std::size_t trials() const;               // as made
  [[nodiscard]] std::vector<std::size_t> active() const;  // still training, ascending
  [[nodiscard]] std::int64_t step() const;                // updates done
  [[nodiscard]] std::int64_t steps() const;               // updates planned
  [[nodiscard]] std::int64_t tokens_per_step() const;     // of one trial

  // Trains all active trials to `step`. Trials whose loss is not finite leave the cohort and are returned. When
  // *interrupt becomes true it returns early, with every active trial at one common step (step() says which).
  std::vector<Divergence> train_to(std::int64_t step, const std::atomic<bool>* interrupt = nullptr);
  // Evaluates all active trials on the suite of their recipe (eval/eval_suite.hpp); after its metrics comes
  // "train_loss" (mean over the trained positions since the last evaluation).
  [[nodiscard]] std::vector<Evaluation> evaluate();
  // The trial leaves: saturated, pruned, or taken away.
  void remove(std::size_t trial);

  // A trial's state (weights, moments, step) as one safetensors file, written to a temporary file, synced and renamed.
  void save(std::size_t trial, const std::filesystem::path& file) const;
  // All trials must be loaded from the same step; afterwards training goes on as if never interrupted.
  void load(std::size_t trial, const std::filesystem::path& file);

  [[nodiscard]] std::size_t peak_bytes() const;  // parameters, moments, gradients and arenas held
  // Where the cohort computes, and the memory that was planned for it: a line for people.
  [[nodiscard]] std::string plan_text() const;
  // Mean training loss of each active trial at the last step done.
  [[nodiscard]] std::vector<double> last_losses() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hylas::model
