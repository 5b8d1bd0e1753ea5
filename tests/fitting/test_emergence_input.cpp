// Bad input of the emergence fits, F3 and F1: refused with the run's name and the quantity, or fitted without the
// columns that say nothing. (More of single laws: "bad runs are named" in test_emergence_time.cpp and _curve.cpp.)
#include <algorithm>
#include <cmath>

#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
EmergenceOptions plain(std::vector<std::string> terms = {"ln_window", "nope"}) {
  EmergenceOptions options;
  options.terms = std::move(terms);
  options.intervals = false;
  return options;
}

std::vector<EmergenceRun> times() {
  return testing::censoring_study(61, 0, {.d_max = 8e9, .seeds = 2, .sizes = {31e6}});
}
// The same runs as steep curves of 100 positions.
std::vector<CurveRun> curves() {
  std::vector<CurveRun> out;
  for (const auto& run : times()) {
    CurveRun curve{run.design, run.seed, run.x, {}, {}, {}};
    for (const double d : testing::censoring_grid(8e9)) {
      curve.tokens.push_back(d);
      curve.accuracy.push_back(d < run.d_after ? 0.05 : 0.95);
      curve.count.push_back(100);
    }
    out.push_back(std::move(curve));
  }
  return out;
}

template <class Run, class Fit>
std::string refusal(const std::vector<Run>& runs, const Fit& fit) {
  try {
    (void)fit(runs);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}
std::string refused(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options = plain()) {
  return refusal(runs, [&](const auto& r) { return fit_emergence_time(r, options); });
}
std::string refused(const std::vector<CurveRun>& runs, const EmergenceOptions& options = plain()) {
  return refusal(runs, [&](const auto& r) { return fit_emergence_curve(r, options); });
}

// Covariates, duplicates and counts of runs are checked alike for both laws.
template <class Run>
void check_common(const std::vector<Run>& runs) {
  const std::string name = "run of '" + runs[3].design + "' with seed " + std::to_string(runs[3].seed);
  const auto with = [&](auto change) {
    auto copy = runs;
    change(copy[3]);
    return refused(copy);
  };
  CHECK(has(with([](auto& r) { r.x.parameters = 0; }), name + ": N is 0; it must be a positive number"));
  CHECK(has(with([](auto& r) { r.x.parameters = -5e6; }), name + ": N is -5000000"));
  CHECK(has(with([](auto& r) { r.x.parameters = kNotANumber; }), name + ": N is nan"));
  CHECK(has(with([](auto& r) { r.x.parameters = kInfinity; }), name + ": N is inf"));
  CHECK(has(with([](auto& r) { r.x.window = -8; }), name + ": the window is -8"));
  CHECK(has(with([](auto& r) { r.x.window = kNotANumber; }), name + ": the window is nan"));
  CHECK(has(with([](auto& r) { r.x.full_fraction = 1.5; }), name + ": the full fraction is 1.5"));
  CHECK(has(with([](auto& r) { r.x.nope = kNotANumber; }), name + ": NoPE and sink shares must be finite"));
  CHECK(has(with([](auto& r) { r.x.indicators = {{"gdn", kNotANumber}}; }), name + ": the indicator 'gdn'"));
  CHECK(has(with([&](auto& r) {
              r.design = runs[2].design;
              r.seed = runs[2].seed;
            }),
            "run of '" + runs[2].design + "' with seed 0 is given twice"));
  CHECK(has(refused(std::vector<Run>{}), "no runs"));
  const std::vector<Run> three(runs.begin(), runs.begin() + 3);
  CHECK(has(refused(three), "3 runs for"));
  CHECK(has(refused(three), "give more runs or fewer columns"));
  CHECK(has(refused(runs, plain({"ln_widow"})), "unknown covariate 'ln_widow'; the terms are ln_N, ln_window"));
  CHECK(has(refused(runs, plain({"nope", "nope"})), "the covariate 'nope' is given twice"));
  auto level = plain();
  level.level = 0;
  CHECK(has(refused(runs, level), "level is 0; it must lie in (0, 1)"));
  CHECK(refused(runs) == "no error");
}

// All runs alike: every column is constant, so only the intercept is left, and the fit says which were dropped and why.
void check_constant(const EmergenceFit& fit) {
  CHECK(fit.fit.converged);
  CHECK(fit.columns.names.empty());
  REQUIRE(fit.columns.dropped.size() == default_terms().size());
  for (const auto& [name, why] : fit.columns.dropped) {
    CHECK(why == "it is the same for every run");
    CHECK(std::ranges::any_of(fit.fit.warnings, [&](const auto& w) { return has(w, "column " + name + " was drop"); }));
  }
}

}  // namespace

