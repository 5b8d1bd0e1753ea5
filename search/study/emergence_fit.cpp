// See emergence_fit.hpp.
#include "search/study/emergence_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "fitting/input_error.hpp"
#include "model/design/input_error.hpp"
#include "search/study/emergence_report.hpp"

namespace hylas::search {
namespace {

std::vector<fitting::DesignCovariates> covariates_of_runs(const EmergenceData& data) {
  std::vector<fitting::DesignCovariates> list;
  for (const auto& run : data.runs) list.push_back(data.designs[run.design].x);
  return list;
}

// A crossing before the first evaluation, run by run, leaves D50 without a lower end.
void check_crossings(const EmergenceData& data) {
  const bool all_early = std::all_of(data.runs.begin(), data.runs.end(),
                                     [](const DataRun& run) { return run.emerged() && run.crossing.d_before <= 0; });
  if (all_early) {
    throw fitting::InputError(fmt::format(
        "all {} runs hold the threshold {} from their first evaluation on: nothing tells when it was reached; evaluate "
        "earlier in training or raise the threshold",
        data.runs.size(), data.threshold));
  }
}

void check_profile(const fitting::Fit& fit, const std::vector<std::string>& profile) {
  std::vector<std::string> names;
  for (const auto& p : fit.parameters) names.push_back(p.name);
  for (const auto& name : profile) {
    if (fit.has(name)) continue;
    const auto guess = model::nearest(name, names);
    throw model::InputError(fmt::format(
        "--profile: the fit has no parameter '{}'; {}", name,
        guess.empty() ? fmt::format("it has {}", fmt::join(names, ", ")) : "did you mean '" + guess + "'?"));
  }
}

// Indicators (the shares of recurrent mixers) in which the designs differ.
std::vector<std::string> differing_indicators(const EmergenceData& data) {
  std::map<std::string, std::set<double>> values;
  for (const auto& design : data.designs) {
    for (const auto& [name, value] : design.x.indicators) values[name].insert(value);
  }
  std::vector<std::string> names;
  for (const auto& [name, seen] : values) {
    if (seen.size() > 1) names.push_back(name);
  }
  return names;
}

}  // namespace

void check_terms(const char* flag, const EmergenceData& data, const std::vector<std::string>& terms) {
  auto known = fitting::known_terms();
  for (const auto& design : data.designs) {
    for (const auto& [name, value] : design.x.indicators) known.push_back(name);
  }
  for (const auto& name : terms) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto guess = model::nearest(name, known);
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    throw model::InputError(fmt::format(
        "{}: unknown term '{}'; {}", flag, name,
        guess.empty() ? fmt::format("the terms are {}", fmt::join(known, ", ")) : "did you mean '" + guess + "'?"));
  }
  const auto dropped = fitting::choose_columns(covariates_of_runs(data), terms).dropped;
  if (dropped.empty()) return;
  throw model::InputError(fmt::format("{}: '{}' cannot be fitted: {}; leave it out, or add runs that differ in it",
                                      flag, dropped.front().first, dropped.front().second));
}

fitting::EmergenceOptions fitting_options(const EmergenceData& data, const EmergenceFitOptions& options) {
  fitting::EmergenceOptions chosen;
  if (options.terms.empty()) {
    for (const std::string& name : differing_indicators(data)) chosen.terms.push_back(name);
  } else {
    chosen.terms = options.terms;
  }
  if (options.terms == std::vector<std::string>{"none"}) chosen.terms.clear();
  chosen.sandwich = options.sandwich;
  chosen.cure_terms = options.cure_terms;
  chosen.cure = options.cure;
  chosen.level = options.level;
  chosen.profile = options.profile;
  chosen.threads = options.threads;
  return chosen;
}

