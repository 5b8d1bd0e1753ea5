// The law of F1 on runs and its fit, shared by fit_emergence_curve, profile_d50 and the asymptote test. Not a public
// header.
#pragma once

#include <vector>

#include "fitting/emergence.hpp"
#include "fitting/laws/emergence_curve.hpp"
#include "fitting/likelihood.hpp"

namespace hylas::fitting {

inline constexpr double kLongEnough = 3;  // a plateau needs a run of about 3 D50 (MATHS 3)

// Newton needs 10 to 40 evaluations. The objective adds hundreds of differences of ln Gamma, which leaves a rounding of
// 1e-11 to 1e-10: steps that promise less cannot be told from none, so that the first-order norm may stay near 1e-6.
inline constexpr SolverOptions kCurveSolver{.max_evaluations = 300, .tolerance = 3e-6};

// `origin`, when given, moves the intercept to a design: it becomes that design's ln D50.
[[nodiscard]] EmergenceCurveTerms emergence_curve_terms(const std::vector<CurveRun>& runs, const Columns& columns,
                                                        const DesignCovariates* origin = nullptr,
                                                        const Sharing& plateaus = {}, const Sharing& floors = {});

// Fills result.fit, d_max and longest_ratio; result.columns must be set. `starts`, when given, come before the law's
// own.
MultiStart fit_curves(EmergenceFit& result, const EmergenceCurveTerms& law, const std::vector<CurveRun>& runs,
                      const EmergenceOptions& options, std::vector<Vector> starts = {});

}  // namespace hylas::fitting
