// The steps of fitting a loss law that loss_fit.cpp and loss_intervals.cpp share. Not a public header.
#pragma once

#include <vector>

#include "fitting/bootstrap.hpp"
#include "fitting/loss.hpp"
#include "fitting/loss_law.hpp"

namespace hylas::fitting {

// A law on the data of one fit.
struct LossProblem {
  const LossModel& model;
  LossSample sample;
  Box box;                  // of the law, narrowed by the caller
  std::vector<bool> fixed;  // coordinates
  Units units;              // what is resampled
};

// One start on a sample; `near`: it is near a minimum. Where the solver does not arrive from far, and for L1, through
// Huber sums of shrinking delta.
[[nodiscard]] Solution solve_loss(const LossProblem& problem, const LossSample& sample, const Vector& start, bool near);

// Bootstrap draws, intervals and what they show not to be identified.
void add_loss_bootstrap(LossFit& result, const LossProblem& problem, const MultiStart& fits,
                        const LossOptions& options);
// Sandwich standard errors of the parameters; as intervals too where options ask for them.
void add_sandwich(LossFit& result, const LossProblem& problem, const MultiStart& fits, const LossOptions& options);
// Profiles of the free coordinates under the residuals' density: flat ones are not identified.
void flag_flat_profiles(LossFit& result, const LossProblem& problem, const MultiStart& fits,
                        const LossOptions& options);

}  // namespace hylas::fitting