fitting::EmergenceFit fit_emergence(const EmergenceData& data, const EmergenceFitOptions& options) {
  if (data.runs.empty()) {
    throw fitting::InputError(data.title +
                              ": no run was evaluated below the threshold or twice above it; train longer");
  }
  if (!options.terms.empty()) check_terms("--terms", data, fitting_options(data, options).terms);
  check_terms("--cure-terms", data, options.cure_terms);
  check_crossings(data);
  if (options.law != "F3" && options.law != "F1") {
    throw model::InputError(options.law == "F2" ? "F2 is a law of losses: hylas fit loss --law efficiency"
                                                : "--law '" + options.law + "' is none of F1, F3; see: hylas fit list");
  }
  auto fit = options.law == "F3" ? fitting::fit_emergence_time(emergence_runs(data), fitting_options(data, options))
                                 : fitting::fit_emergence_curve(curve_runs(data), fitting_options(data, options));
  check_profile(fit.fit, options.profile);
  return fit;
}

std::optional<fitting::LikelihoodRatio> lack_of_fit(const EmergenceData& data, const fitting::EmergenceFit& fit) {
  if (fit.fit.law != "F3") return std::nullopt;
  fitting::EmergenceOptions options;
  options.terms = fit.columns.names;
  options.cure_terms = fit.cure_columns.names;
  options.cure = fit.cure_logit || fit.fit.has("pi");
  return fitting::lack_of_fit(emergence_runs(data), options);
}

std::string lack_of_fit_text(const std::optional<fitting::LikelihoodRatio>& lack) {
  if (!lack || !(lack->p < 0.05)) return "";
  return fmt::format(
      "The law misses some designs' own D50 (likelihood ratio {:.1f}, {} degree{} of freedom, p {:.2g}): where the "
      "measured "
      "and the law's D50 of a design differ, trust the measured one.",
      lack->statistic, lack->degrees, lack->degrees == 1 ? "" : "s", lack->p);
}

std::vector<fitting::D50> d50_of(const EmergenceData& data, const fitting::EmergenceFit& fit,
                                 const std::vector<fitting::DesignCovariates>& designs, int threads) {
  if (!fit.fit.interval_method.starts_with("profile")) {
    std::vector<fitting::D50> list;
    list.reserve(designs.size());
    for (const auto& x : designs) list.push_back(fitting::predict_d50(fit, x));
    return list;
  }
  return fit.fit.law == "F1" ? fitting::profile_d50(fit, curve_runs(data), designs, threads)
                             : fitting::profile_d50(fit, emergence_runs(data), designs, threads);
}

EmergenceAnalysis analyse_emergence(const EmergenceData& data, const EmergenceFitOptions& options) {
  EmergenceAnalysis analysis;
  analysis.fit = fit_emergence(data, options);
  std::vector<fitting::DesignCovariates> designs;
  for (const auto& design : data.designs) designs.push_back(design.x);
  analysis.d50 = d50_of(data, analysis.fit, designs, options.threads);
  analysis.lack = lack_of_fit(data, analysis.fit);
  return analysis;
}

std::string emergence_text(const EmergenceData& data, const EmergenceAnalysis& analysis) {
  auto text = fmt::format("D50: tokens at which {} first holds {} at two successive evaluations.\n\n", data.metric,
                          data.threshold);
  text += d50_table(data, analysis) + "\n" + law_in_words(data, analysis.fit);
  if (const auto lack = lack_of_fit_text(analysis.lack); !lack.empty()) text += lack + "\n";
  text += "\n" + fitting::to_text(analysis.fit.fit);
  return text;
}

nlohmann::ordered_json emergence_json(const EmergenceData& data, const EmergenceAnalysis& analysis) {
  auto json = nlohmann::ordered_json::parse(fitting::to_json(analysis.fit.fit));
  if (!data.study.empty()) json["study"] = data.study;
  json["metric"] = data.metric;
  json["threshold"] = data.threshold;
  json["designs"] = d50_json(data, analysis);
  json["left_out"] = data.left_out;
  json["other_recipes"] = data.other_recipes;
  if (const auto& lack = analysis.lack) {
    json["lack_of_fit"] = {{"statistic", lack->statistic}, {"degrees", lack->degrees}, {"p", lack->p}};
    if (std::isnan(lack->p)) json["lack_of_fit"]["p"] = nullptr;
  }
  auto dropped = nlohmann::ordered_json::object();
  for (const auto& [name, why] : analysis.fit.columns.dropped) dropped[name] = why;
  json["dropped_terms"] = dropped;
  return json;
}

}  // namespace hylas::search
