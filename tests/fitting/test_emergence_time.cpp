// F3: exact derivatives, recovery, profile intervals against a brute-force grid, censoring, cure fraction, honest
// flags, errors. The coverage studies are in test_coverage.cpp.
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fitting/distributions.hpp"
#include "fitting/emergence_checks.hpp"
#include "fitting/laws/emergence_time.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

EmergenceOptions study_options() {
  EmergenceOptions options;
  options.terms = {"ln_N", "ln_window", "nope"};
  options.level = 0.95;
  return options;
}

// `count` runs a design on windows 4, 16, 64 with and without NoPE; finely evaluated; `cure` of them can emerge.
std::vector<EmergenceRun> simulate(int count, double d_max, double cure, double step, std::uint64_t seed) {
  Stream stream(seed, 0);
  std::vector<EmergenceRun> runs;
  for (const double w : {4.0, 16.0, 64.0}) {
    for (const int nope : {0, 1}) {
      for (int s = 0; s < count; ++s) {
        EmergenceRun run;
        run.design = std::to_string(w) + "/" + std::to_string(nope);
        run.seed = s;
        run.x = {1e5, w, 0.5, static_cast<double>(nope), 0, {}};
        const bool can = stream.uniform() < cure;
        const double z = stream.normal();
        const double time = std::exp(std::log(2e5) + 0.4 * std::log(w / 16) - 0.5 * nope + 0.25 * z);
        run.d_max = d_max;
        run.d_before = d_max;
        if (can && time < d_max) {
          const double cell = std::floor(std::log(time) / step);
          run.d_before = std::exp(cell * step);
          run.d_after = std::exp((cell + 1) * step);
        }
        runs.push_back(run);
      }
    }
  }
  return runs;
}

