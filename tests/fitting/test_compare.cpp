// Comparison of emergence models: likelihood ratios against fits by hand, their level and power by simulation, what is
// not nested, AIC weights; and the simulated studies that the parametric bootstrap is made of.
#include "fitting/compare.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "fitting/distributions.hpp"
#include "fitting/parallel.hpp"
#include "fitting/simulate.hpp"
#include "fitting/simulate_curves.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

EmergenceOptions with(std::vector<std::string> terms, bool cure = true) {
  EmergenceOptions options;
  options.terms = std::move(terms);
  options.cure = cure;
  options.intervals = false;
  return options;
}
std::string message(const std::vector<EmergenceRun>& runs, const EmergenceOptions& a, const EmergenceOptions& b) {
  try {
    (void)compare_nested(runs, a, b);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a likelihood ratio is twice the difference of two fits, with chi-squared p and words") {
  const auto runs = testing::censoring_study(21, 0, 6e9);
  const auto small = with({"ln_N", "nope"}), large = with({"ln_N", "ln_window", "nope"});
  const Fit a = fit_emergence_time(runs, small).fit, b = fit_emergence_time(runs, large).fit;
  const LikelihoodRatio ratio = compare_nested(runs, small, large);
  CHECK(ratio.statistic == Approx(2 * (b.log_likelihood - a.log_likelihood)).margin(1e-8));
  CHECK(ratio.degrees == 1);
  CHECK(ratio.added == std::vector<std::string>{"ln_window"});
  CHECK(ratio.p == Approx(chi_squared_survival(ratio.statistic, 1)).epsilon(1e-6));
  CHECK(ratio.p < 1e-3);  // the effect is .30, its standard error about .04
  CHECK(ratio.aic_gain == Approx(ratio.statistic - 2).margin(1e-8));
  CHECK(ratio.bic_gain == Approx(ratio.statistic - std::log(72.0)).margin(1e-8));
  CHECK(std::isnan(ratio.p_bootstrap));
  const std::string text = to_text(ratio);
  CHECK(has(text, "ln_window: likelihood ratio"));
  CHECK(has(text, "AIC prefers the larger model"));
  // What is not there is not found: window^2 has no effect.
  const LikelihoodRatio none = compare_nested(runs, large, with({"ln_N", "ln_window", "nope", "ln_window^2"}));
  CHECK(none.p > 0.05);
  CHECK(has(to_text(none), "BIC prefers the smaller model"));
}

TEST_CASE("models that are not nested are refused, whatever the order") {
  const auto runs = testing::censoring_study(21, 0, 6e9);
  const auto a = with({"ln_N", "ln_window"}), b = with({"ln_N", "nope", "ln_window^2"});
  CHECK(has(message(runs, a, b), "not nested: 'ln_window' is in the smaller"));
  CHECK(has(message(runs, with({"ln_N", "nope"}), with({"ln_N"})), "not nested: 'nope'"));
  CHECK(has(message(runs, a, a), "no parameter that the smaller one lacks"));
  CHECK(has(message(runs, with({"ln_N"}, true), with({"ln_N", "nope"}, false)), "not nested: 'pi'"));
  const Fit one = fit_emergence_time(runs, a).fit;
  const Fit fewer = fit_emergence_time({runs.begin() + 1, runs.end()}, with({"ln_N", "ln_window", "nope"})).fit;
  CHECK_THROWS_AS(likelihood_ratio(one, fewer), InputError);
}

TEST_CASE("a cure fraction is tested, with and without covariates") {
  const auto runs = testing::censoring_study(22, 0, {.d_max = 4e10, .seeds = 5, .pi = 0.75});
  const LikelihoodRatio cure =
      compare_nested(runs, with({"ln_N", "ln_window", "nope"}, false), with({"ln_N", "ln_window", "nope"}));
  CHECK(cure.added == std::vector<std::string>{"pi"});
  CHECK(cure.statistic > 50);  // about thirty runs never emerged although they had twenty times their D50
  auto varying = with({"ln_N", "ln_window", "nope"});
  varying.cure_terms = {"nope"};
  const LikelihoodRatio ratio = compare_nested(runs, with({"ln_N", "ln_window", "nope"}), varying);
  CHECK(ratio.added == std::vector<std::string>{"pi:nope"});
  CHECK(ratio.statistic >= 0);
  CHECK(ratio.p > 0.01);  // pi does not depend on NoPE
}

TEST_CASE("lack of fit: the designs' own D50 against the columns") {
  auto runs = testing::censoring_study(23, 0, 8e9);
  const auto options = with({"ln_N", "ln_window", "nope"});
  const auto right = lack_of_fit(runs, options);
  REQUIRE(right);
  CHECK(right->degrees == 24 - 4);  // 24 designs, four coefficients
  CHECK(right->p > 0.01);
  const auto wrong = lack_of_fit(runs, with({"ln_N", "ln_window"}));  // NoPE left out
  REQUIRE(wrong);
  CHECK(wrong->p < 1e-6);
  for (auto& run : runs) run.design = run.x.nope > 0 ? "with" : "without";
  for (std::size_t i = 0; i < runs.size(); ++i) runs[i].seed = static_cast<std::int64_t>(i);
  CHECK_FALSE(lack_of_fit(runs, with({"nope"})));
}

TEST_CASE("the parametric bootstrap: its p is a rank, the same on any number of threads") {
  const auto runs = testing::censoring_study(24, 0, 6e9);
  const auto small = with({"ln_N", "nope"}), large = with({"ln_N", "ln_window", "nope"});
  const LikelihoodRatio one = compare_nested(runs, small, large, {.simulations = 99, .seed = 3});
  const LikelihoodRatio three = compare_nested(runs, small, large, {.simulations = 99, .seed = 3, .threads = 3});
  CHECK(one.simulations + one.left_out == 99);
  CHECK(one.left_out <= 2);
  CHECK(one.p_bootstrap == three.p_bootstrap);
  CHECK(one.p_bootstrap == Approx(1.0 / (1 + one.simulations)));  // a large effect: no simulated study comes near
  const auto none = with({"ln_N", "ln_window", "nope", "ln_window^2"});
  const LikelihoodRatio null = compare_nested(runs, large, none, {.simulations = 99, .seed = 3});
  CHECK(null.p_bootstrap == Approx(null.p).margin(0.15));  // three standard errors of a p from 99 studies
  CHECK(has(to_text(null), "parametric bootstrap of"));
  CHECK(null.best_p() == null.p_bootstrap);
}

TEST_CASE("simulated studies have the fit's times, the runs' evaluations, and the cure fraction") {
  const auto runs = testing::censoring_study(25, 0, {.d_max = 4e10, .seeds = 5, .pi = 0.8});
  const EmergenceFit fit = fit_emergence_time(runs, with({"ln_N", "ln_window", "nope"}));
  const auto grids = evaluation_grids(runs);
  const auto truth = testing::censoring_grid(4e10);
  const std::set<double> allowed(truth.begin(), truth.end());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const double d : grids[i]) CHECK(allowed.contains(d));
    CHECK(grids[i].back() == truth.back());  // some run went to the end
  }
  double emerged = 0, z = 0, squares = 0, n = 0;
  for (std::uint64_t r = 0; r < 60; ++r) {
    for (const auto& run : simulate_runs(fit, runs, grids, 9, r)) {
      CHECK(run.d_max == truth.back());
      if (!run.emerged()) continue;
      emerged += 1.0 / (60.0 * static_cast<double>(runs.size()));
      if (run.d_before == 0) continue;  // before the first evaluation: a few in 1,000
      const double middle = 0.5 * (std::log(run.d_before) + std::log(run.d_after));
      const double residual = middle - log_d50_at(fit, run.x, fit.fit.theta);
      z += residual;
      squares += residual * residual;
      n += 1;
    }
  }
  const auto times = [&](std::uint64_t seed, std::uint64_t replicate) {
    std::vector<double> after;
    for (const auto& run : simulate_runs(fit, runs, grids, seed, replicate)) after.push_back(run.d_after);
    return after;
  };
  CHECK(times(9, 0) == times(9, 0));
  CHECK(times(9, 0) != times(9, 1));
  CHECK(times(9, 0) != times(8, 0));
  const double sigma = sigma_at(fit, fit.fit.theta);
  CHECK(emerged == Approx(fit.fit.parameter("pi").estimate).margin(4 * 0.4 / std::sqrt(60.0 * 120)));
  CHECK(z / n == Approx(0).margin(0.02));  // 4 standard errors of a mean of 5,800
  // Rounding to cells of width h = ln 2 / 2 adds h^2 / 12 (Sheppard).
  CHECK(squares / n == Approx(sigma * sigma + 0.25 * std::log(2.0) * std::log(2.0) / 12).epsilon(0.1));
}