TEST_CASE("bad runs of F3 are named with the quantity") {
  const auto runs = times();
  check_common(runs);
  const std::string name = "run of '" + runs[3].design + "' with seed " + std::to_string(runs[3].seed);
  const auto with = [&](auto change) {
    auto copy = runs;
    change(copy[3]);
    return refused(copy);
  };
  CHECK(has(with([](auto& r) { r.d_after = kNotANumber; }), name + ": the tokens at its crossing are NaN"));
  CHECK(has(with([](auto& r) { r.d_max = kNotANumber; }), name + ": the tokens of its last evaluation are NaN"));
  CHECK(has(with([](auto& r) { r.d_after = 0; }), name + ": D must be positive and finite"));
  CHECK(has(with([](auto& r) { r.d_max = -1; }), name + ": D must be positive and finite"));
  CHECK(has(with([](auto& r) { r.d_max = kInfinity; }), name + ": D must be positive and finite"));
  CHECK(has(with([](auto& r) {
              r.d_after = kInfinity;
              r.d_before = 2e9;
              r.d_max = 1e9;
            }),
            name + ": its last evaluation, D = 1000000000"));
  EmergenceOptions cure = plain();
  cure.cure = false;
  cure.cure_terms = {"nope"};
  CHECK(has(refused(runs, cure), "the cure fraction is off"));
}

TEST_CASE("bad runs of F1 are named with the quantity and the evaluation") {
  const auto runs = curves();
  check_common(runs);
  const std::string name = "run of '" + runs[3].design + "' with seed " + std::to_string(runs[3].seed);
  const auto with = [&](auto change) {
    auto copy = runs;
    change(copy[3]);
    return refused(copy);
  };
  CHECK(has(with([](auto& r) { r.tokens[1] = kNotANumber; }), name + ", evaluation 2: D must be positive"));
  CHECK(has(with([](auto& r) { r.tokens[1] = -3; }), name + ", evaluation 2: D must be positive, but it is -3"));
  CHECK(has(with([](auto& r) { r.accuracy[4] = 1.2; }), name + ", evaluation 5: accuracy must lie in [0, 1]"));
  CHECK(has(with([](auto& r) { r.count[4] = 0; }), name + ", evaluation 5: the count must be positive"));
  CHECK(has(with([](auto& r) {
              r.tokens.resize(1);
              r.accuracy.resize(1);
              r.count.resize(1);
            }),
            name + ": needs at least two evaluations"));
}

TEST_CASE("constant columns are dropped by name; runs of one design leave the intercept") {
  auto runs = times();
  auto curve_runs = curves();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].x = curve_runs[i].x = runs[0].x;
    runs[i].design = curve_runs[i].design = "one";
    runs[i].seed = curve_runs[i].seed = static_cast<std::int64_t>(i);
  }
  EmergenceOptions options = plain(default_terms());
  check_constant(fit_emergence_time(runs, options));
  check_constant(fit_emergence_curve(curve_runs, options));
}

TEST_CASE("profile_d50 and predictions refuse impossible designs") {
  const auto runs = times();
  const EmergenceFit fit = fit_emergence_time(runs, plain());
  CHECK_THROWS_WITH(predict_d50(fit, {0, 128, 0.5, 0, 0, {}}), Catch::Contains("N is 0"));
  CHECK_THROWS_WITH(profile_d50(fit, runs, {{1e6, kNotANumber, 0.5, 0, 0, {}}}), Catch::Contains("the window is nan"));
}
