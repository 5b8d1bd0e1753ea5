// Newton steps in a box with an exact line search, and the first-order check of every solution.
//
// Huber sums with a small delta have slopes that bend wherever a residual passes delta: there a Newton step overshoots,
// and a trust region that shrinks loses what the curvature knows. Here the step's length is a root of the slope along
// it, so every step ends at the minimum of its line, and a convex sum of linear pieces is solved in finitely many. From
// a start that is near (bootstrap replicates, neighbours on a profile) this takes 5 to 15 evaluations where Ceres' loop
// takes 30; from far away solver.cpp lets Ceres go first.
#pragma once

#include <vector>

#include "fitting/solver.hpp"

namespace hylas::fitting {

// Fills objective, derivatives, edges and the first-order norm at s.theta.
void assess(const Objective& objective, const Box& box, Solution& s);

// Coordinates that are not held by the caller and, if wanted, not on a bound.
[[nodiscard]] std::vector<int> free_of(const Solution& s, bool without_edges);

// Improves an assessed solution until the first-order check holds, no step helps, or the evaluations are spent. Never
// ends above where it began.
void newton_steps(const Objective& objective, const Box& box, Solution& s, const SolverOptions& options,
                  int max_evaluations);

}  // namespace hylas::fitting
