// F1: derivatives, recovery on simulated curves, agreement with F3, errors. The integral: test_run_integral.cpp.
#include <chrono>
#include <cmath>

#include "fitting/distributions.hpp"
#include "fitting/laws/emergence_curve.hpp"
#include "fitting/likelihood.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

constexpr double kWindowEffect = 0.4, kNope = -0.5, kSigma = 0.25, kSteepness = 6, kPhi = 60;

// A binomial count with a mean that is itself spread as a beta of precision phi (normal approximation, cut to (0, 1)).
double noisy(double mean, double n, Stream& stream) {
  const double p = std::clamp(mean + std::sqrt(mean * (1 - mean) / (kPhi + 1)) * stream.normal(), 0.001, 0.999);
  double hits = 0;
  for (int i = 0; i < n; ++i) hits += stream.uniform() < p;
  return hits / n;
}

std::vector<CurveRun> simulate(int seeds, double d_max, double growth, std::uint64_t seed) {
  std::vector<CurveRun> runs;
  std::uint64_t index = 0;
  for (const double w : {4.0, 16.0, 64.0}) {
    for (const int nope : {0, 1}) {
      for (int s = 0; s < seeds; ++s) {
        Stream stream(seed, index++);
        CurveRun run;
        run.design = std::to_string(w) + "/" + std::to_string(nope);
        run.seed = s;
        run.x = {1e5, w, 0.5, static_cast<double>(nope), 0, {}};
        const double log_d50 =
            std::log(3e5) + kWindowEffect * std::log(w / 16) + kNope * nope + kSigma * stream.normal();
        for (double d = 3e4; d < d_max; d *= growth) {
          run.tokens.push_back(d);
          run.accuracy.push_back(noisy(0.05 + 0.9 * sigmoid(kSteepness * (std::log(d) - log_d50)), 128, stream));
          run.count.push_back(128);
        }
        runs.push_back(std::move(run));
      }
    }
  }
  return runs;
}

EmergenceCurveTerms terms_of(const std::vector<CurveRun>& runs) {
  EmergenceCurveData data;
  for (const auto& run : runs) {
    data.log_tokens.emplace_back();
    data.successes.emplace_back();
    for (std::size_t j = 0; j < run.tokens.size(); ++j) {
      data.log_tokens.back().push_back(std::log(run.tokens[j]));
      data.successes.back().push_back(run.accuracy[j] * run.count[j]);
    }
    data.counts.push_back(run.count);
    data.mu.push_back({std::log(run.x.window / 16)});
  }
  data.mu_names = {"ln_window"};
  return EmergenceCurveTerms(data);
}

