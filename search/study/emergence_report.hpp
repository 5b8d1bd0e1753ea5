// What a person and a program read about when a capability emerged in a study: D50 per design with intervals, the
// fitted law in words, and the curves as a plot. Stands on study_runs.hpp and the emergence fit.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "fitting/emergence.hpp"
#include "search/report/plot.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::search {

// One row a design: emerged / runs, the D50 of each seed as bracketed by its evaluations ("> 2.05M": censored, not seen
// to emerge by then), and the law's D50 with its interval. Rows in the order of the law's D50.
[[nodiscard]] std::string d50_table(const StudyRuns& runs, const fitting::EmergenceFit& fit);
// The same as JSON: [{layout, design_id, emerged, runs, d50 {estimate, ci_low, ci_high}, seeds [{seed, lower,
// upper}]}].
[[nodiscard]] nlohmann::ordered_json d50_json(const StudyRuns& runs, const fitting::EmergenceFit& fit);

// The law's slopes as sentences: what doubling the window and dropping the position encoding do to D50, with intervals.
[[nodiscard]] std::string law_in_words(const StudyRuns& runs, const fitting::EmergenceFit& fit);

// A series a design, a line a seed.
[[nodiscard]] Plot curves_plot(const StudyRuns& runs);

// "412k", "1.36M"; "> 2.05M" for a censored one.
[[nodiscard]] std::string d50_text(const Emergence& d50);

}  // namespace hylas::search