TEST_CASE("evaluations: given ones are used, a run's own end is kept, disorder is refused by name") {
  auto runs = testing::censoring_study(26, 0, 6e9);
  runs[0].d_before = runs[0].d_max = 2e9;  // stopped early, unfinished
  runs[0].d_after = kInfinity;
  runs[1].evaluations = {1e9, 3e9, 9e9};
  const auto grids = evaluation_grids(runs);
  CHECK(grids[0].back() == Approx(2e9));
  CHECK(grids[1] == runs[1].evaluations);
  CHECK(grids[2].back() == Approx(6e9));
  runs[1].evaluations = {1e9, 1e9};
  CHECK_THROWS_WITH(evaluation_grids(runs), Catch::Contains("with seed 1: evaluation 2"));
}

TEST_CASE("a table of candidates: best AIC first, weights add up, the true model leads") {
  const auto runs = testing::censoring_study(27, 0, 8e9);
  const auto rows = compare_models(runs, {{"intercept", with({})},
                                          {"size", with({"ln_N"})},
                                          {"true", with({"ln_N", "ln_window", "nope"})},
                                          {"not nested", with({"ln_N", "ln_window^2"})}});
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].name == "true");
  double weights = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    weights += rows[i].aic_weight;
    if (i > 0) CHECK(rows[i - 1].aic <= rows[i].aic);
  }
  CHECK(weights == Approx(1).epsilon(1e-12));
  CHECK(rows[0].aic_weight > 0.99);
  const Fit fit = fit_emergence_time(runs, with({"ln_N", "ln_window", "nope"})).fit;
  CHECK(rows[0].aic == fit.aic);
  CHECK(rows[0].parameters + (fit.parameter("pi").estimate == 1 ? 1 : 0) == static_cast<int>(fit.theta.size()));
  CHECK(has(to_text(rows), "not nested"));
}

