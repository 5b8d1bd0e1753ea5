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
  std::size_t runs = 0, covered = 0, failed = 0;
  std::size_t bounded = 0, bounded_covered = 0;  // runs whose interval has an upper end
  std::size_t censored = 0, beyond = 0;          // arms
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
    Measure e{.what = fmt::format("{} without {}: D50 predicted, 90% interval of a run", arm, runs.front()->fold),
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
  for (const auto& run : out.runs) {
    if (!std::isfinite(run.predicted.any_high)) continue;
    ++tally.bounded;
    tally.bounded_covered += run.covered ? 1 : 0;
  }
  for (const auto& [fold, why] : out.left_out) {
    s.notes.push_back(fold + ": " + why);
    ++tally.failed;
  }
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
    ++tally.failed;
  }
}

// What one kind of hold-out comes to, before its arms.
void add_tally(Statement& s, std::size_t at, const std::string& of, const Tally& tally, const Registration& by) {
  const auto share = [](std::size_t part, std::size_t of_all) {
    return of_all == 0 ? fitting::kNaN : static_cast<double>(part) / static_cast<double>(of_all);
  };
  s.evidence.insert(
      s.evidence.begin() + static_cast<std::ptrdiff_t>(at),
      {{.what = of + ": median |log10(predicted / measured D50)| over arms that emerged",
        .estimate = fitting::quantile(tally.errors, 0.5),
        .unit = "log10",
        .reading = fmt::format("{} arms; asked at most {:g}", tally.errors.size(), by.median_error)},
       {.what = of + ": share of the runs inside their 90% interval",
        .estimate = share(tally.covered, tally.runs),
        .unit = "share",
        .reading = fmt::format("{} of {}; asked at least {:g}; of those whose interval has an upper end, {} of {}",
                               tally.covered, tally.runs, by.coverage, tally.bounded_covered, tally.bounded)},
       {.what = of + ": censored arms predicted beyond their end",
        .estimate = share(tally.beyond, tally.censored),
        .unit = "share",
        .reading = fmt::format("{} of {}", tally.beyond, tally.censored)}});
}

bool is_good(const Tally& tally, const Registration& by) {
  return fitting::quantile(tally.errors, 0.5) <= by.median_error &&
         static_cast<double>(tally.covered) >= by.coverage * static_cast<double>(tally.runs) &&
         tally.beyond == tally.censored;
}

}  // namespace

// Windows and sizes are two hold-outs. Each is good where the median |log10| error over arms that emerged is at most
// median_error, at least `coverage` of the runs lie inside their 90% intervals, and all censored arms are predicted
// beyond their last evaluation. Supported where all that were made are good, refuted where one is not, undecided where
// a fit failed or no held-out arm emerged. hold_out_windows are left out of the core in turn, by its law; the largest
// size is left out of the part sizes, by its law.
Statement judge_prediction(const FindingRuns& runs, const JudgeOptions& options) {
  using By = fitting::HoldOutRule::By;
  const Registration& core = runs.core();
  Statement s{.id = "prediction", .claim = "The law predicts D50 of windows and of a size that it was not shown."};
  Tally windows, sizes;
  const Runs hybrids = runs.where([](const ArmRun& run) { return run.part == "core" && is_hybrid(run); });
  for (const std::int64_t window : core.hold_out_windows) {
    // The windows of the runs are geometric means, not round to the last bit.
    double measured = static_cast<double>(window);
    for (const ArmRun* run : hybrids) {
      if (std::abs(run->x.window - measured) < 1e-6 * measured) measured = run->x.window;
    }
    hold(s, windows, hybrids, core, {.by = By::window, .window = measured}, options.threads);
  }
  const std::size_t of_windows = s.evidence.size();
  const Runs sized = runs.part("sizes");
  std::set<double> all_sizes;
  for (const ArmRun* run : sized) all_sizes.insert(run->x.parameters);
  if (all_sizes.size() > 2) {
    hold(s, sizes, sized, runs.parts.at("sizes"), {.by = By::largest_n}, options.threads);
  } else if (!all_sizes.empty()) {
    s.notes.push_back("no size is left out: a law of size needs two to be fitted, and the part has no third");
  }
  bool good = true, decided = true;
  if (sizes.runs > 0) add_tally(s, of_windows, "the largest size", sizes, core);
  if (windows.runs > 0) add_tally(s, 0, "windows", windows, core);
  for (const auto& [tally, name] : {std::pair{&windows, "windows"}, std::pair{&sizes, "the largest size"}}) {
    if (tally->runs == 0 && tally->failed == 0) continue;
    good = good && is_good(*tally, core);
    decided = decided && tally->failed == 0 && !tally->errors.empty();
    s.why += fmt::format(
        "{}{}: median error {:.3f}, {:.0f}% of {} runs inside, {} of {} censored arms predicted beyond their end",
        s.why.empty() ? "" : "; ", name, fitting::quantile(tally->errors, 0.5),
        100 * static_cast<double>(tally->covered) / static_cast<double>(std::max<std::size_t>(1, tally->runs)),
        tally->runs, tally->beyond, tally->censored);
  }
  if (s.why.empty()) s.why = "nothing was held out";
  if (windows.runs + sizes.runs == 0) decided = false;
  s.verdict = !decided ? Verdict::undecided : good ? Verdict::supported : Verdict::refuted;
  return s;
}

}  // namespace hylas::search
