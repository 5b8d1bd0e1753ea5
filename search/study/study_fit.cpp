// See study_fit.hpp.
#include "search/study/study_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "fitting/distributions.hpp"
#include "fitting/input_error.hpp"
#include "search/advise/recommend.hpp"
#include "search/study/emergence_report.hpp"

namespace hylas::search {

fitting::EmergenceFit fit_study(const StudyRuns& runs, const StudyFitOptions& options) {
  fitting::EmergenceOptions chosen;
  if (!options.terms.empty()) chosen.terms = options.terms;
  chosen.level = options.level;
  chosen.threads = options.threads;
  if (options.law == "F3") return fitting::fit_emergence_time(emergence_runs(runs), chosen);
  if (options.law == "F1") return fitting::fit_emergence_curve(curve_runs(runs), chosen);
  throw model::InputError("--law '" + options.law + "' is none of F1, F3");
}

std::optional<LackOfFit> lack_of_fit(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  auto saturated = emergence_runs(runs);
  std::vector<std::string> designs;
  for (const auto& run : saturated) {
    if (std::find(designs.begin(), designs.end(), run.design) == designs.end()) designs.push_back(run.design);
  }
  const auto degrees = static_cast<int>(designs.size()) - 1 - static_cast<int>(fit.columns.names.size());
  if (fit.fit.law != "F3" || degrees < 1) return std::nullopt;
  designs.erase(designs.begin());  // the intercept's
  for (auto& run : saturated) {
    run.x.indicators.clear();
    for (const auto& design : designs) run.x.indicators.emplace_back(design, run.design == design ? 1.0 : 0.0);
  }
  fitting::EmergenceOptions options;
  options.terms = designs;
  options.intervals = false;
  const auto full = fitting::fit_emergence_time(saturated, options);
  const auto statistic = 2 * (full.fit.log_likelihood - fit.fit.log_likelihood);
  return LackOfFit{statistic, degrees, fitting::chi_squared_survival(statistic, degrees)};
}

std::string lack_of_fit_text(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  const auto lack = lack_of_fit(runs, fit);
  if (!lack || lack->p >= 0.05) return "";
  return fmt::format(
      "The law misses some designs' own D50 (likelihood ratio {:.1f}, {} degree{} of freedom, p {:.2g}): where the "
      "measured "
      "and the law's D50 of a design differ, trust the measured one.",
      lack->statistic, lack->degrees, lack->degrees == 1 ? "" : "s", lack->p);
}

std::optional<fitting::LossFit> fit_study_loss(const db::Store& store, const StudyRuns& runs, int threads) {
  std::set<double> sizes;
  fitting::LossData data;
  const auto losses = load_study_runs(store, runs.study.name, "loss");
  for (const auto& run : losses.runs) {
    const auto n = law_covariates(losses.design(run.design_id)).parameters;
    const auto& last = run.curve.back();
    if (!(last.value > 0) || last.tokens <= 0) continue;
    sizes.insert(n);
    data.n.push_back(n);
    data.d.push_back(static_cast<double>(last.tokens));
    data.loss.push_back(last.value);
    data.run.push_back(run.trial_key);
  }
  if (sizes.size() < 3) return std::nullopt;
  fitting::LossOptions options;
  options.threads = threads;
  try {
    return fitting::fit_chinchilla(data, options);
  } catch (const fitting::InputError&) {  // e.g. all runs of one length: there is nothing to learn about D
    return std::nullopt;
  }
}

std::string study_fit_text(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  auto text = fmt::format("D50: tokens at which {} first holds {} at two successive evaluations.\n\n", runs.metric,
                          runs.threshold);
  text += d50_table(runs, fit) + "\n" + law_in_words(runs, fit);
  if (const auto lack = lack_of_fit_text(runs, fit); !lack.empty()) text += lack + "\n";
  text += "\n" + fitting::to_text(fit.fit);
  return text;
}

nlohmann::ordered_json study_fit_json(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  auto json = nlohmann::ordered_json::parse(fitting::to_json(fit.fit));
  json["study"] = runs.study.name;
  json["metric"] = runs.metric;
  json["threshold"] = runs.threshold;
  json["designs"] = d50_json(runs, fit);
  json["left_out"] = runs.left_out;
  json["other_recipes"] = runs.other_recipes;
  if (const auto lack = lack_of_fit(runs, fit)) {
    json["lack_of_fit"] = {{"statistic", lack->statistic}, {"degrees", lack->degrees}, {"p", lack->p}};
  }
  auto dropped = nlohmann::ordered_json::object();
  for (const auto& [name, why] : fit.columns.dropped) dropped[name] = why;
  json["dropped_terms"] = dropped;
  return json;
}

}  // namespace hylas::search
