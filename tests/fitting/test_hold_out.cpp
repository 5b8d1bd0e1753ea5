// Hold-out of F3: what is held out, figures checked by hand on a fit that is known, honest errors on simulated studies.
#include "fitting/hold_out.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;
using By = HoldOutRule::By;

namespace {

EmergenceOptions study_options() {
  EmergenceOptions options;
  options.terms = {"ln_N", "ln_window", "nope"};
  return options;
}
std::string message(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options, const HoldOutRule& rule) {
  try {
    (void)hold_out(runs, options, rule);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("hold-out takes the largest sizes, each design in turn, or each window in turn") {
  const auto runs = testing::censoring_study(3, 0, 1e12);
  const HoldOut one = hold_out(runs, study_options(), {});
  REQUIRE(one.runs.size() == 18);  // 3 windows x NoPE x 3 seeds
  CHECK(std::ranges::all_of(one.runs, [](const auto& r) { return r.fold == "N = 1.04e+08"; }));
  CHECK(one.designs == 6);
  CHECK(hold_out(runs, study_options(), {.count = 2}).runs.size() == 36);
  const HoldOut designs = hold_out(runs, study_options(), {.by = By::design});
  CHECK(designs.runs.size() == runs.size());  // every run is held out once
  CHECK(designs.designs == 24);
  std::set<std::string> folds;
  for (const auto& run : designs.runs) folds.insert(run.fold);
  CHECK(folds.size() == 24);
  CHECK(hold_out(runs, study_options(), {.by = By::design, .design = runs[5].design}).runs.size() == 3);
  CHECK(hold_out(runs, study_options(), {.by = By::window}).runs.size() == runs.size());
  const HoldOut window = hold_out(runs, study_options(), {.by = By::window, .window = 512});
  CHECK(window.runs.size() == 24);
  CHECK(window.runs[0].fold == "window 512");
}

TEST_CASE("held-out figures are those of a fit without the fold, computed here by hand") {
  const auto runs = testing::censoring_study(4, 1, 5e9);  // about half of the largest size is unfinished
  const HoldOut held = hold_out(runs, study_options(), {});
  std::vector<EmergenceRun> kept;
  std::ranges::copy_if(runs, std::back_inserter(kept), [](const auto& run) { return run.x.parameters < 1e8; });
  const EmergenceFit fit = fit_emergence_time(kept, study_options());
  int covered = 0, censored = 0, beyond = 0;
  std::map<std::string, std::vector<double>> errors;
  for (const auto& run : runs) {
    if (run.x.parameters < 1e8) continue;
    const D50 d50 = predict_d50(fit, run.x);
    const auto at =
        std::ranges::find_if(held.runs, [&](const auto& h) { return h.design == run.design && h.seed == run.seed; });
    REQUIRE(at != held.runs.end());
    CHECK(at->predicted.estimate == d50.estimate);
    if (run.emerged()) {
      const double measured = std::exp(0.5 * (std::log(run.d_before) + std::log(run.d_after)));
      errors[run.design].push_back(std::abs(std::log10(d50.estimate / measured)));
      covered += d50.run_low <= measured && measured <= d50.run_high;
    } else {
      ++censored;
      covered += d50.run_high > run.d_max;
      beyond += d50.estimate > run.d_max;
    }
  }
  REQUIRE(censored > 3);
  REQUIRE(errors.size() > 2);
  std::vector<double> medians;
  for (auto& [design, e] : errors) {
    std::ranges::sort(e);
    medians.push_back(e.size() % 2 == 1 ? e[e.size() / 2] : 0.5 * (e[e.size() / 2 - 1] + e[e.size() / 2]));
  }
  std::ranges::sort(medians);
  const std::size_t n = medians.size();
  CHECK(held.median_error ==
        Approx(n % 2 == 1 ? medians[n / 2] : 0.5 * (medians[n / 2 - 1] + medians[n / 2])).epsilon(1e-12));
  CHECK(held.designs == static_cast<int>(n));
  CHECK(held.censored == censored);
  CHECK(held.censored_beyond == beyond);
  CHECK(held.coverage == Approx(covered / 18.0).epsilon(1e-12));
  const auto json = nlohmann::json::parse(to_json(held));
  CHECK(json["coverage"] == held.coverage);
  CHECK(json["runs"].size() == 18);
  CHECK(has(to_text(held), "that did not emerge"));
}

// 12 studies of 72 runs, each run held out once by design: 864 intervals of a run; the binomial sd of .90 is .010, and
// seeds of a study share their fit.
TEST_CASE("intervals of a held-out run cover 87 to 94% at nominal 90%, and errors are the seeds' spread") {
  double covered = 0, error = 0;
  constexpr int kStudies = 12;
  for (std::uint64_t r = 0; r < kStudies; ++r) {
    const HoldOut held = hold_out(testing::censoring_study(11, r, 1e12), study_options(), {.by = By::design});
    covered += held.coverage / kStudies;
    error += held.median_error / kStudies;
  }
  INFO("coverage " << covered << ", median error " << error);
  CHECK(covered > 0.87);
  CHECK(covered < 0.94);
  // A run's error is about |N(0, .30^2)| in ln D: its median .6745 x .30 / ln 10 = .088; the grid and the fit add some.
  CHECK(error == Approx(0.09).margin(0.02));
}

TEST_CASE("hold-out finds a law that bends: windows beyond the fitted ones are predicted wrongly and it shows") {
  auto runs = testing::censoring_study(12, 0, 1e12);
  for (auto& run : runs) {  // beyond 512 the effect of the window is three times as large
    if (run.x.window != 2048) continue;
    const double shift = std::pow(2048.0 / 512, 0.6);
    run.d_before *= shift;
    run.d_after *= shift;
    run.d_max *= shift;
  }
  const HoldOut held = hold_out(runs, study_options(), {.by = By::window, .window = 2048});
  CHECK(held.median_error > 0.25);  // .6 ln 4 / ln 10 = .36
  CHECK(held.coverage < 0.6);
  CHECK(hold_out(testing::censoring_study(12, 0, 1e12), study_options(), {.by = By::window, .window = 2048}).coverage >
        0.75);
}

TEST_CASE("a fold whose runs alone show an effect says that the fit without it cannot know the effect") {
  auto runs = testing::censoring_study(13, 0, 1e12);
  for (auto& run : runs) {
    if (run.x.parameters > 1e8) run.x.indicators = {{"gdn", 1.0}};
  }
  EmergenceOptions options = study_options();
  options.terms.push_back("gdn");
  const HoldOut held = hold_out(runs, options, {});
  REQUIRE(held.warnings.size() == 1);
  CHECK(has(held.warnings[0], "effect of gdn"));
  CHECK(has(held.warnings[0], "N = 1.04e+08"));
}

TEST_CASE("hold-out refuses what leaves nothing, and names folds that cannot be fitted") {
  const auto runs = testing::censoring_study(14, 0, 1e12);
  CHECK(has(message(runs, study_options(), {.count = 4}), "the runs have 4"));
  CHECK(has(message(runs, study_options(), {.count = 0}), "0 largest sizes"));
  CHECK(has(message(runs, study_options(), {.by = By::design, .design = "x"}), "no run has the design 'x'"));
  CHECK(has(message(runs, study_options(), {.by = By::window, .window = 7}), "no run has the window 7"));
  CHECK(has(message({}, study_options(), {}), "no runs"));
  EmergenceOptions unknown = study_options();
  unknown.terms.push_back("ln_widow");
  CHECK(has(message(runs, unknown, {}), "unknown covariate 'ln_widow'"));
  auto late = runs;  // only one size ever emerged: without it nothing is left to fit
  for (auto& run : late) {
    if (run.x.parameters > 1e8) continue;
    run.d_after = kInfinity;
    run.d_before = run.d_max = 1e9;
  }
  CHECK(has(message(late, study_options(), {}), "none of the 54 runs emerged"));
  auto window = runs;  // one window alone emerged: two folds can be fitted, one cannot
  for (auto& run : window) {
    if (run.x.window == 128) continue;
    run.d_after = kInfinity;
    run.d_before = run.d_max = 1e9;
  }
  const HoldOut held = hold_out(window, study_options(), {.by = By::window});
  REQUIRE(held.left_out.size() == 1);
  CHECK(held.left_out[0].first == "window 128");
  CHECK(held.runs.size() == 48);
}

TEST_CASE("hold-out is the same on any number of threads") {
  const auto runs = testing::censoring_study(15, 0, 6e9);
  EmergenceOptions options = study_options();
  const HoldOut one = hold_out(runs, options, {.by = By::design});
  options.threads = 3;
  CHECK(to_json(one) == to_json(hold_out(runs, options, {.by = By::design})));
}
