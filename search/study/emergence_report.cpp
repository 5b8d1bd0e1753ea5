// See emergence_report.hpp.
#include "search/study/emergence_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "search/advise/recommend.hpp"
#include "search/report/table.hpp"

namespace hylas::search {
namespace {

struct Row {
  const model::Design* design = nullptr;
  std::vector<const StudyRun*> runs;
  fitting::D50 law;

  [[nodiscard]] std::int64_t emerged() const {
    return std::count_if(runs.begin(), runs.end(), [](const StudyRun* run) { return run->d50.emerged; });
  }
};

// Profile intervals where the fit is of emergence times (F3); the delta method for curves (F1).
std::vector<Row> rows_of(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  std::vector<Row> rows;
  std::vector<fitting::DesignCovariates> covariates;
  for (const auto& design : runs.designs) {
    auto of_design = runs.runs_of(design.id());
    if (of_design.empty()) continue;
    rows.push_back({&design, std::move(of_design), {}});
    covariates.push_back(law_covariates(design));
  }
  if (fit.fit.law == "F3") {
    const auto laws = fitting::profile_d50(fit, emergence_runs(runs), covariates);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].law = laws[i];
  } else {
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].law = fitting::predict_d50(fit, covariates[i]);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.law.estimate < b.law.estimate; });
  return rows;
}

std::string tokens_text(double tokens) {
  if (std::isinf(tokens)) return "inf";
  // Beyond any training run a number says nothing but "never, as far as these runs can tell".
  return tokens > 1e15 ? "> 1e15" : short_number(tokens);
}

std::set<std::int64_t> contexts_of(const StudyRuns& runs) {
  std::set<std::int64_t> contexts;
  for (const auto& run : runs.runs) contexts.insert(runs.design(run.design_id).shape.context);
  return contexts;
}

nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

std::string factor_sentence(const fitting::Fit& fit, const char* name, double unit, const std::string& what) {
  const auto& p = fit.parameter(name);
  const auto factor = [&](double slope) { return std::exp(slope * unit); };
  std::string text = fmt::format("{} multiplies D50 by {:.2f} ({:.0f}% interval {:.2f} to {:.2f})", what,
                                 factor(p.estimate), 100 * fit.level, factor(p.ci_low), factor(p.ci_high));
  if (!p.identified) text += "; not identified: " + p.why;
  return text + ".\n";
}

}  // namespace

std::string d50_text(const Emergence& d50) {
  if (!d50.emerged) return "> " + short_number(static_cast<double>(d50.lower));
  return short_number(static_cast<double>(d50.upper));
}

std::string d50_table(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  const auto interval = fmt::format("{:.0f}% interval", 100 * fit.fit.level);
  Table table;
  table.columns = {{"layout"},
                   {"emerged", Align::right},
                   {"D50 measured, seed by seed"},
                   {"D50 by the law", Align::right},
                   {interval, Align::right}};
  for (const auto& row : rows_of(runs, fit)) {
    std::string seeds;
    for (const auto* run : row.runs) seeds += (seeds.empty() ? "" : ", ") + d50_text(run->d50);
    table.rows.push_back({runs.label(*row.design), fmt::format("{}/{}", row.emerged(), row.runs.size()), seeds,
                          tokens_text(row.law.estimate),
                          fmt::format("{} .. {}", tokens_text(row.law.ci_low), tokens_text(row.law.ci_high))});
  }
  return text_table(table);
}

nlohmann::ordered_json d50_json(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& row : rows_of(runs, fit)) {
    auto seeds = nlohmann::ordered_json::array();
    for (const auto* run : row.runs) {
      seeds.push_back({{"seed", run->seed},
                       {"trial_key", run->trial_key},
                       {"lower", run->d50.lower},
                       {"upper", run->d50.emerged ? nlohmann::ordered_json(run->d50.upper) : nullptr}});
    }
    list.push_back({{"layout", row.design->layout_text()},
                    {"design_id", row.design->id()},
                    {"d_model", row.design->shape.d_model},
                    {"emerged", row.emerged()},
                    {"runs", row.runs.size()},
                    {"d50",
                     {{"estimate", number(row.law.estimate)},
                      {"ci_low", number(row.law.ci_low)},
                      {"ci_high", number(row.law.ci_high)},
                      {"probability_ever", number(row.law.pi)}}},
                    {"seeds", seeds}});
  }
  return list;
}

std::string law_in_words(const StudyRuns& runs, const fitting::EmergenceFit& fit) {
  std::string text;
  const auto& columns = fit.columns.names;
  const bool interaction = std::find(columns.begin(), columns.end(), "nope*ln_window") != columns.end();
  const auto w0 = std::exp(fit.columns.log_w0);
  if (fit.fit.has("ln_window")) {
    text += factor_sentence(fit.fit, "ln_window", std::log(2.0),
                            fmt::format("Doubling the window{}{}", interaction ? " (RoPE full layers)" : "",
                                        fit.fit.has("ln_window^2") ? fmt::format(", near window {:.0f},", w0) : ""));
  }
  if (fit.fit.has("nope")) {
    text += factor_sentence(
        fit.fit, "nope", 1.0,
        interaction ? fmt::format("NoPE on the full layers (at window {:.0f})", w0) : "NoPE on the full layers");
  }
  if (interaction) {
    text += factor_sentence(fit.fit, "nope*ln_window", std::log(2.0), "Each doubling of the window under NoPE also");
  }
  const auto censored = std::count_if(runs.runs.begin(), runs.runs.end(), [](const auto& r) { return !r.d50.emerged; });
  text +=
      fmt::format("{} of {} runs had not emerged when they ended: they count as \"later than that\", not as missing.\n",
                  censored, runs.runs.size());
  if (runs.left_out > 0) {
    text += fmt::format("{} trials are left out: diverged, failed, or not evaluated twice yet.\n", runs.left_out);
  }
  if (runs.other_recipes > 0) {
    text +=
        fmt::format("{} runs of other recipes are left out: each design counts with the one it emerges best under.\n",
                    runs.other_recipes);
  }
  const auto contexts = contexts_of(runs);
  if (contexts.size() > 1) {
    text +=
        fmt::format("The runs have contexts {}: the law has no term for the context, so it is mixed into the others.\n",
                    fmt::join(contexts, ", "));
  }
  return text;
}

Plot curves_plot(const StudyRuns& runs) {
  Plot plot;
  plot.title = "study " + runs.study.name;
  plot.y_label = runs.metric;
  plot.threshold = runs.threshold;
  if (runs.metric.rfind("accuracy", 0) == 0) plot.y_min = 0.0, plot.y_max = 1.0;
  for (const auto& design : runs.designs) {
    Series series;
    series.name = runs.label(design);
    for (const auto* run : runs.runs_of(design.id())) {
      std::vector<CurvePoint> line;
      for (const auto& point : run->curve) line.push_back({static_cast<double>(point.tokens), point.value});
      series.runs.push_back(std::move(line));
    }
    if (!series.runs.empty()) plot.series.push_back(std::move(series));
  }
  return plot;
}

}  // namespace hylas::search
