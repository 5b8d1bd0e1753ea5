// The report of findings: text, JSON and plots (see findings.hpp).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fitting/distributions.hpp"
#include "model/design/cost.hpp"
#include "search/findings/findings.hpp"
#include "search/findings/statistics.hpp"
#include "search/report/table.hpp"
#include "search/study/emergence_report.hpp"

namespace hylas::search {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

// Runs of one arm in one part, in the order of the parts.
struct Arm {
  std::string part, name;
  Runs runs;
};

std::vector<Arm> arms_of(const Findings& findings) {
  std::vector<Arm> arms;
  for (const PartSummary& part : findings.parts) {
    const Runs of_part = findings.runs.where([&](const ArmRun& run) { return run.part == part.part; });
    for (const std::string& name : FindingRuns::arms(of_part)) arms.push_back({part.part, name, of_arm(of_part, name)});
  }
  return arms;
}

// Median D50, a run that did not emerge being later than all that did; infinite where half or more did not.
double median_d50(const Runs& runs) {
  std::vector<double> values;
  for (const ArmRun* run : runs) values.push_back(run->d50());
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : std::sqrt(values[n / 2 - 1] * values[n / 2]);
}

std::vector<double> ends(const Runs& runs, const std::string& metric) {
  std::vector<double> values;
  for (const ArmRun* run : runs) {
    const auto found = run->end.find(metric);
    if (found != run->end.end() && std::isfinite(found->second)) values.push_back(found->second);
  }
  return values;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? std::nan("") : sum / static_cast<double>(values.size());
}

std::string arms_table(const Findings& findings) {
  Table table;
  table.columns = {{"part"},
                   {"arm"},
                   {"rate", Align::right},
                   {"emerged", Align::right},
                   {"median D50", Align::right},
                   {"earliest", Align::right},
                   {"far accuracy at the end: mean, least", Align::right},
                   {findings.runs.core().short_loss, Align::right}};
  for (const Arm& arm : arms_of(findings)) {
    double earliest = fitting::kInfinity;
    std::int64_t emerged = 0;
    for (const ArmRun* run : arm.runs) {
      earliest = std::min(earliest, run->d50());
      emerged += run->emerged() ? 1 : 0;
    }
    const double median = median_d50(arm.runs);
    const auto far = ends(arm.runs, findings.runs.metric);
    const double least = far.empty() ? std::nan("") : *std::min_element(far.begin(), far.end());
    const auto tokens = [](double d50) { return std::isfinite(d50) ? short_number(d50) : std::string("later"); };
    table.rows.push_back(
        {arm.part, arm.name,
         fmt::format("{:g}{}", arm.runs.front()->learning_rate, arm.runs.front()->rate_at_edge ? "*" : ""),
         fmt::format("{}/{}", emerged, arm.runs.size()), tokens(median), tokens(earliest),
         fmt::format("{:.3f}, {:.3f}", mean(far), least),
         fmt::format("{:.4f}", mean(ends(arm.runs, findings.runs.core().short_loss)))});
  }
  return text_table(table);
}

// "1.32 (1.21 to 1.44)" in the unit's own style.
std::string value_text(const Measure& e) {
  if (std::isnan(e.estimate) && std::isnan(e.low)) return "";
  const auto text = [&](double v) -> std::string {
    if (e.unit == "tokens") return tokens_text(v);
    if (e.unit == "p") return v < 1e-16 ? "< 1e-16" : fmt::format("{:.2g}", v);
    if (e.unit == "share") return fmt::format("{:.0f}%", 100 * v);
    if (e.unit == "nats" || e.unit == "difference") return fmt::format("{:.4f}", v);
    return fmt::format("{:.3g}", v);
  };
  if (std::isnan(e.estimate)) return fmt::format("between {} and {}", text(e.low), text(e.high));
  std::string value = e.unit == "p" ? "p " + text(e.estimate) : text(e.estimate);
  if (e.unit == "factor") value = "x " + value;
  if (!std::isnan(e.low) && !std::isnan(e.high) && !(std::isinf(e.low) && std::isinf(e.high)))
    value += fmt::format(" ({} to {})", text(e.low), text(e.high));
  return value;
}

std::string statement_text(const Statement& s) {
  std::string text = fmt::format("{}\n  {}: {}\n", s.claim, to_string(s.verdict), s.why);
  for (const Measure& e : s.evidence) {
    const std::string value = value_text(e);
    text +=
        "    " + e.what + (value.empty() ? "" : ": " + value) + (e.reading.empty() ? "" : " -- " + e.reading) + "\n";
  }
  for (const std::string& note : s.notes) text += "    note: " + note + "\n";
  return text;
}

Json arm_json(const Arm& arm, const Findings& findings) {
  const ArmRun& first = *arm.runs.front();
  const auto far = ends(arm.runs, findings.runs.metric);
  Json seeds = Json::array();
  for (const ArmRun* run : arm.runs) {
    seeds.push_back(
        {{"seed", run->seed},
         {"trial_key", run->trial_key},
         {"d50_above", run->far.d_before},
         {"d50_up_to", number(run->far.d_after)},
         {"head_above", run->heads.d_before},
         {"head_up_to", number(run->heads.d_after)},
         {"tokens", run->tokens},
         {"far", run->end.count(findings.runs.metric) ? number(run->end.at(findings.runs.metric)) : Json()}});
  }
  return {{"part", arm.part},
          {"arm", arm.name},
          {"layout", first.design.layout_text()},
          {"d_model", first.design.shape.d_model},
          {"layers", first.design.depth()},
          {"parameters", model::cost_of(first.design).parameters_non_embedding},
          {"start_window", first.start_window},
          {"learning_rate", first.learning_rate},
          {"rate_at_edge", first.rate_at_edge},
          {"median_d50", number(median_d50(arm.runs))},
          {"far_mean", number(mean(far))},
          {"short_loss_mean", number(mean(ends(arm.runs, findings.runs.core().short_loss)))},
          {"seeds", seeds}};
}

// D50 of every run by window; full attention alone stands at its context, whose window it has. A run that did not
// emerge stands at its end, and so does a median that is later.
Plot window_plot(const Findings& findings) {
  Plot plot{.title = "Tokens until far recall, by window",
            .x_label = "window of the cheap layers (full attention alone: the context)",
            .y_label = "D50, tokens",
            .log_y = true};
  Series never{"not emerged: its end", {}};
  for (const bool nope : {false, true}) {
    const std::string kind = nope ? "NoPE full layers" : "RoPE full layers";
    Series median{kind + ", median", {{}}}, dots{kind + ", each run", {}};
    for (const Arm& arm : arms_of(findings)) {
      const ArmRun& first = *arm.runs.front();
      const bool full = first.x.window == 0 && first.x.full_fraction == 1;
      if (arm.part != "core" || (!full && !is_hybrid(first)) || is_nope(first) != nope) continue;
      const double x = full ? static_cast<double>(first.design.shape.context) : first.x.window;
      const double beside = nope ? x * 1.03 : x;  // so that runs of both kinds can be told apart
      if (!full) median.runs[0].push_back({beside, std::min(median_d50(arm.runs), first.tokens)});
      for (const ArmRun* run : arm.runs) {
        (run->emerged() ? dots : never).runs.push_back({{beside, std::min(run->d50(), run->tokens)}});
      }
    }
    std::sort(median.runs[0].begin(), median.runs[0].end(), [](const auto& a, const auto& b) { return a.x < b.x; });
    plot.series.push_back(std::move(median));
    plot.series.push_back(std::move(dots));
  }
  plot.series.push_back(std::move(never));
  return plot;
}

Plot curves(const Findings& findings) {
  Plot plot{.title = "Far recall in training, every run", .y_label = findings.runs.metric};
  plot.y_min = 0, plot.y_max = 1;
  plot.threshold = findings.runs.threshold;
  for (const Arm& arm : arms_of(findings)) {
    if (arm.part != "core") continue;
    Series series{arm.name, {}};
    for (const ArmRun* run : arm.runs) {
      series.runs.emplace_back();
      for (const DataPoint& point : run->curve) series.runs.back().push_back({point.tokens, point.value});
    }
    plot.series.push_back(std::move(series));
  }
  return plot;
}

}  // namespace

