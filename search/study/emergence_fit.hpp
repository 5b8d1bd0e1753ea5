// One fit of an emergence law to runs (of a study or of a table): the fit, D50 of every design, whether the law misses
// designs, and their text and JSON. `fit emergence`, `recommend` and `demo` share it.
//
// Errors: fitting::InputError for too few runs and for runs that say nothing; model::InputError for names that do not
// exist and for terms that were asked for and cannot be fitted. Thread-safety: pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fitting/compare.hpp"
#include "fitting/emergence.hpp"
#include "search/study/emergence_data.hpp"

namespace hylas::search {

struct EmergenceFitOptions {
  std::string law = "F3";  // or "F1"
  // Empty: all of default_terms() that the designs can tell apart, and the recurrent mixers they differ in; "none":
  // none.
  std::vector<std::string> terms;
  std::vector<std::string> cure_terms;
  bool cure = true;
  double level = 0.9;
  bool sandwich = false;  // quick intervals from the covariance instead of profiles: too narrow with few runs
  std::vector<std::string> profile;  // parameters to give intervals; empty: all
  int threads = 0;
};

[[nodiscard]] fitting::EmergenceOptions fitting_options(const EmergenceData& data, const EmergenceFitOptions& options);
// Terms that a person asked for by name are fitted or refused, never dropped; `flag` is what the message names.
void check_terms(const char* flag, const EmergenceData& data, const std::vector<std::string>& terms);
[[nodiscard]] fitting::EmergenceFit fit_emergence(const EmergenceData& data, const EmergenceFitOptions& options = {});

// Whether the law's columns tell the designs apart as well as one D50 a design would (likelihood ratio, F3 only). A
// small p says that the law bends away from its own designs: their measured D50 is the better guide. None where the law
// has as many columns as there are designs to tell apart.
[[nodiscard]] std::optional<fitting::LikelihoodRatio> lack_of_fit(const EmergenceData& data,
                                                                  const fitting::EmergenceFit& fit);
// A sentence where p < 0.05, else "".
[[nodiscard]] std::string lack_of_fit_text(const std::optional<fitting::LikelihoodRatio>& lack);

struct EmergenceAnalysis {
  fitting::EmergenceFit fit;
  std::vector<fitting::D50> d50;  // one a design of the data
  std::optional<fitting::LikelihoodRatio> lack;
};
[[nodiscard]] EmergenceAnalysis analyse_emergence(const EmergenceData& data, const EmergenceFitOptions& options = {});
// D50 of designs, in their order; profile intervals where the fit has them, else by the delta method.
[[nodiscard]] std::vector<fitting::D50> d50_of(const EmergenceData& data, const fitting::EmergenceFit& fit,
                                               const std::vector<fitting::DesignCovariates>& designs, int threads);

[[nodiscard]] std::string emergence_text(const EmergenceData& data, const EmergenceAnalysis& analysis);
// fitting's keys, and: study (of a study), metric, threshold, designs [d50_json()], left_out, other_recipes,
// lack_of_fit, dropped_terms {name: why}.
[[nodiscard]] nlohmann::ordered_json emergence_json(const EmergenceData& data, const EmergenceAnalysis& analysis);

}  // namespace hylas::search