std::string message(const std::vector<CurveRun>& runs) {
  try {
    (void)fit_emergence_curve(runs);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the beta-binomial is a distribution: it sums to one with the right mean and variance") {
  const double n = 20, m = 0.3, phi = 5;
  double total = 0, mean = 0, square = 0;
  for (int s = 0; s <= 20; ++s) {
    const double choose = log_gamma(n + 1) - log_gamma(s + 1) - log_gamma(n - s + 1);
    const double p = std::exp(choose + log_beta_binomial(s, n, m, phi));
    total += p;
    mean += p * s;
    square += p * s * s;
  }
  CHECK(total == Approx(1).epsilon(1e-12));
  CHECK(mean == Approx(n * m).epsilon(1e-12));
  CHECK(square - mean * mean == Approx(n * m * (1 - m) * (1 + (n - 1) / (phi + 1))).epsilon(1e-11));
}

TEST_CASE("F1 recovers simulated curves and agrees with F3 on D50 within the intervals") {
  const auto curves = simulate(4, 2.5e6, 1.2, 12);
  EmergenceOptions options;
  options.terms = {"ln_window", "nope"};
  options.level = 0.99;
  options.profile = {"ln_window", "sigma"};
  const EmergenceFit f1 = fit_emergence_curve(curves, options);
  CHECK(f1.fit.converged);
  CHECK(f1.fit.starts_agreeing >= 3);
  const Parameter& window = f1.fit.parameter("ln_window");
  CHECK(window.ci_low < kWindowEffect);
  CHECK(window.ci_high > kWindowEffect);
  CHECK(f1.fit.parameter("sigma").ci_low < kSigma);
  CHECK(f1.fit.parameter("sigma").ci_high > kSigma);
  CHECK(std::isnan(f1.fit.parameter("nope").ci_low));  // not asked for
  CHECK(f1.fit.parameter("c0").estimate == Approx(0.05).margin(0.02));
  CHECK(f1.fit.parameter("A").estimate == Approx(0.95).margin(0.02));
  CHECK(f1.fit.parameter("k").estimate == Approx(kSteepness).epsilon(0.1));
  CHECK(f1.fit.parameter("A").identified);

  std::vector<EmergenceRun> runs;
  for (const auto& c : curves) {
    const Crossing at = crossing_of(c.tokens, c.accuracy, 0.5);
    runs.push_back({c.design, c.seed, c.x, at.d_before, at.d_after, at.d_max});
  }
  const EmergenceFit f3 = fit_emergence_time(runs, options);
  for (const double w : {4.0, 16.0, 32.0, 64.0}) {
    const D50 a = predict_d50(f1, {1e5, w, 0.5, 1, 0, {}}), b = predict_d50(f3, {1e5, w, 0.5, 1, 0, {}});
    INFO("window " << w << ": " << a.estimate << " and " << b.estimate);
    CHECK(b.ci_low < a.estimate);
    CHECK(a.estimate < b.ci_high);
  }
}

namespace {

constexpr double kDemoWindow = 0.35, kDemoNope = -0.45, kDemoSigma = 0.15;

// Curves as small models on recall give them: 7 designs x 3 seeds, evaluated every 8% of tokens, a rise of three or
// four evaluations (k 30), 140 positions with a beta's extra spread, and one design whose runs end before they rise.
std::vector<CurveRun> steep_runs(std::uint64_t seed) {
  std::vector<CurveRun> runs;
  for (int design = 0; design < 7; ++design) {
    for (int s = 0; s < 3; ++s) {
      Stream stream(seed, static_cast<std::uint64_t>(3 * design + s));
      CurveRun run;
      const double window = std::pow(4.0, design % 4), nope = design >= 4 ? 1 : 0;
      run.design = std::to_string(design);
      run.seed = s;
      run.x = {1e5, window, 0.5, nope, 0, {}};
      const double log_d50 =
          std::log(4e5) + kDemoWindow * std::log(window / 8) + kDemoNope * nope + kDemoSigma * stream.normal();
      double d = 1e5;
      const double last = design == 3 ? 0.6 * std::exp(log_d50) : 1.35 * std::exp(log_d50);
      for (; d < last || run.tokens.size() < 3; d *= 1.08) {
        const double mean = 0.06 + 0.93 * sigmoid(30 * (std::log(d) - log_d50));
        run.tokens.push_back(d);
        run.accuracy.push_back(noisy(mean, 140, stream));
        run.count.push_back(140);
      }
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

}  // namespace

TEST_CASE(
    "F1's gradient and Hessian hold everywhere: at every start, at the truth, far off, and on curves steeper still") {
  const EmergenceCurveTerms law = terms_of(steep_runs(3));
  const LawObjective<EmergenceCurveTerms> objective(law);
  std::vector<Vector> places = law.starts();
  for (const double k : {3.0, 30.0, 60.0, 120.0}) {
    Vector theta = places.front();
    theta.tail(5) << 0.06, 0.99, std::log(k), std::log(0.35), std::log(kPhi);
    places.push_back(theta);
    theta[0] += 1.5;  // runs are thought to rise at 4.5 times the tokens
    places.push_back(theta);
    theta.tail(3) << std::log(k), std::log(0.05), std::log(1000.0);
    places.push_back(theta);
  }
  for (const Vector& theta : places) {
    // A step of 3e-6 |theta|, 5e-3 of the width of a curve with k 120: truncation stays below 1e-5, rounding below
    // 1e-6.
    const auto error = testing::check_derivatives(objective, theta, 3e-6);
    INFO("theta " << theta.transpose());
    CHECK(error.gradient < 1e-4);
    CHECK(error.hessian < 1e-3);
    CHECK(error.value < 1e-14);
  }
}

TEST_CASE("F1 converges on steep curves with runs that never rise, and agrees with the truth and with F3") {
  for (const std::uint64_t seed : {1, 2}) {
    INFO("seed " << seed);
    const auto curves = steep_runs(seed);
    EmergenceOptions options;
    options.terms = {"ln_window", "nope"};
    options.level = 0.99;
    options.profile = {"ln_window", "nope"};
    options.threads = 2;
    const auto begin = std::chrono::steady_clock::now();
    const EmergenceFit f1 = fit_emergence_curve(curves, options);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    CHECK(took.count() < 5);  // about 0.5 s; it once took minutes
    INFO(to_text(f1.fit));
    REQUIRE(f1.fit.converged);
    CHECK(f1.fit.starts_agreeing == f1.fit.starts);  // it once was 1 of 3: derivatives were not those of the value
    const Parameter &window = f1.fit.parameter("ln_window"), &nope = f1.fit.parameter("nope");
    CHECK(window.ci_low < kDemoWindow);
    CHECK(window.ci_high > kDemoWindow);
    CHECK(nope.ci_low < kDemoNope);
    CHECK(nope.ci_high > kDemoNope);
    CHECK(window.ci_high - window.ci_low < 0.5);  // the interval says something
    CHECK(f1.fit.parameter("k").estimate == Approx(30).epsilon(0.25));

    std::vector<EmergenceRun> runs;
    for (const auto& c : curves) {
      const Crossing at = crossing_of(c.tokens, c.accuracy, 0.5);
      runs.push_back({c.design, c.seed, c.x, at.d_before, at.d_after, at.d_max});
    }
    options.cure = false;
    const EmergenceFit f3 = fit_emergence_time(runs, options);
    for (const auto& run : curves) {
      const D50 a = predict_d50(f1, run.x), b = predict_d50(f3, run.x);
      INFO("design " << run.design << ": " << a.estimate << " and " << b.estimate);
      CHECK(b.ci_low < a.estimate);
      CHECK(a.estimate < b.ci_high);
    }
  }
}

TEST_CASE("profile intervals of D50 under F1 hold the truth, agree with the delta method, and end where data end") {
  const auto curves = steep_runs(4);
  EmergenceOptions options;
  options.terms = {"ln_window", "nope"};
  options.intervals = false;
  const EmergenceFit f1 = fit_emergence_curve(curves, options);
  const std::vector<DesignCovariates> designs{curves[0].x, curves[9].x, {1e5, 20, 0.5, 0.5, 0, {}}};
  const auto profiles = profile_d50(f1, curves, designs, 2);
  for (std::size_t i = 0; i < designs.size(); ++i) {
    const D50 delta = predict_d50(f1, designs[i]);
    INFO("design " << i << ": " << profiles[i].ci_low << " " << delta.estimate << " " << profiles[i].ci_high);
    CHECK(profiles[i].estimate == delta.estimate);
    CHECK(profiles[i].ci_low < delta.estimate);
    CHECK(profiles[i].ci_high > delta.estimate);
    // 18 runs rose: the two differ by skewness alone, a fraction of their width.
    const double width = std::log(delta.ci_high / delta.ci_low);
    CHECK(std::log(profiles[i].ci_low / delta.ci_low) == Approx(0).margin(0.3 * width));
    CHECK(std::log(profiles[i].ci_high / delta.ci_high) == Approx(0).margin(0.3 * width));
  }
  CHECK(profiles[1].ci_high / profiles[1].ci_low > profiles[0].ci_high / profiles[0].ci_low);  // 9: never seen to rise
  const auto alone = profile_d50(f1, curves, designs, 1);
  for (std::size_t i = 0; i < designs.size(); ++i) CHECK(alone[i].ci_high == profiles[i].ci_high);  // any threads
  CHECK_THROWS_AS(profile_d50(f1, std::vector<EmergenceRun>{}, designs), InputError);
}

TEST_CASE("F1: a fit that did not converge claims no intervals") {
  // One evaluation allowed: whatever the data, the solver cannot arrive.
  const auto runs = simulate(2, 2e6, 1.3, 4);
  const EmergenceCurveTerms law = terms_of(runs);
  const LawObjective<EmergenceCurveTerms> objective(law);
  Fit fit;
  LikelihoodOptions options;
  options.solver.max_evaluations = 1;
  (void)fit_likelihood(fit, objective, box_of(law.coordinates()), {law.starts().back()},
                       {"a", "b", "c", "d", "e", "f", "g"}, {{"c0", 2, false, 0, 1}}, law.terms(), 5, options);
  CHECK_FALSE(fit.converged);
  CHECK(std::isnan(fit.parameter("c0").ci_low));
  CHECK_FALSE(fit.parameter("c0").identified);
  CHECK(has(fit.parameter("c0").why, "did not converge"));
  CHECK(fit.interval_method == "none");
}

TEST_CASE("F1: short runs do not identify the plateau") {
  EmergenceOptions options;
  options.terms = {"ln_window", "nope"};
  options.intervals = false;
  const EmergenceFit f1 = fit_emergence_curve(simulate(2, 3e5, 1.3, 12), options);
  CHECK(f1.longest_ratio < 3);
  CHECK_FALSE(f1.fit.parameter("A").identified);
  CHECK(has(f1.fit.parameter("A").why, "no plateau"));
}

TEST_CASE("F1: bad curves are named") {
  auto runs = simulate(2, 2e6, 1.5, 4);
  const auto with = [&](auto change) {
    auto copy = runs;
    change(copy[3]);
    return message(copy);
  };
  CHECK(has(with([](auto& r) { r.accuracy[2] = std::nan(""); }), "evaluation 3: accuracy must lie in [0, 1]"));
  CHECK(has(with([](auto& r) { r.tokens[0] = 0; }), "evaluation 1: D must be positive"));
  CHECK(has(with([](auto& r) { r.tokens[2] = r.tokens[1]; }), "evaluation 3: D must ascend"));
  CHECK(has(with([](auto& r) { r.count.pop_back(); }), "of equal length"));
  CHECK(has(with([](auto& r) { r.count[0] = -1; }), "count must be positive"));
  CHECK(has(message({runs[0], runs[2]}), "2 runs for"));
  CHECK(has(message({runs[0], runs[0]}), "given twice"));
}