std::string findings_text(const Findings& findings) {
  const FindingRuns& runs = findings.runs;
  std::string text =
      fmt::format("hylas {}, findings at scale {}, {}\n", findings.program_version, findings.scale, findings.device);
  text += fmt::format(
      "D50: tokens at which {} first holds {:g} at two successive evaluations. Intervals: {:g}%.\n"
      "The verdicts are not corrected for their number.\n\n",
      runs.metric, runs.threshold, 100 * runs.core().level);
  Table verdicts;
  verdicts.columns = {{"statement"}, {"verdict"}, {"why"}};
  for (const Statement& s : findings.statements) verdicts.rows.push_back({s.id, to_string(s.verdict), s.why});
  text += text_table(verdicts) + "\n";
  std::string undecided;
  for (const Statement& s : findings.statements) {
    if (s.verdict == Verdict::undecided) undecided += (undecided.empty() ? "" : ", ") + s.id;
  }
  if (!undecided.empty()) text += "These runs cannot decide: " + undecided + ".\n\n";
  for (const Statement& s : findings.statements) {
    if (!s.evidence.empty()) text += statement_text(s) + "\n";
  }
  text += arms_table(findings) + "*: the lowest or highest rate that was tried\n\n";
  for (const PartSummary& part : findings.parts) {
    text +=
        fmt::format("{} (study {}): {} designs, {} runs, {} runs to tune learning rates, {} tokens trained\n",
                    part.part, part.study, part.designs, part.trials, part.tuning_trials, short_number(part.tokens));
  }
  for (const std::string& part : findings.waiting) text += part + ": not finished, so not judged\n";
  if (runs.left_out > 0) text += fmt::format("{} runs diverged or failed and are left out\n", runs.left_out);
  return text;
}

Json findings_json(const Findings& findings) {
  Json parts = Json::array(), registration = Json::object(), statements = Json::array(), arms = Json::array();
  for (const PartSummary& p : findings.parts) {
    parts.push_back({{"part", p.part},
                     {"study", p.study},
                     {"designs", p.designs},
                     {"runs", p.trials},
                     {"tuning_runs", p.tuning_trials},
                     {"tokens", p.tokens}});
    registration[p.part] = to_json(findings.runs.parts.at(p.part));
  }
  for (const Statement& s : findings.statements) statements.push_back(to_json(s));
  for (const Arm& arm : arms_of(findings)) arms.push_back(arm_json(arm, findings));
  return {{"findings",
           {{"scale", findings.scale},
            {"device", findings.device},
            {"version", findings.program_version},
            {"metric", findings.runs.metric},
            {"threshold", findings.runs.threshold},
            {"left_out", findings.runs.left_out}}},
          {"parts", parts},
          {"registration", registration},
          {"statements", statements},
          {"arms", arms}};
}

std::vector<std::pair<std::string, Plot>> findings_plots(const Findings& findings) {
  return {{"d50-by-window.svg", window_plot(findings)}, {"curves.svg", curves(findings)}};
}

}  // namespace hylas::search
