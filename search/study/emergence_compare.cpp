// See emergence_compare.hpp.
#include "search/study/emergence_compare.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "model/design/input_error.hpp"

namespace hylas::search {
namespace {

using By = fitting::HoldOutRule::By;

// The window of the runs that `text` means: a mean of windows need not be a round number.
double window_of(const EmergenceData& data, const std::string& text) {
  double wanted = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted);
  const bool number = error == std::errc() && end == text.data() + text.size();
  std::set<double> windows;
  for (const auto& run : data.runs) windows.insert(data.designs[run.design].x.window);
  for (const double window : windows) {
    if (number && std::abs(window - wanted) <= 1e-6 * std::max(1.0, window)) return window;
  }
  throw model::InputError(
      fmt::format("--holdout window={}: no run has this window; there are {:.6g}", text, fmt::join(windows, ", ")));
}

const DataDesign& design_of(const EmergenceData& data, const std::string& name) {
  std::vector<std::string> labels;
  for (const auto& design : data.designs) {
    if (design.name == name || design.label == name) return design;
    labels.push_back(design.label);
  }
  const auto guess = model::nearest(name, labels);
  throw model::InputError(fmt::format(
      "--holdout design={}: no such design; {}", name,
      guess.empty() ? fmt::format("there are {}", fmt::join(labels, ", ")) : "did you mean '" + guess + "'?"));
}

bool holds(const std::vector<std::string>& outer, const std::vector<std::string>& inner) {
  return std::all_of(inner.begin(), inner.end(),
                     [&](const auto& name) { return std::find(outer.begin(), outer.end(), name) != outer.end(); });
}

std::string name_of(const std::vector<std::string>& terms) {
  return terms.empty() ? "none" : fmt::format("{}", fmt::join(terms, ", "));
}

void need_f3(const EmergenceFitOptions& options, const char* flag) {
  if (options.law != "F3") throw model::InputError(fmt::format("{} is for F3; give --law F3", flag));
}

}  // namespace

fitting::HoldOutRule hold_out_rule(const EmergenceData& data, const std::string& text) {
  if (text == "design") return {.by = By::design};
  if (text == "window") return {.by = By::window};
  if (text.starts_with("design=")) return {.by = By::design, .design = design_of(data, text.substr(7)).label};
  if (text.starts_with("window=")) return {.by = By::window, .window = window_of(data, text.substr(7))};
  if (text == "largest:N") return {.by = By::largest_n};
  if (text.starts_with("largest:N:")) {
    int count = 0;
    const auto* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + 10, end, count);
    if (parsed.ec == std::errc() && parsed.ptr == end && count > 0) return {.by = By::largest_n, .count = count};
  }
  throw model::InputError("--holdout takes largest:N, largest:N:COUNT, design, design=NAME, window or window=W, not '" +
                          text + "'");
}

fitting::HoldOut hold_out(const EmergenceData& data, const EmergenceFitOptions& options,
                          const fitting::HoldOutRule& rule) {
  need_f3(options, "--holdout");
  return fitting::hold_out(emergence_runs(data), fitting_options(data, options), rule);
}

Comparison compare_terms(const EmergenceData& data, const EmergenceFitOptions& options,
                         const fitting::EmergenceFit& fit, const std::vector<std::vector<std::string>>& against,
                         const fitting::CompareOptions& compare) {
  const bool curves = options.law == "F1";
  auto base = fitting_options(data, options);
  base.terms = fit.columns.names;
  Comparison comparison;
  std::vector<fitting::Candidate> candidates = {{name_of(base.terms), base}};
  for (const auto& set : against) {
    TermComparison other;
    other.terms = set;
    check_terms("--against", data, set);
    if (holds(base.terms, other.terms) && holds(other.terms, base.terms)) {
      throw model::InputError("--against " + name_of(set) + ": these are the fitted terms");
    }
    other.larger = holds(other.terms, base.terms);
    other.nested = other.larger || holds(base.terms, other.terms);
    auto terms = base;
    terms.terms = other.terms;
    if (other.nested) {
      const auto &small = other.larger ? base : terms, &large = other.larger ? terms : base;
      other.ratio = curves ? fitting::compare_nested(curve_runs(data), small, large, compare)
                           : fitting::compare_nested(emergence_runs(data), small, large, compare);
    }
    candidates.push_back({name_of(other.terms), terms});
    comparison.against.push_back(std::move(other));
  }
  if (!curves) comparison.models = fitting::compare_models(emergence_runs(data), candidates, compare.threads);
  return comparison;
}

fitting::AsymptoteTest common_asymptote(const EmergenceData& data, const EmergenceFitOptions& options, int simulations,
                                        std::uint64_t seed) {
  fitting::AsymptoteOptions asked;
  asked.terms = fitting_options(data, options).terms;
  asked.replicates = simulations;
  asked.seed = seed;
  asked.threads = options.threads;
  return fitting::test_common_asymptote(curve_runs(data), asked);
}

std::string comparison_text(const Comparison& comparison) {
  std::string text;
  for (const auto& other : comparison.against) {
    if (!other.nested) {
      text += fmt::format("against {}: neither set of terms holds the other, so there is no likelihood ratio\n",
                          name_of(other.terms));
      continue;
    }
    const double p = other.ratio.best_p();
    text += fmt::format("against {}: ", name_of(other.terms)) + fitting::to_text(other.ratio);
    if (!std::isnan(p)) {
      text +=
          fmt::format("  the runs {} {}\n", p < 0.05 ? "need" : "do not show a need for", name_of(other.ratio.added));
    }
  }
  return comparison.models.empty() ? text : text + "\n" + fitting::to_text(comparison.models);
}

nlohmann::ordered_json comparison_json(const Comparison& comparison) {
  using Json = nlohmann::ordered_json;
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  Json ratios = Json::array(), models = Json::array();
  for (const auto& other : comparison.against) {
    const auto& r = other.ratio;
    Json entry{{"terms", other.terms}, {"larger", other.larger}, {"nested", other.nested}};
    if (other.nested) {
      entry["added"] = r.added;
      entry["statistic"] = number(r.statistic);
      entry["degrees"] = r.degrees;
      entry["p"] = number(r.p);
      entry["p_bootstrap"] = number(r.p_bootstrap);
      entry["simulations"] = r.simulations;
      entry["aic_gain"] = number(r.aic_gain);
      entry["bic_gain"] = number(r.bic_gain);
    }
    ratios.push_back(std::move(entry));
  }
  for (const auto& m : comparison.models) {
    models.push_back({{"terms", m.name},
                      {"parameters", m.parameters},
                      {"log_likelihood", number(m.log_likelihood)},
                      {"aic", number(m.aic)},
                      {"bic", number(m.bic)},
                      {"aic_weight", number(m.aic_weight)},
                      {"converged", m.converged},
                      {"identified", m.identified}});
  }
  return {{"likelihood_ratios", ratios}, {"models", models}};
}

}  // namespace hylas::search
