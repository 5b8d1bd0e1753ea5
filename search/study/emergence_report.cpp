// See emergence_report.hpp.
#include "search/study/emergence_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "search/report/table.hpp"

namespace hylas::search {
namespace {

struct Row {
  const DataDesign* design = nullptr;
  std::vector<const DataRun*> runs;
  fitting::D50 law;

  [[nodiscard]] std::int64_t emerged() const {
    return std::count_if(runs.begin(), runs.end(), [](const DataRun* run) { return run->emerged(); });
  }
};

// Designs that were run, in the order of the law's D50.
std::vector<Row> rows_of(const EmergenceData& data, const EmergenceAnalysis& analysis) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < data.designs.size(); ++i) {
    auto of_design = data.runs_of(i);
    if (!of_design.empty()) rows.push_back({&data.designs[i], std::move(of_design), analysis.d50[i]});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.law.estimate < b.law.estimate; });
  return rows;
}

std::set<std::int64_t> contexts_of(const EmergenceData& data) {
  std::set<std::int64_t> contexts;
  for (const auto& run : data.runs) {
    if (const auto& design = data.designs[run.design].model) contexts.insert(design->shape.context);
  }
  return contexts;
}

nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

// Whole numbers of tokens stay whole.
nlohmann::ordered_json tokens_json(double tokens) {
  constexpr double exact = 9007199254740992.0;  // 2^53
  if (std::abs(tokens) < exact && tokens == std::floor(tokens)) return static_cast<std::int64_t>(tokens);
  return number(tokens);
}

std::string factor_sentence(const fitting::Fit& fit, const char* name, double unit, const std::string& what) {
  const auto& p = fit.parameter(name);
  const auto factor = [&](double slope) { return std::exp(slope * unit); };
  std::string text = fmt::format("{} multiplies D50 by {:.2f}", what, factor(p.estimate));
  if (!std::isnan(p.ci_low) && !std::isnan(p.ci_high)) {
    text += fmt::format(" ({:g}% interval {:.2f} to {:.2f})", 100 * fit.level, factor(p.ci_low), factor(p.ci_high));
  }
  if (!p.identified) text += "; not identified: " + p.why;
  return text + ".\n";
}

}  // namespace

std::string tokens_text(double tokens) {
  if (std::isinf(tokens)) return "inf";
  // Beyond any training run a number says nothing but "never, as far as these runs can tell".
  return tokens > 1e15 ? "> 1e15" : short_number(tokens);
}

std::string d50_text(const fitting::Crossing& crossing) {
  if (std::isinf(crossing.d_after)) return "> " + short_number(crossing.d_before);
  return short_number(crossing.d_after);
}

nlohmann::ordered_json d50_numbers(const fitting::D50& d50, bool one_run) {
  nlohmann::ordered_json json{
      {"estimate", number(d50.estimate)}, {"ci_low", number(d50.ci_low)}, {"ci_high", number(d50.ci_high)}};
  if (one_run) json["run_low"] = number(d50.run_low), json["run_high"] = number(d50.run_high);
  json["probability_ever"] = number(d50.pi);
  return json;
}

std::string d50_table(const EmergenceData& data, const EmergenceAnalysis& analysis) {
  const auto interval = fmt::format("{:g}% interval", 100 * analysis.fit.fit.level);
  Table table;
  table.columns = {{data.study.empty() ? "design" : "layout"},
                   {"emerged", Align::right},
                   {"D50 measured, seed by seed"},
                   {"D50 by the law", Align::right},
                   {interval, Align::right}};
  for (const auto& row : rows_of(data, analysis)) {
    std::string seeds;
    for (const auto* run : row.runs) seeds += (seeds.empty() ? "" : ", ") + d50_text(run->crossing);
    table.rows.push_back({row.design->label, fmt::format("{}/{}", row.emerged(), row.runs.size()), seeds,
                          tokens_text(row.law.estimate),
                          fmt::format("{} .. {}", tokens_text(row.law.ci_low), tokens_text(row.law.ci_high))});
  }
  return text_table(table);
}