std::string message(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options = study_options()) {
  try {
    (void)fit_emergence_time(runs, options);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("derivatives of F3 match finite differences, with pi constant, free, or a function of covariates") {
  auto runs = testing::censoring_study(3, 0, 4e9);
  runs[0].d_before = 0;  // crossed before the first evaluation
  runs[0].d_after = 5e8;
  std::vector<DesignCovariates> designs;
  for (const auto& run : runs) designs.push_back(run.x);
  const Columns columns = choose_columns(designs, {"ln_N", "ln_window", "nope"});
  const Columns cure = choose_columns(designs, {"ln_window"});
  Stream stream(23, 0);
  for (int mode = 0; mode < 3; ++mode) {
    const auto law = emergence_time_terms(runs, columns, mode == 2 ? cure : Columns{}, mode > 0, mode == 2);
    const LawObjective<EmergenceTimeTerms> objective(law);
    for (int k = 0; k < 5; ++k) {
      Vector theta = law.starts()[0];
      for (double& v : theta) v += 0.05 * stream.normal();
      if (mode == 1) theta[5] = 0.3 + 0.6 * stream.uniform();
      INFO("mode " << mode << " draw " << k);
      const auto error = testing::check_derivatives(objective, theta);
      CHECK(error.gradient < 1e-7);  // central differences with h = 1e-5: h^2 and eps / h
      CHECK(error.hessian < 1e-7);
      CHECK(error.value < 1e-13);
    }
  }
}

TEST_CASE("the survival term keeps its digits far in the tail and at pi = 1") {
  EmergenceTimeData data;
  data.log_before = {0.0, 0.0};
  data.log_after = {INFINITY, 1.0};
  data.mu = {{}, {}};
  const EmergenceTimeTerms law(data);
  const double sigma = 0.1, log_sigma = std::log(sigma);
  const double at[3] = {-3, log_sigma, 1};  // z = 30: ln S = ln Phi(-30)
  CHECK(law.term(0, at) == Approx(-log_normal_cdf(-30)).epsilon(1e-13));
  const double cured[3] = {-3, log_sigma, 0.9};  // S = 0.1
  CHECK(law.term(0, cured) == Approx(-std::log(0.1)).epsilon(1e-13));
  const double middle[3] = {0.5, log_sigma, 0.8};  // an interval of 10 sigma around mu: all of pi
  CHECK(law.term(1, middle) == Approx(-std::log(0.8 * (1 - 2 * normal_cdf(-5)))).epsilon(1e-12));
}

TEST_CASE("F3 recovers a large sample: every parameter within 4 standard errors, cure fraction included") {
  const auto runs = simulate(700, 4e6, 0.8, 0.02, 41);
  EmergenceOptions options;
  options.terms = {"ln_window", "nope"};
  const EmergenceFit result = fit_emergence_time(runs, options);
  const Fit& fit = result.fit;
  CHECK(fit.converged);
  CHECK(fit.identified());
  CHECK(result.longest_ratio > 3);
  const double truth[] = {std::log(2e5), 0.4, -0.5, std::log(0.25), 0.8};
  const auto p = static_cast<int>(fit.theta.size());
  REQUIRE(p == 5);
  for (int j = 0; j < p; ++j) {
    const double sd = std::sqrt(fit.covariance[j * p + j]);
    INFO(fit.coordinates[j] << " " << fit.theta[j] << " +- " << sd);
    CHECK(std::abs(fit.theta[j] - truth[j]) < 4 * sd);
    CHECK(sd < 0.03);
  }
  CHECK(fit.parameter("sigma").estimate == Approx(0.25).epsilon(0.1));
  const D50 d50 = predict_d50(result, {1e5, 32, 0.5, 1, 0, {}});
  CHECK(d50.estimate == Approx(2e5 * std::pow(2.0, 0.4) * std::exp(-0.5)).epsilon(0.05));
  CHECK(d50.sd_total == Approx(std::hypot(d50.sd_parameters, fit.parameter("sigma").estimate)).epsilon(1e-9));
  CHECK(d50.pi == fit.parameter("pi").estimate);
}

TEST_CASE("profile intervals equal a brute-force grid of an independent likelihood") {
  // Intercept and sigma only: for each intercept the likelihood is maximised over a fine grid of sigma.
  std::vector<EmergenceRun> runs;
  Stream stream(77, 0);
  for (int s = 0; s < 14; ++s) {
    EmergenceRun run{"d", s, {1e5, 16, 0.5, 0, 0, {}}, 0, kInfinity, 0};
    const double time = std::exp(12 + 0.5 * stream.normal());
    for (double d = 3e4; d < 2.2e5; d *= 1.3) {
      run.d_max = d;
      if (d >= time) {
        run.d_after = d;
        break;
      }
      run.d_before = d;
    }
    runs.push_back(run);
  }
  EmergenceOptions options;
  options.terms = {};
  options.cure = false;
  const EmergenceFit result = fit_emergence_time(runs, options);
  const auto naive = [&](double mu, double sigma) {
    double sum = 0;
    for (const auto& run : runs) {
      const auto cdf = [&](double d) {
        return d <= 0 ? 0.0 : 0.5 * std::erfc(-(std::log(d) - mu) / sigma / std::sqrt(2.0));
      };
      sum -= std::log((run.emerged() ? cdf(run.d_after) : 1.0) - cdf(run.d_before));
    }
    return sum;
  };
  const auto m = static_cast<double>(std::ranges::count_if(runs, &EmergenceRun::emerged));
  const double t = student_t_quantile(0.95, m - 1), rise = 0.5 * m * std::log1p(t * t / (m - 1));
  const auto profiled = [&](double mu) {
    double least = INFINITY;
    for (double s = std::log(0.05); s < std::log(5.0); s += 0.005) least = std::min(least, naive(mu, std::exp(s)));
    return least;
  };
  double least = INFINITY, low = INFINITY, high = -INFINITY;
  for (double mu = 11; mu < 14; mu += 0.01) least = std::min(least, profiled(mu));
  CHECK(result.fit.objective == Approx(least).margin(1e-3));  // the grid misses the minimum by curvature * 0.005^2
  for (double mu = 11; mu < 14; mu += 0.01) {
    if (profiled(mu) <= result.fit.objective + rise) {
      low = std::min(low, mu);
      high = std::max(high, mu);
    }
  }
  const Parameter& intercept = result.fit.parameter("intercept");
  CHECK(intercept.ci_low == Approx(low).margin(0.012));  // a grid step and a little
  CHECK(intercept.ci_high == Approx(high).margin(0.012));
  const auto d50 = profile_d50(result, runs, {runs[0].x});
  CHECK(std::log(d50[0].ci_low) == Approx(intercept.ci_low).margin(1e-3));
  CHECK(std::log(d50[0].ci_high) == Approx(intercept.ci_high).margin(1e-3));
}

// Where every ln D50 is seen (cells of 1e-3 sigma) F3 is a normal linear model, whose t intervals are exact.
TEST_CASE("finely evaluated runs that all emerged: profile and Wald intervals are those of a linear regression") {
  Stream stream(31, 0);
  std::vector<EmergenceRun> runs;
  std::vector<std::vector<double>> rows;
  std::vector<double> y;
  const DesignCovariates unseen{31e6, 512, 0.5, 0, 0, {}};
  for (int i = 0; i < 12; ++i) {
    const DesignCovariates x{i % 2 == 0 ? 15e6 : 65e6, i % 3 == 0 ? 128.0 : 2048.0, 0.5, 0, 0, {}};
    const double log_time = 22 + 0.5 * stream.normal(), half = 2.5e-4;
    runs.push_back({"d", i, x, std::exp(log_time - half), std::exp(log_time + half), std::exp(log_time + half)});
    rows.push_back({std::log(x.parameters / unseen.parameters), std::log(x.window / unseen.window)});
    y.push_back(log_time);
  }
  EmergenceOptions options;
  options.terms = {"ln_N", "ln_window"};
  options.cure = false;
  const EmergenceFit fit = fit_emergence_time(runs, options);
  const LeastSquares ols = least_squares(rows, y);  // its intercept is ln D50 of `unseen`
  Matrix x = Matrix::Ones(12, 3);
  for (int i = 0; i < 12; ++i) x.row(i).tail(2) << rows[i][0], rows[i][1];
  const double half_width = student_t_quantile(0.95, 9) * ols.sd * std::sqrt((x.transpose() * x).inverse()(0, 0));
  const D50 profile = profile_d50(fit, runs, {unseen})[0], wald = predict_d50(fit, unseen);
  for (const D50& d50 : {profile, wald}) {
    // The cells blur ln D50 by 3e-4 sigma; the root of the profile is found to 5e-4.
    CHECK(std::log(d50.estimate) == Approx(ols.coefficients[0]).margin(1e-3));
    CHECK(std::log(d50.ci_low) == Approx(ols.coefficients[0] - half_width).margin(1.5e-3));
    CHECK(std::log(d50.ci_high) == Approx(ols.coefficients[0] + half_width).margin(1.5e-3));
  }
  const double new_run = std::hypot(half_width, student_t_quantile(0.95, 9) * ols.sd);  // prediction interval
  CHECK(std::log(wald.run_high) == Approx(ols.coefficients[0] + new_run).margin(1.5e-3));
  CHECK(fit.fit.interval_method == "profile likelihood, t with 9 degrees of freedom");
}

TEST_CASE("a design that never emerged has an open interval and says so; the others stay identified") {
  auto runs = simulate(4, 1e7, 1, 0.08, 5);
  for (auto& run : runs) {
    if (run.x.window == 64 && run.x.nope == 0) {
      run.d_before = run.d_max = 1e6;
      run.d_after = kInfinity;
      run.x.indicators = {{"late", 1.0}};
    }
  }
  EmergenceOptions options;
  options.terms = {"ln_window", "nope", "late"};
  const EmergenceFit result = fit_emergence_time(runs, options);
  CHECK(result.fit.converged);
  const auto d50 = profile_d50(result, runs, {runs[0].x, {1e5, 64, 0.5, 0, 0, {{"late", 1.0}}}});
  CHECK(d50[0].ci_high < 1e6);
  CHECK(std::isinf(d50[1].ci_high));
  CHECK(d50[1].ci_low > 5e5);  // four runs were still below the threshold at 1e6
  CHECK(std::ranges::any_of(d50[1].warnings, [](const auto& w) { return has(w, "no run of this design emerged"); }));
  CHECK(std::ranges::any_of(d50[1].warnings, [](const auto& w) { return has(w, "no upper limit"); }));
  CHECK(std::ranges::none_of(d50[0].warnings, [](const auto& w) { return has(w, "emerged"); }));
  CHECK(has(result.fit.parameter("late").why, "flat above"));
  CHECK(std::isinf(result.fit.parameter("late").ci_high));
  CHECK(result.fit.parameter("ln_window").identified);
  const auto json = nlohmann::json::parse(to_json(result.fit));
  for (const auto& p : json["parameters"]) CHECK(p["ci90"][1].is_null() == (p["name"] == "late"));
}

TEST_CASE("when every run emerged pi is on its bound, and short runs cannot tell late from never") {
  const Fit all = fit_emergence_time(simulate(4, 1e8, 1, 0.08, 6), {}).fit;
  CHECK_FALSE(all.parameter("pi").identified);
  CHECK(has(all.parameter("pi").why, "every run emerged"));
  CHECK(all.parameter("pi").estimate == 1);
  CHECK(all.parameter("ln_window").identified);
  const EmergenceFit few = fit_emergence_time(simulate(6, 2e5, 1, 0.08, 6), {});
  CHECK(few.longest_ratio < 3);
  CHECK(has(few.fit.parameter("pi").why, "under 3"));
}

// Cells of .35 in ln D: where seeds differ by a tenth of that, any sigma below a sixth of a cell fits as well.
TEST_CASE("small studies converge; where seeds differ by less than the evaluation grid sigma is on its bound") {
  EmergenceOptions options = study_options();
  options.intervals = false;
  int on_bound = 0;
  for (std::uint64_t r = 0; r < 60; ++r) {
    const auto small = testing::censoring_study(97, r, {.d_max = 1e12, .seeds = 1, .sizes = {15e6, 31e6}});
    CHECK(fit_emergence_time(small, options).fit.converged);
    const auto equal = testing::censoring_study(98, r, {.d_max = 5e9, .seeds = 2, .sigma = 0.03});
    const Fit fit = fit_emergence_time(equal, options).fit;
    INFO("repetition " << r << "\n" << to_text(fit));
    CHECK(fit.converged);
    const Parameter& sigma = fit.parameter("sigma");
    const bool bound = !sigma.identified && has(sigma.why, "on its lower bound");
    on_bound += bound;
    CHECK(bound == std::ranges::any_of(fit.warnings, [](const auto& w) { return has(w, "evaluate more often"); }));
    // A sixth of ln 2 / 2, or of the last cell, ln(5e9 / 4e9), where a tenth of the runs crossed in it.
    if (bound) CHECK(sigma.estimate > 0.9999 * std::log(5.0 / 4) / 6);
    if (bound) CHECK(sigma.estimate < 1.0001 * std::log(2.0) / 12);
  }
  CHECK(on_bound > 40);
}

// Proves that designs matched in size do not get a slope in N that stands for their layouts.
TEST_CASE("columns: ln N needs runs that differ in N") {
  std::vector<DesignCovariates> runs(4);
  for (std::size_t i = 0; i < 4; ++i) runs[i].parameters = 53000 + 100 * static_cast<double>(i);  // 0.6% in all
  const Columns close = choose_columns(runs, {"ln_N"});
  CHECK(close.names.empty());
  REQUIRE(close.dropped.size() == 1);
  CHECK(has(close.dropped[0].second, "under 2%"));
  runs[3].parameters = 55000;
  CHECK(choose_columns(runs, {"ln_N"}).names == std::vector<std::string>{"ln_N"});
}

TEST_CASE("columns: constant and collinear ones are dropped by name, unknown ones refused") {
  const auto runs = simulate(4, 1e8, 1, 0.08, 8);
  const EmergenceFit result = fit_emergence_time(runs, {});
  std::vector<std::string> dropped;
  for (const auto& [name, why] : result.columns.dropped) dropped.push_back(name);
  CHECK(std::ranges::count(dropped, "ln_N") == 1);
  CHECK(std::ranges::count(dropped, "ln_full_fraction") == 1);
  CHECK(std::ranges::count(result.columns.names, "ln_window^2") == 1);
  CHECK(std::ranges::any_of(result.fit.warnings, [](const auto& w) { return has(w, "column ln_N was dropped"); }));
  EmergenceOptions options;
  options.terms = {"ln_widow"};
  CHECK(has(message(runs, options), "unknown covariate 'ln_widow'"));
  options.terms = {"nope", "nope"};
  CHECK(has(message(runs, options), "given twice"));
  auto two = runs;  // an indicator that equals NoPE is a combination of it
  for (auto& run : two) run.x.indicators = {{"same", run.x.nope}};
  options.terms = {"nope", "same"};
  const Columns columns = fit_emergence_time(two, options).columns;
  REQUIRE(columns.dropped.size() == 1);
  CHECK(columns.dropped[0].first == "same");
  CHECK(has(columns.dropped[0].second, "combination"));
}

TEST_CASE("fits, profiles and bootstraps are the same bits on any number of threads") {
  const auto runs = testing::censoring_study(9, 0, 4e9);
  EmergenceOptions options = study_options();
  const EmergenceFit one = fit_emergence_time(runs, options);
  options.threads = 3;
  const EmergenceFit three = fit_emergence_time(runs, options);
  CHECK(to_json(one.fit) == to_json(three.fit));
  const Fit b1 = bootstrap_emergence_time(one, runs, 40, 5, 1), b3 = bootstrap_emergence_time(one, runs, 40, 5, 3);
  CHECK(b1.draws == b3.draws);
  CHECK(b1.draws.size() >= 36);
  CHECK(b1.parameter("ln_window").ci_low < one.fit.parameter("ln_window").estimate);
  CHECK(b1.parameter("ln_window").ci_high > one.fit.parameter("ln_window").estimate);
  CHECK(parameter_draws(one.fit, 5, 1) == parameter_draws(one.fit, 5, 1));
  CHECK(parameter_draws(one.fit, 5, 1) != parameter_draws(one.fit, 5, 2));
}

TEST_CASE("parameter draws have the fit's mean and covariance") {
  EmergenceOptions options = study_options();
  options.cure = false;
  const Fit fit = fit_emergence_time(testing::censoring_study(9, 1, 8e9), options).fit;
  constexpr int n = 20000;
  const auto draws = parameter_draws(fit, n, 3);
  const std::size_t p = fit.theta.size();
  for (std::size_t i = 0; i < p; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (const auto& d : draws) sum += (d[i] - fit.theta[i]) * (d[j] - fit.theta[j]) / n;
      const double scale = std::sqrt(fit.covariance[i * p + i] * fit.covariance[j * p + j]);
      CHECK(std::abs(sum - fit.covariance[i * p + j]) < 5 * scale * std::sqrt(2.0 / n));  // five standard errors
    }
  }
}

TEST_CASE("bad runs are named") {
  auto runs = simulate(3, 1e8, 1, 0.08, 8);
  const auto with = [&](auto change) {
    auto copy = runs;
    change(copy[4]);
    return message(copy);
  };
  const std::string name = "run of '" + runs[4].design + "' with seed " + std::to_string(runs[4].seed);
  CHECK(has(with([](auto& r) { r.d_before = std::nan(""); }), name + ": the tokens before its crossing are NaN"));
  CHECK(has(with([](auto& r) { r.d_before = -5; }), "D must be positive"));
  CHECK(has(with([](auto& r) { r.d_before = r.d_after; }), "not in order"));
  CHECK(has(with([](auto& r) {
              r.d_after = kInfinity;
              r.d_before = 0;
            }),
            "tokens of its last evaluation"));
  CHECK(has(with([](auto& r) { r.x.parameters = 0; }), name + ": N is 0"));
  CHECK(has(with([](auto& r) { r.x.full_fraction = 2; }), "full fraction is 2"));
  CHECK(has(with([&](auto& r) {
              r.seed = runs[3].seed;
              r.design = runs[3].design;
            }),
            "given twice"));
  CHECK(has(message({runs.begin(), runs.begin() + 3}), "3 runs for 3 parameters"));
  auto none = runs;
  for (auto& r : none) {
    r.d_after = kInfinity;
    r.d_before = r.d_max = 1e5;
  }
  CHECK(has(message(none), "none of the 18 runs emerged"));
  EmergenceOptions options;
  options.level = 1.5;
  CHECK(has(message(runs, options), "level is 1.5"));
}
