// Whether the law predicts what it was not shown: windows left out of the core, and the largest size.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "fitting/distributions.hpp"
#include "fitting/hold_out.hpp"
#include "search/findings/statistics.hpp"

namespace hylas::search {
namespace {

struct Tally {
  std::vector<double> errors;  // of arms that emerged
  std::size_t runs = 0, covered = 0;
  std::size_t censored = 0, beyond = 0;  // arms
};

// One fold, arm by arm. An arm of whose runs more than half emerged has the error of its median run among those, as
// fitting/hold_out.hpp has it; any other arm is censored, and predicted well if its median run is predicted beyond the
// evaluations that its runs were last seen below the threshold at.
void add_fold(Statement& s, Tally& tally, const fitting::HoldOut& out) {
  std::map<std::string, std::vector<const fitting::HeldOutRun*>> arms;
  for (const auto& run : out.runs) arms[run.design].push_back(&run);
  for (const auto& [arm, runs] : arms) {
    std::vector<double> errors;
    double last_below = 0;
    std::size_t emerged = 0, covered = 0;
    for (const auto* run : runs) {
      emerged += run->emerged ? 1 : 0;
      covered += run->covered ? 1 : 0;
      if (std::isfinite(run->error())) errors.push_back(std::log10(run->predicted.estimate / run->measured));
      if (!run->emerged) last_below = std::max(last_below, run->last_below);
    }
    const auto& d50 = runs.front()->predicted;
    Evidence e{.what = fmt::format("{} without {}: D50 predicted, 90% interval of a run", arm, runs.front()->fold),
               .estimate = d50.estimate,
               .low = d50.any_low,
               .high = d50.any_high,
               .unit = "tokens"};
    e.reading = fmt::format("{} of {} emerged, {:.0f}% predicted to; {} inside the interval", emerged, runs.size(),
                            100 * d50.pi, covered);
    if (2 * emerged > runs.size() && !errors.empty()) {
      const double error = fitting::quantile(errors, 0.5);
      tally.errors.push_back(std::abs(error));
      e.reading += fmt::format("; predicted / measured {:.2f}", std::pow(10, error));
    }
    if (2 * emerged <= runs.size()) {
      const bool beyond = d50.any_median > last_below;
      e.reading += fmt::format("; its median run is {}predicted beyond its end", beyond ? "" : "not ");
      ++tally.censored;
      tally.beyond += beyond ? 1 : 0;
    }
    tally.runs += runs.size(), tally.covered += covered;
    s.evidence.push_back(std::move(e));
  }
  for (const auto& [fold, why] : out.left_out) s.notes.push_back(fold + ": " + why);
}

void hold(Statement& s, Tally& tally, const Runs& runs, const Registration& by, const fitting::HoldOutRule& rule,
          int threads) {
  fitting::EmergenceOptions options;
  options.terms = by.law;
  options.cure = !by.cure.empty();
  options.cure_terms = by.cure;
  options.level = 0.9;
  options.threads = threads;
  try {
    add_fold(s, tally, fitting::hold_out(emergence_runs(runs), options, rule));
  } catch (const fitting::InputError& error) {
    s.notes.push_back(error.what());
  }
}

}  // namespace

// Supported where the median |log10| error over arms that emerged is at most median_error, at least `coverage` of the
// runs lie inside their 90% intervals, and all censored arms are predicted beyond their last evaluation; refuted where
// one of the three fails. hold_out_windows are left out of the core in turn, by its law; then the largest size is left
// out of the part sizes, by its law.
Statement judge_prediction(const FindingRuns& runs, const JudgeOptions& options) {
  using By = fitting::HoldOutRule::By;
  const Registration& core = runs.core();
  Statement s{.id = "prediction", .claim = "The law predicts D50 of windows and of a size that it was not shown."};
  Tally tally;
  const Runs hybrids = runs.where([](const ArmRun& run) { return run.part == "core" && is_hybrid(run); });
  for (const std::int64_t window : core.hold_out_windows) {
    // The windows of the runs are geometric means, not round to the last bit.
    double measured = static_cast<double>(window);
    for (const ArmRun* run : hybrids) {
      if (std::abs(run->x.window - measured) < 1e-6 * measured) measured = run->x.window;
    }
    hold(s, tally, hybrids, core, {.by = By::window, .window = measured}, options.threads);
  }
  std::set<double> sizes;
  for (const ArmRun* run : runs.where([](const ArmRun& r) { return r.part == "sizes"; })) {
    sizes.insert(run->x.parameters);
  }
  if (sizes.size() == 1 || sizes.size() == 2) {
    s.notes.push_back("no size is left out: a law of size needs two to be fitted, and the part has no third");
  } else if (runs.has("sizes")) {
    hold(s, tally, runs.where([](const ArmRun& run) { return run.part == "sizes" && is_hybrid(run); }),
         runs.parts.at("sizes"), {.by = By::largest_n}, options.threads);
  }
  if (tally.runs == 0) {
    s.why = "nothing was held out";
    return s;
  }
  const double error = fitting::quantile(tally.errors, 0.5);
  const double coverage = static_cast<double>(tally.covered) / static_cast<double>(tally.runs);
  s.evidence.insert(
      s.evidence.begin(),
      {{.what = "median |log10(predicted / measured D50)| over arms that emerged",
        .estimate = error,
        .unit = "log10",
        .reading = fmt::format("{} arms; asked at most {:g}", tally.errors.size(), core.median_error)},
       {.what = "share of the runs inside their 90% interval",
        .estimate = coverage,
        .unit = "share",
        .reading = fmt::format("{} of {}; asked at least {:g}", tally.covered, tally.runs, core.coverage)}});
  const bool good = error <= core.median_error && coverage >= core.coverage && tally.beyond == tally.censored;
  s.verdict = good ? Verdict::supported : Verdict::refuted;
  s.why = fmt::format(
      "median error {:.3f} (asked {:g}), {:.0f}% of {} runs inside (asked {:.0f}%), {} of {} censored arms predicted "
      "beyond their end",
      error, core.median_error, 100 * coverage, tally.runs, 100 * core.coverage, tally.beyond, tally.censored);
  return s;
}

}  // namespace hylas::search
