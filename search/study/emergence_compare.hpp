// What a fit of emergence is checked by, as `fit emergence` asks for it: hold-out of sizes, designs or windows, and
// likelihood ratios against other sets of terms, and the test of a common plateau.
//
// Errors: model::InputError for rules and terms that say nothing the data know. Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fitting/asymptote.hpp"
#include "fitting/compare.hpp"
#include "fitting/hold_out.hpp"
#include "search/study/emergence_fit.hpp"

namespace hylas::search {

// "largest:N", "largest:N:2" (the two largest sizes), "design" and "window" (each in turn), "design=NAME", "window=W".
[[nodiscard]] fitting::HoldOutRule hold_out_rule(const EmergenceData& data, const std::string& text);
// Of the law that was fitted; F3 alone.
[[nodiscard]] fitting::HoldOut hold_out(const EmergenceData& data, const EmergenceFitOptions& options,
                                        const fitting::HoldOutRule& rule);

// The fitted terms against others: a likelihood ratio where one set holds the other, and AIC and BIC of all.
struct TermComparison {
  std::vector<std::string> terms;
  bool larger = false;  // it has more terms than the fit
  bool nested = false;
  fitting::LikelihoodRatio ratio;  // where nested
};
struct Comparison {
  std::vector<TermComparison> against;
  std::vector<fitting::CandidateFit> models;  // best AIC first; F3 alone
};
// `against`: sets of terms; an empty one is the law without terms.
[[nodiscard]] Comparison compare_terms(const EmergenceData& data, const EmergenceFitOptions& options,
                                       const fitting::EmergenceFit& fit,
                                       const std::vector<std::vector<std::string>>& against,
                                       const fitting::CompareOptions& compare);

// "All hybrids converge" as a test: one plateau for all designs against one a design. Needs counts.
[[nodiscard]] fitting::AsymptoteTest common_asymptote(const EmergenceData& data, const EmergenceFitOptions& options,
                                                      int simulations, std::uint64_t seed);

[[nodiscard]] std::string comparison_text(const Comparison& comparison);
// {likelihood_ratios [{terms, larger, nested, added, statistic, degrees, p, p_bootstrap, simulations, aic_gain,
// bic_gain}], models [{terms, parameters, log_likelihood, aic, bic, aic_weight, converged, identified}]}
[[nodiscard]] nlohmann::ordered_json comparison_json(const Comparison& comparison);

}  // namespace hylas::search
