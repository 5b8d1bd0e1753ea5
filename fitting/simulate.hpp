// Runs drawn from a fitted F3: what a study with the same designs, seeds and evaluations would have seen were the fit
// the truth. The parametric bootstrap and tests are made of it.
//
// A run emerges with chance pi(x), at ln T ~ N(mu(x), sigma^2), and is seen to cross between the evaluations around T.
// Its evaluations are EmergenceRun::evaluations. Where those are not given they are put together from the study: every
// d_before, d_after and d_max of any run, up to the run's own end if it never emerged (else to the longest run's, as it
// may have been stopped because it emerged). Evaluations between which no run crossed are then missing; both models of
// a comparison see the same ones. Replicate r depends on the seed and r alone. Thread-safety: free functions on values.
#pragma once

#include <cstdint>
#include <vector>

#include "fitting/emergence.hpp"

namespace hylas::fitting {

// One ascending grid a run, as described above. Errors: InputError for evaluations that do not ascend or are not
// positive, naming the run.
[[nodiscard]] std::vector<std::vector<double>> evaluation_grids(const std::vector<EmergenceRun>& runs);

[[nodiscard]] std::vector<EmergenceRun> simulate_runs(const EmergenceFit& fit, const std::vector<EmergenceRun>& runs,
                                                      const std::vector<std::vector<double>>& grids, std::uint64_t seed,
                                                      std::uint64_t replicate);

}  // namespace hylas::fitting
