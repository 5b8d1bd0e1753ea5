// Checks of runs before an emergence fit, and the small look-ups that its files share. Not a public header.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fitting/emergence.hpp"
#include "fitting/laws/emergence_time.hpp"

namespace hylas::fitting {

void check_runs(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options);
void check_curves(const std::vector<CurveRun>& runs, const EmergenceOptions& options);
// Throws when there are not more runs than coordinates, naming both.
void check_enough(std::size_t runs, const std::vector<std::string>& coordinates);

// Warnings for dropped columns.
void report_dropped(Fit& fit, const Columns& columns);

[[nodiscard]] std::vector<std::vector<double>> rows_of(const Columns& columns,
                                                       const std::vector<DesignCovariates>& designs);
[[nodiscard]] std::vector<std::string> names_of(const std::vector<Coordinate>& coordinates);
[[nodiscard]] int index_of(const Fit& fit, const std::string& coordinate);  // -1: none

// The law of F3 on these runs; `origin`, when given, moves the intercept to a design: it becomes that design's ln D50.
[[nodiscard]] EmergenceTimeTerms emergence_time_terms(const std::vector<EmergenceRun>& runs, const Columns& columns,
                                                      const Columns& cure_columns, bool cure_free, bool cure_logit,
                                                      const DesignCovariates* origin = nullptr);

}  // namespace hylas::fitting
