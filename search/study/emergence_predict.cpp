// See emergence_predict.hpp.
#include "search/study/emergence_predict.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "model/design/input_error.hpp"
#include "search/study/emergence_report.hpp"

namespace hylas::search {
namespace {

using fitting::DesignCovariates;

double value_of(const DesignCovariates& x, const std::string& name) {
  if (name == "N") return x.parameters;
  if (name == "window") return x.window;
  if (name == "full_fraction") return x.full_fraction;
  if (name == "nope") return x.nope;
  if (name == "sink") return x.sink;
  if (name == "depth" && x.depth > 0) return x.depth;
  if (name == "width" && x.width > 0) return x.width;
  for (const auto& [key, value] : x.indicators) {
    if (key == name) return value;
  }
  return 0;
}

void set_value(DesignCovariates& x, const std::string& name, double value) {
  if (name == "N") {
    x.parameters = value;
  } else if (name == "window") {
    x.window = value;
  } else if (name == "full_fraction") {
    x.full_fraction = value;
  } else if (name == "nope") {
    x.nope = value;
  } else if (name == "sink") {
    x.sink = value;
  } else {
    if (name == "depth" && value > 0) x.depth = value;
    if (name == "width" && value > 0) x.width = value;
    x.indicators.emplace_back(name, value);  // a table's column of that name may be a term itself
  }
}

// The covariates behind the columns of the fit.
std::set<std::string> used_by(const fitting::EmergenceFit& fit) {
  auto terms = fit.columns.names;
  terms.insert(terms.end(), fit.cure_columns.names.begin(), fit.cure_columns.names.end());
  std::set<std::string> used;
  for (const auto& term : terms) {
    const auto known = fitting::known_terms();
    if (std::find(known.begin(), known.end(), term) == known.end()) {
      used.insert(term);
      continue;
    }
    if (term.find("ln_N") != std::string::npos) used.insert("N");
    if (term.find("window") != std::string::npos || term.find("no_swa") != std::string::npos) {
      used.insert("window");
    }
    if (term.find("full") != std::string::npos) used.insert("full_fraction");
    if (term.find("nope") != std::string::npos) used.insert("nope");
    if (term == "sink") used.insert("sink");
    if (term == "ln_depth") used.insert({"depth", term});  // by itself where the data have an indicator of that name
    if (term == "ln_width") used.insert({"width", term});
  }
  return used;
}

std::set<double> values_seen(const EmergenceData& data, const std::string& name) {
  std::set<double> seen;
  for (const auto& run : data.runs) seen.insert(value_of(data.designs[run.design].x, name));
  return seen;
}

Prediction prediction_at(const EmergenceData& data, const fitting::EmergenceFit& fit,
                         const std::map<std::string, double>& given, DesignCovariates& x) {
  Prediction prediction;
  prediction.given = given;
  const auto used = used_by(fit);
  for (const auto& name : predictable(data)) {
    const auto seen = values_seen(data, name);
    const auto found = given.find(name);
    if (found == given.end() && used.count(name) != 0 && seen.size() > 1) {
      throw model::InputError(fmt::format("--predict needs {}=...: the law depends on it, and the runs have {}", name,
                                          seen.size() > 8 ? fmt::format("{} to {}", *seen.begin(), *seen.rbegin())
                                                          : fmt::format("{}", fmt::join(seen, ", "))));
    }
    set_value(x, name, found != given.end() ? found->second : *seen.begin());
    if (found == given.end()) continue;
    prediction.design += fmt::format("{}{}={:g}", prediction.design.empty() ? "" : " ", name, found->second);
    if (used.count(name) == 0 && (seen.size() > 1 || *seen.begin() != found->second)) {
      prediction.d50.warnings.push_back(
          fmt::format("the fitted law has no column for {}: its value changes nothing", name));
    }
  }
  return prediction;
}

}  // namespace

std::vector<std::string> predictable(const EmergenceData& data) {
  std::vector<std::string> names = {"N", "window", "full_fraction", "nope", "sink"};
  const auto tell = [&](double DesignCovariates::*size) {
    return std::any_of(data.designs.begin(), data.designs.end(),
                       [&](const DataDesign& design) { return design.x.*size > 0; });
  };
  if (tell(&DesignCovariates::depth)) names.emplace_back("depth");
  if (tell(&DesignCovariates::width)) names.emplace_back("width");
  for (const auto& design : data.designs) {
    for (const auto& [name, value] : design.x.indicators) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

std::vector<Prediction> predict_designs(const EmergenceData& data, const fitting::EmergenceFit& fit,
                                        const std::vector<std::map<std::string, double>>& designs, int threads) {
  std::vector<Prediction> list;
  std::vector<DesignCovariates> covariates;
  for (const auto& given : designs) {
    DesignCovariates x;
    list.push_back(prediction_at(data, fit, given, x));
    covariates.push_back(std::move(x));
  }
  const auto d50 = d50_of(data, fit, covariates, threads);
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto warnings = std::move(list[i].d50.warnings);
    list[i].d50 = d50[i];
    list[i].d50.warnings.insert(list[i].d50.warnings.end(), warnings.begin(), warnings.end());
  }
  return list;
}

std::string predictions_text(const std::vector<Prediction>& predictions, double level) {
  std::string text;
  for (const auto& p : predictions) {
    text += fmt::format("D50 at {}: {} tokens ({:g}% interval {} .. {}; of one run {} .. {})", p.design,
                        tokens_text(p.d50.estimate), 100 * level, tokens_text(p.d50.ci_low), tokens_text(p.d50.ci_high),
                        tokens_text(p.d50.run_low), tokens_text(p.d50.run_high));
    if (p.d50.pi < 1) text += fmt::format("; a run ever emerges with probability {:.2f}", p.d50.pi);
    text += "\n";
    for (const auto& warning : p.d50.warnings) text += "  warning: " + warning + "\n";
  }
  return text;
}

nlohmann::ordered_json predictions_json(const std::vector<Prediction>& predictions) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& p : predictions) {
    auto design = nlohmann::ordered_json::object();
    for (const auto& [name, value] : p.given) design[name] = value;
    list.push_back({{"design", design}, {"d50", d50_numbers(p.d50, true)}, {"warnings", p.d50.warnings}});
  }
  return list;
}

}  // namespace hylas::search