nlohmann::ordered_json d50_json(const EmergenceData& data, const EmergenceAnalysis& analysis) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& row : rows_of(data, analysis)) {
    auto seeds = nlohmann::ordered_json::array();
    for (const auto* run : row.runs) {
      nlohmann::ordered_json seed{{"seed", run->seed}};
      if (!run->trial_key.empty()) seed["trial_key"] = run->trial_key;
      seed["lower"] = tokens_json(run->crossing.d_before);
      seed["upper"] = tokens_json(run->crossing.d_after);
      seeds.push_back(std::move(seed));
    }
    nlohmann::ordered_json entry{{"design", row.design->label}};
    if (const auto& model = row.design->model) {
      entry["layout"] = model->layout_text();
      entry["design_id"] = model->id();
      entry["d_model"] = model->shape.d_model;
    }
    entry["emerged"] = row.emerged();
    entry["runs"] = row.runs.size();
    entry["d50"] = d50_numbers(row.law);
    entry["seeds"] = std::move(seeds);
    list.push_back(std::move(entry));
  }
  return list;
}

std::string law_in_words(const EmergenceData& data, const fitting::EmergenceFit& fit) {
  std::string text;
  const auto& columns = fit.columns.names;
  const auto is_column = [&](const char* name) {
    return std::find(columns.begin(), columns.end(), name) != columns.end();
  };
  const bool sloped = is_column("nope*ln_window"), curved = is_column("nope*ln_window^2");
  const bool interaction = sloped || curved;
  const auto w0 = std::exp(fit.columns.log_w0);
  if (fit.fit.has("ln_window")) {
    text += factor_sentence(fit.fit, "ln_window", std::log(2.0),
                            fmt::format("Doubling the window{}{}", interaction ? " (RoPE full layers)" : "",
                                        fit.fit.has("ln_window^2") ? fmt::format(", near window {:.0f},", w0) : ""));
  }
  if (fit.fit.has("nope")) {
    const std::string where = interaction                ? fmt::format(" (at window {:.0f})", w0)
                              : is_column("nope*no_swa") ? " (beside window layers)"
                                                         : "";
    text += factor_sentence(fit.fit, "nope", 1.0, "NoPE on the full layers" + where);
  }
  if (sloped) {
    text += factor_sentence(fit.fit, "nope*ln_window", std::log(2.0),
                            fmt::format("Each doubling of the window{} under NoPE also",
                                        curved ? fmt::format(", near window {:.0f},", w0) : ""));
  }
  const auto censored = std::count_if(data.runs.begin(), data.runs.end(), [](const auto& r) { return !r.emerged(); });
  text +=
      fmt::format("{} of {} runs had not emerged when they ended: they count as \"later than that\", not as missing.\n",
                  censored, data.runs.size());
  if (data.left_out > 0) {
    text +=
        fmt::format("{} trials are left out: diverged, failed, or not evaluated often enough yet.\n", data.left_out);
  }
  if (data.other_recipes > 0) {
    text +=
        fmt::format("{} runs of other recipes are left out: each design counts with the one it emerges best under.\n",
                    data.other_recipes);
  }
  const auto contexts = contexts_of(data);
  if (contexts.size() > 1) {
    text +=
        fmt::format("The runs have contexts {}: the law has no term for the context, so it is mixed into the others.\n",
                    fmt::join(contexts, ", "));
  }
  return text;
}

Plot curves_plot(const EmergenceData& data) {
  Plot plot;
  plot.title = data.title;
  plot.y_label = data.metric;
  plot.threshold = data.threshold;
  const bool accuracy = std::all_of(data.runs.begin(), data.runs.end(), [](const DataRun& run) {
    return std::all_of(run.curve.begin(), run.curve.end(),
                       [](const DataPoint& point) { return point.value >= 0 && point.value <= 1; });
  });
  if (accuracy || data.metric.rfind("accuracy", 0) == 0) plot.y_min = 0.0, plot.y_max = 1.0;
  for (std::size_t i = 0; i < data.designs.size(); ++i) {
    Series series;
    series.name = data.designs[i].label;
    for (const auto* run : data.runs_of(i)) {
      std::vector<CurvePoint> line;
      for (const auto& point : run->curve) line.push_back({point.tokens, point.value});
      series.runs.push_back(std::move(line));
    }
    if (!series.runs.empty()) plot.series.push_back(std::move(series));
  }
  return plot;
}

}  // namespace hylas::search
