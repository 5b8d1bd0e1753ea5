// Identification: what a fit may not claim to know (MATHS 3). Each check speaks in words that end up in Parameter::why.
#pragma once

#include <string>
#include <vector>

#include "fitting/result.hpp"
#include "fitting/solver.hpp"

namespace hylas::fitting {

// Marks a parameter as not identified; several reasons are joined by "; ".
void not_identified(Parameter& parameter, const std::string& why);

// The indices into `all` (best first) of converged solutions whose objective is within `ratio` of the best's, or within
// `slack`, but which differ from it: another basin that explains the data as well.
[[nodiscard]] std::vector<int> rival_basins(const MultiStart& fits, double ratio, double slack);

// Fills starts, starts_agreeing, converged, first_order, theta, covariance and the warning when the fit did not
// converge.
void describe_solution(Fit& fit, const MultiStart& fits, const std::vector<std::string>& coordinates);

}  // namespace hylas::fitting
