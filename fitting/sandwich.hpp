// Sandwich covariance: H^-1 J H^-1, H the Hessian of the objective and J the sum over units of g g^T, g a unit's
// gradient (White 1980; by clusters, Liang and Zeger 1986). It stays right where the spread is not the same for every
// run, or the loss is no likelihood, because it asks the data how much the gradients vary. It is the quick answer: one
// pass over the terms, no refits. In small studies its intervals are too narrow; profiles and bootstraps are not.
//
// Small-sample factor G / (G - 1) (N - 1) / (N - p), G units, N terms, p free coordinates ("CR1"; n / (n - p), "HC1",
// where every term is a unit of its own). Thread-safety: a free function on values.
#pragma once

#include "fitting/bootstrap.hpp"
#include "fitting/solver.hpp"

namespace hylas::fitting {

// Covariance of solution.theta. Rows and columns of coordinates that are fixed or on a bound are zero. NaN in all the
// others where there are not more units than free coordinates: such a J has no full rank and says nothing.
[[nodiscard]] Matrix sandwich(const Objective& objective, const Solution& solution, const Units& units);

}  // namespace hylas::fitting
