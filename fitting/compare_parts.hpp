// What the comparisons of F3 (compare.cpp) and F1 (compare_curves.cpp) share. Not a public header.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "fitting/compare.hpp"
#include "fitting/solver.hpp"

namespace hylas::fitting {

// The coordinates that the larger fit has more. Errors: InputError where the fits are not nested.
[[nodiscard]] std::vector<std::string> added_by(const Fit& smaller, const Fit& larger);

// Coordinates of the larger model at which it is the smaller one at `theta`.
[[nodiscard]] Vector embed(const Vector& theta, const Fit& smaller, const Fit& larger);
[[nodiscard]] Vector theta_of(const Fit& fit);

// A lower valley of the larger model than its own starts found, reached from the smaller one, replaces its minimum.
void use_if_better(Fit& larger, const Solution& nested);

// statistic_of(r): the likelihood ratio of simulated study r, NaN where it could not be fitted.
void bootstrap_ratio(LikelihoodRatio& ratio, const CompareOptions& options,
                     const std::function<double(int)>& statistic_of);

[[nodiscard]] EmergenceOptions without_intervals(EmergenceOptions options, int threads);

}  // namespace hylas::fitting
