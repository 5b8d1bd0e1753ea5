// Engine: what trains and evaluates the trials of a cohort on one kind of device. Inside of model/; Cohort (cohort.hpp)
// holds the trials and one engine, and is what everybody else uses.
//
// All active trials stand at one step. A trial's weights and moments lie in blocks of the engine's device, which
// TrialState::blocks views; its counters are brought up to date when run() returns.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "model/trainer.hpp"

namespace hylas::model {

class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual const ParameterTable& parameters() const = 0;
  // Gives every trial its blocks and its initial weights.
  virtual void place(std::vector<TrialState>& trials) = 0;
  // All active trials, `steps` steps on; those that are not finite are marked as diverged and no longer change.
  virtual void run(std::vector<TrialState>& trials, std::int64_t steps) = 0;
  // The suite's points of each of these trials, in order, and those of its heads where the plan wants them.
  [[nodiscard]] virtual std::vector<std::vector<Point>> evaluate(std::span<const TrialState* const> trials) = 0;
  // Tells the engine that a trial's blocks or step were set from outside, or that trials have left.
  virtual void trials_changed(std::vector<TrialState>& trials) = 0;
  // Tells the engine that TrialState::layout has other windows.
  virtual void windows_changed(std::vector<TrialState>& trials) = 0;
  [[nodiscard]] virtual std::size_t peak_bytes() const = 0;
  // One line for people: what runs where, and with how much memory.
  [[nodiscard]] virtual std::string plan_text() const = 0;
};

[[nodiscard]] std::unique_ptr<Engine> make_cpu_engine(const TrialSpec& first, const CohortOptions& options);
// device: its index. Throws kernels::cuda::OutOfDeviceMemory where `trials` do not fit.
[[nodiscard]] std::unique_ptr<Engine> make_cuda_engine(const TrialSpec& first, std::int64_t trials, int device,
                                                       const CohortOptions& options);
// How many trials like this fit on the device at once, at least 1.
[[nodiscard]] std::int64_t cuda_trials_that_fit(const TrialSpec& trial, int device, const CohortOptions& options);

}  // namespace hylas::model
