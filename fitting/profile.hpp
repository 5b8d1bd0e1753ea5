// Profile likelihood intervals: the values of one coordinate at which the objective, minimised over all the others,
// rises by less than threshold^2 / 2 above its minimum. With objective = -log-likelihood and the threshold of
// likelihood.hpp they cover .89 to .93 at nominal .90 (test_coverage.cpp) where a pairs bootstrap covers .77 (MATHS 3).
//
// Cost: three to five constrained minimisations an end, each started from its neighbour. An end that the box stops
// before the objective has risen enough is open: the data do not limit the coordinate there.
#pragma once

#include <optional>

#include "fitting/solver.hpp"

namespace hylas::fitting {

struct ProfileInterval {
  double low = 0, high = 0;                  // of the coordinate; the bound where open
  bool low_open = false, high_open = false;  // not limited by the data
  std::optional<Vector> better;              // a point found on the way whose objective is below the "minimum"
  int solves = 0;
};

// best: a solution of `objective`; j: the coordinate; threshold: sqrt of twice the rise, e.g. the t quantile.
[[nodiscard]] ProfileInterval profile_interval(const Objective& objective, const Box& box, const Solution& best, int j,
                                               double threshold, const SolverOptions& options = {});

}  // namespace hylas::fitting
