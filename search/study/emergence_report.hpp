// What a person and a program read about when a capability emerged in a study or a table: D50 per design with
// intervals, the fitted law in words, and the curves as a plot. Stands on emergence_fit.hpp.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "search/report/plot.hpp"
#include "search/study/emergence_data.hpp"
#include "search/study/emergence_fit.hpp"

namespace hylas::search {

// One row a design: emerged / runs, the D50 of each seed as bracketed by its evaluations ("> 2.05M": censored, not seen
// to emerge by then), and the law's D50 with its interval. Rows in the order of the law's D50.
[[nodiscard]] std::string d50_table(const EmergenceData& data, const EmergenceAnalysis& analysis);
// The same as JSON: [{design, emerged, runs, d50 {estimate, ci_low, ci_high, probability_ever}, seeds [{seed, lower,
// upper}]}]; of a study with layout, design_id, d_model and each seed's trial_key.
[[nodiscard]] nlohmann::ordered_json d50_json(const EmergenceData& data, const EmergenceAnalysis& analysis);

// The law's slopes as sentences: what doubling the window and dropping the position encoding do to D50, with intervals.
[[nodiscard]] std::string law_in_words(const EmergenceData& data, const fitting::EmergenceFit& fit);

// A series a design, a line a seed.
[[nodiscard]] Plot curves_plot(const EmergenceData& data);

// "412k", "1.36M"; "> 2.05M" for a censored one.
[[nodiscard]] std::string d50_text(const fitting::Crossing& crossing);
// An estimate or an end of an interval: as above, "inf", and "> 1e15" beyond any training run.
[[nodiscard]] std::string tokens_text(double tokens);
// {estimate, ci_low, ci_high, probability_ever}, and run_low, run_high of one new run; null where not finite.
[[nodiscard]] nlohmann::ordered_json d50_numbers(const fitting::D50& d50, bool one_run = false);

}  // namespace hylas::search
