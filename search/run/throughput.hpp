// How long a sweep will take, from training measured on the spot: each cohort kind (trials of one model::cohort_key) is
// trained for a few steps as run_sweep would train it, and its tokens are divided by the speed found. Stands beside the
// controller; study/plan_text.hpp prints what comes out.
//
// What is measured: a real model::Cohort of as many trials as a worker would put together at the start of the sweep
// (group_size.hpp), spread evenly over the kind's trials, since a group of small windows is faster than one of large
// ones. Where a kind has more trials than that they go through in groups, and the speed of a full group holds for all.
// What does not fit into a GPU's memory is tried in halves, as a worker does. The learning rate is next to nothing
// meanwhile: a rate that lets a trial diverge must not let the cohort look fast. Of several devices the first is
// measured. Nothing is stored.
//
// Units: tokens and FLOPs of training, evaluations not counted; seconds and hours of one device's wall clock. Errors:
// those of model::Cohort (InputError, DeviceError, CudaError). Thread-safety: one call at a time, the device to itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/cohort.hpp"
#include "search/run/controller.hpp"
#include "search/space/space.hpp"

namespace hylas::search {

struct StepTiming {
  double seconds = 0;      // a step of the whole cohort: the median of the samples
  std::int64_t steps = 0;  // in all samples
};

// Trains the cohort for about this long, after two steps of warm-up (memory and caches; a GPU records its step in the
// second). A sample is as many steps as take about 20 ms, at least one: a call of train_to() costs a GPU some ten
// transfers, which a sweep pays once a second and not once a step. At least `least_samples` (1 or more) are taken.
[[nodiscard]] StepTiming time_steps(model::Cohort& cohort, double seconds, std::size_t least_samples);

struct MeasureOptions {
  double seconds = 2;         // a cohort kind, warm-up left out; at least two steps
  double total_seconds = 60;  // of all kinds: where they are many, each gets an equal part of this
};

// One cohort kind of one study.
struct CohortPlan {
  std::string study;
  std::string cohort_key;
  std::string text;  // for people: "384 x 10, context 16384, full+swa"; more where that fits several kinds
  std::int64_t trials = 0;
  std::int64_t together = 0;     // trials of a full group
  std::int64_t tokens = 0;       // of all trials to their last step
  double flops = 0;              // likewise
  double tokens_per_second = 0;  // of a full group, all its trials added up
  std::int64_t steps = 0;        // timed
  [[nodiscard]] double hours() const { return static_cast<double>(tokens) / tokens_per_second / 3600; }
};

struct TrainingPlan {
  SweepPlan totals;                    // plan_study()
  std::string device;                  // the one measured: "cpu", "cuda:0 NVIDIA H200"
  std::size_t devices = 1;             // that would share the work
  std::vector<CohortPlan> cohorts;     // the tuning's first; inside a study in the order of its trials
  [[nodiscard]] double hours() const;  // of one such device
};

// The cohort kinds of `trials`, in the order in which they first appear. `sweep` says which device, memory, threads and
// how many together.
[[nodiscard]] std::vector<CohortPlan> measure_cohorts(const std::vector<model::TrialSpec>& trials,
                                                      const SweepOptions& sweep, const MeasureOptions& options = {});
// A study and the tuning before it. A kind that is trained in both in groups of one size is measured once.
[[nodiscard]] TrainingPlan measure_plan(const Space& space, const SweepOptions& sweep,
                                        const MeasureOptions& options = {});

}  // namespace hylas::search