// The level of both p values where nothing is there: 24 runs, 8 parameters. 300 studies give .05 to .013.
TEST_CASE("likelihood ratio: the parametric bootstrap holds its level in small studies", "[slow]") {
  constexpr int kStudies = 300;
  std::vector<LikelihoodRatio> ratios(kStudies);
  parallel_for(kStudies, 0, [&](int r) {
    const auto runs =
        testing::censoring_study(31, static_cast<std::uint64_t>(r), {.d_max = 8e9, .seeds = 2, .sizes = {15e6, 31e6}});
    ratios[r] = compare_nested(runs, with({"ln_N", "ln_window", "nope"}),
                               with({"ln_N", "ln_window", "nope", "ln_window^2", "nope*ln_window"}),
                               {.simulations = 99, .seed = static_cast<std::uint64_t>(r)});
  });
  double chi = 0, bootstrap = 0;
  int missing = 0;
  for (const auto& ratio : ratios) {
    chi += (ratio.p < 0.05) / double(kStudies);
    bootstrap += (ratio.best_p() <= 0.05) / double(kStudies);
    missing += std::isnan(ratio.p);
  }
  std::printf(
      "level at nominal 5%%: chi-squared %.3f, parametric bootstrap %.3f (24 runs, 2 of 8 parameters tested; %d "
      "without p)\n",
      chi, bootstrap, missing);
  CHECK(bootstrap >= 0.015);
  CHECK(bootstrap <= 0.09);  // three standard errors
  CHECK(missing <= 4);
}

namespace {

// 18 curves; NoPE changes nothing.
std::vector<CurveRun> curves() {
  std::vector<CurveRun> runs;
  Stream stream(36, 0);
  for (const double window : {16.0, 64.0, 256.0}) {
    for (const double nope : {0.0, 1.0}) {
      for (int s = 0; s < 3; ++s) {
        const std::string design = std::to_string(window) + "/" + std::to_string(nope);
        CurveRun run{design, s, {1e6, window, 0.5, nope, 0, {}}, {}, {}, {}};
        for (double d = 1e8; d < 2e10; d *= 1.5) run.tokens.push_back(d);
        run.accuracy.assign(run.tokens.size(), 0);
        run.count.assign(run.tokens.size(), 200);
        const double mu = std::log(1e9) + 0.3 * std::log(window / 64);
        runs.push_back(simulate_curve(run, mu, {0.02, 0.95, 4, 0.2, 80}, stream));
      }
    }
  }
  return runs;
}

}  // namespace

TEST_CASE("F1: the likelihood ratio of two fits, its bootstrap by simulated curves, the same on any threads") {
  const auto runs = curves();
  const auto small = with({"ln_window"}), large = with({"ln_window", "nope"});
  const Fit a = fit_emergence_curve(runs, small).fit, b = fit_emergence_curve(runs, large).fit;
  REQUIRE(a.converged);
  REQUIRE(b.converged);
  const LikelihoodRatio ratio = compare_nested(runs, small, large, {.simulations = 9, .seed = 2});
  CHECK(ratio.statistic == Approx(2 * (b.log_likelihood - a.log_likelihood)).margin(1e-4));
  CHECK(ratio.added == std::vector<std::string>{"nope"});
  CHECK(ratio.p > 0.01);
  CHECK(ratio.simulations >= 8);
  const LikelihoodRatio threads = compare_nested(runs, small, large, {.simulations = 9, .seed = 2, .threads = 3});
  CHECK(threads.p_bootstrap == ratio.p_bootstrap);
  CHECK(threads.statistic == ratio.statistic);
  CHECK_THROWS_AS(compare_nested(runs, with({"nope"}), with({"ln_window"})), InputError);
}

TEST_CASE("F1: the parametric bootstrap finds an effect, and agrees with chi-squared where there is none", "[slow]") {
  const auto runs = curves();
  const CompareOptions options{.simulations = 199, .seed = 2, .threads = 0};
  const LikelihoodRatio null = compare_nested(runs, with({"ln_window"}), with({"ln_window", "nope"}), options);
  std::printf("F1, 18 curves: NoPE without effect has p %.3f (chi-squared), %.3f (%d studies)\n", null.p,
              null.p_bootstrap, null.simulations);
  CHECK(null.simulations >= 190);
  // Three standard errors of a p from 199 studies, and .05 for what chi-squared does not know with 18 runs.
  CHECK(null.p_bootstrap == Approx(null.p).margin(0.15));
  const LikelihoodRatio effect = compare_nested(runs, with({"nope"}), with({"nope", "ln_window"}), options);
  CHECK(effect.p < 1e-6);
  CHECK(effect.p_bootstrap == Approx(1.0 / (1 + effect.simulations)));
}
