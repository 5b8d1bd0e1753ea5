// D50 of a run that may never emerge, and factors against runs that never did: what hold-outs and findings stand on.
#include <cmath>

#include "fitting/emergence.hpp"
#include "fitting/random.hpp"
#include "tests/catch.hpp"

using namespace hylas::fitting;

namespace {

// Two groups, "b" 0 and 1: the first emerges around 1e5; of the second the share `pi` around `second`, all censored at
// 1e6. Evaluations every 5%.
std::vector<EmergenceRun> two_groups(int count, double second, double pi) {
  Stream stream(11, 0);
  std::vector<EmergenceRun> runs;
  for (const bool b : {false, true}) {
    for (int s = 0; s < count; ++s) {
      EmergenceRun run{b ? "b" : "a", s, {.parameters = 1, .indicators = {{"b", b ? 1.0 : 0.0}}}};
      run.d_max = 1e6, run.d_before = 1e6;
      const double time = (b ? second : 1e5) * std::exp(0.1 * stream.normal());
      if (time < 1e6 && (!b || s < pi * count)) {
        const double cell = std::floor(std::log(time) / 0.05);
        run.d_before = std::exp(0.05 * cell), run.d_after = std::exp(0.05 * (cell + 1));
      }
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

}  // namespace

TEST_CASE("a group that never emerged is later by at least what its runs rule out, and no end is known") {
  const auto runs = two_groups(10, 1e9, 1);
  EmergenceOptions options;
  options.terms = {"b"}, options.profile = {"b"}, options.cure = false;
  const auto fit = fit_emergence_time(runs, options);
  const Parameter& b = fit.fit.parameter("b");
  // Ten runs without one crossing at ten times the first group's D50, sigma 0.1: the factor is under 10 by no more than
  // a fraction of sigma (an end that is off by much was the fault this test found: a flat side has no scale).
  CHECK(b.ci_low > std::log(8.0));
  CHECK(b.ci_low < std::log(11.0));
  CHECK(std::isinf(b.ci_high));
}

TEST_CASE("a run that may never emerge has quantiles of its own: infinite beyond its chance") {
  EmergenceOptions options;
  options.terms = {"b"}, options.cure_terms = {"b"};
  const auto fit = fit_emergence_time(two_groups(40, 2e5, 0.3), options);
  const DesignCovariates a{.parameters = 1, .indicators = {{"b", 0.0}}}, b{.parameters = 1, .indicators = {{"b", 1.0}}};
  const D50 sure = predict_d50(fit, a), rare = predict_d50(fit, b);
  REQUIRE(sure.pi > 0.97);  // it would be 1, were there runs without end
  CHECK(std::log(sure.any_median / sure.estimate) == Approx(0).margin(0.02));
  CHECK(std::log(sure.any_low / sure.run_low) == Approx(0).margin(0.02));
  CHECK(rare.pi == Approx(0.3).margin(0.02));
  CHECK(std::isinf(rare.any_median));
  CHECK(std::isinf(rare.any_high));
  CHECK(rare.any_low > rare.run_low);  // 5% of all runs are 17% of those that emerge
  CHECK(rare.any_low < rare.estimate);
}
