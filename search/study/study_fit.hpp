// One emergence fit of a study: which terms it can hold, the fit, and its text and JSON. `fit emergence`, `recommend`
// and `demo` share it.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fitting/emergence.hpp"
#include "fitting/loss.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::search {

struct StudyFitOptions {
  std::string law = "F3";          // or "F1"
  std::vector<std::string> terms;  // empty: all of fitting::default_terms() that the designs can tell apart
  double level = 0.9;
  int threads = 0;
};

// Errors: fitting::InputError for too few runs, model::InputError for a law that does not exist.
[[nodiscard]] fitting::EmergenceFit fit_study(const StudyRuns& runs, const StudyFitOptions& options = {});

// Whether the law's columns tell the designs apart as well as one D50 a design would (likelihood ratio, F3 only). A
// small p says that the law bends away from its own designs: their measured D50 is the better guide. None where the law
// has as many columns as there are designs to tell apart.
struct LackOfFit {
  double statistic = 0;
  int degrees = 0;
  double p = 1;  // asymptotic
};
[[nodiscard]] std::optional<LackOfFit> lack_of_fit(const StudyRuns& runs, const fitting::EmergenceFit& fit);
// A sentence where p < 0.05, else "".
[[nodiscard]] std::string lack_of_fit_text(const StudyRuns& runs, const fitting::EmergenceFit& fit);

// The loss law of the study's runs at their last evaluations, for N* and D*: none with fewer than three sizes, where an
// exponent of N is not identified.
[[nodiscard]] std::optional<fitting::LossFit> fit_study_loss(const db::Store& store, const StudyRuns& runs,
                                                             int threads);

[[nodiscard]] std::string study_fit_text(const StudyRuns& runs, const fitting::EmergenceFit& fit);
// fitting's keys, and: study, metric, threshold, designs [d50_json()], left_out, other_recipes, lack_of_fit,
// dropped_terms {name: why}.
[[nodiscard]] nlohmann::ordered_json study_fit_json(const StudyRuns& runs, const fitting::EmergenceFit& fit);

}  // namespace hylas::search
