// What F3 may claim: interactions and cure terms are recovered with honest errors where the data hold them, and every
// reason not to claim a parameter (bound, flat profile, rival basins, runs too short, no convergence) is said in words
// and in JSON.
#include "fitting/identify.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fitting/dual2.hpp"
#include "fitting/likelihood.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

struct Truth {
  double window = 0.4, nope = -0.5, nope_window = 0.25, size = -0.35, window_size = 0.15, sigma = 0.25;
  double logit_pi = 1.2, logit_pi_nope = 0.9;
};

double log_d50(const Truth& truth, const DesignCovariates& x) {
  const double w = std::log(x.window / 64), size = std::log(x.parameters / 1e7);
  return std::log(1e9) + truth.window * w + truth.nope * x.nope + truth.nope_window * x.nope * w + truth.size * size +
         truth.window_size * w * size;
}

// Sizes 1e6 to 1e8, windows 16, 64, 256, NoPE 0 or 1; centres are 1e7 and 64. Evaluations every 2%.
std::vector<EmergenceRun> interacting(int seeds, double d_max, std::uint64_t seed, const Truth& truth = {}) {
  Stream stream(seed, 0);
  std::vector<EmergenceRun> runs;
  for (const double n : {1e6, 1e7, 1e8}) {
    for (const double window : {16.0, 64.0, 256.0}) {
      for (const double nope : {0.0, 1.0}) {
        for (int s = 0; s < seeds; ++s) {
          const bool can = stream.uniform() < sigmoid(truth.logit_pi + truth.logit_pi_nope * nope);
          const double log_time = log_d50(truth, {n, window, 0.5, nope, 0, {}}) + truth.sigma * stream.normal();
          EmergenceRun run{std::to_string(n) + "/" + std::to_string(window) + "/" + std::to_string(nope),
                           s,
                           {n, window, 0.5, nope, 0, {}},
                           d_max,
                           kInfinity,
                           d_max};
          if (can && log_time < std::log(d_max)) {
            const double cell = std::floor(log_time / 0.02);
            run.d_before = std::exp(0.02 * cell);
            run.d_after = run.d_max = std::exp(0.02 * (cell + 1));
          }
          runs.push_back(run);
        }
      }
    }
  }
  return runs;
}

EmergenceOptions interactions() {
  EmergenceOptions options;
  options.terms = {"ln_N", "ln_window", "nope", "nope*ln_window", "ln_window*ln_N"};
  return options;
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
double sd_of(const Fit& fit, const std::string& coordinate) {
  const auto p = fit.coordinates.size();
  const auto j = static_cast<std::size_t>(std::ranges::find(fit.coordinates, coordinate) - fit.coordinates.begin());
  return std::sqrt(fit.covariance.at(j * p + j));
}
nlohmann::json parameter_json(const Fit& fit, const std::string& name) {
  const auto json = nlohmann::json::parse(to_json(fit));
  for (const auto& p : json["parameters"]) {
    if (p["name"] == name) return p;
  }
  return {};
}

// Two wells in x, as deep as each other but for `tilt`; y is plain.
class DoubleWell final : public Objective {
 public:
  explicit DoubleWell(double tilt) : tilt_(tilt) {}
  [[nodiscard]] int size() const override { return 2; }
  [[nodiscard]] double value(const Vector& t) const override {
    const double x = t[0] * t[0] - 1;
    return 50 * x * x + tilt_ * t[0] + 50 * (t[1] - 3) * (t[1] - 3);
  }
  double derivatives(const Vector& t, Vector& g, Matrix& h) const override {
    g = Vector(2);
    g << 200 * t[0] * (t[0] * t[0] - 1) + tilt_, 100 * (t[1] - 3);
    h = Matrix::Zero(2, 2);
    h(0, 0) = 200 * (3 * t[0] * t[0] - 1);
    h(1, 1) = 100;
    return value(t);
  }
  [[nodiscard]] Matrix term_gradients(const Vector& t) const override {
    Vector g;
    Matrix h;
    derivatives(t, g, h);
    return g.transpose().replicate(10, 1) / 10;
  }

 private:
  double tilt_;
};

Fit fit_well(double tilt) {
  Fit fit;
  const Box box{Vector::Constant(2, -10), Vector::Constant(2, 10)};
  (void)fit_likelihood(fit, DoubleWell(tilt), box, {Vector::Constant(2, -1.1), Vector::Constant(2, 1.2)}, {"x", "y"},
                       {{"x", 0}, {"y", 1}}, 10, 8, {});
  return fit;
}

}  // namespace

TEST_CASE("interactions are recovered: every coefficient within 4 standard errors, none of them wide") {
  const Truth truth{.logit_pi = 40};
  const Fit fit = fit_emergence_time(interacting(40, 1e12, 51, truth), interactions()).fit;
  REQUIRE(fit.converged);
  const std::pair<const char*, double> wanted[] = {
      {"intercept", std::log(1e9)},          {"ln_window", truth.window}, {"nope", truth.nope},
      {"nope*ln_window", truth.nope_window}, {"ln_N", truth.size},        {"ln_window*ln_N", truth.window_size},
      {"ln_sigma", std::log(truth.sigma)}};
  for (const auto& [name, value] : wanted) {
    const auto j = std::ranges::find(fit.coordinates, name) - fit.coordinates.begin();
    const double sd = sd_of(fit, name);
    INFO(name << " " << fit.theta[j] << " +- " << sd);
    CHECK(std::abs(fit.theta[j] - value) < 4 * sd);
    CHECK(sd < 0.03);
    CHECK((name == std::string("ln_sigma") || fit.parameter(name).identified));
  }
}

TEST_CASE("an interaction changes D50 where both its covariates are, and leaving it out shows") {
  const Truth truth{.logit_pi = 40};
  const auto runs = interacting(10, 1e12, 52, truth);
  const EmergenceFit fit = fit_emergence_time(runs, interactions());
  const auto d50 = [&](const EmergenceFit& of, double n, double window, double nope) {
    return std::log(predict_d50(of, {n, window, 0.5, nope, 0, {}}).estimate);
  };
  const double with = d50(fit, 1e8, 256, 1) - d50(fit, 1e8, 16, 1),
               without = d50(fit, 1e6, 256, 0) - d50(fit, 1e6, 16, 0);
  const double span = std::log(16.0), size = std::log(10.0);
  CHECK(with == Approx(span * (truth.window + truth.nope_window + truth.window_size * size)).margin(0.12));
  CHECK(without == Approx(span * (truth.window - truth.window_size * size)).margin(0.12));  // 4 sd or so
  EmergenceOptions plain = interactions();
  plain.terms = {"ln_N", "ln_window", "nope"};
  const EmergenceFit missing = fit_emergence_time(runs, plain);
  CHECK(missing.fit.log_likelihood < fit.fit.log_likelihood - 50);
  CHECK(std::abs(d50(missing, 1e8, 256, 1) - d50(missing, 1e8, 16, 1) - with) > 0.5);
}

TEST_CASE("cure terms: the chance of ever emerging, as a function of the design, within 4 standard errors") {
  const Truth truth;
  EmergenceOptions options = interactions();
  options.cure_terms = {"nope"};
  const EmergenceFit result = fit_emergence_time(interacting(60, 1e12, 53), options);
  const Fit& fit = result.fit;
  REQUIRE(fit.converged);
  CHECK(result.longest_ratio > 3);
  for (const auto& [name, value] : {std::pair{"pi:intercept", truth.logit_pi}, {"pi:nope", truth.logit_pi_nope}}) {
    INFO(name << " " << fit.parameter(name).estimate << " +- " << sd_of(fit, name));
    CHECK(std::abs(fit.parameter(name).estimate - value) < 4 * sd_of(fit, name));
    CHECK(sd_of(fit, name) < 0.25);
    CHECK(fit.parameter(name).identified);
    CHECK(fit.parameter(name).ci_low < value);
    CHECK(fit.parameter(name).ci_high > value);
  }
  const auto pi = [&](double nope) { return predict_d50(result, {1e7, 64, 0.5, nope, 0, {}}).pi; };
  CHECK(pi(0) == Approx(sigmoid(truth.logit_pi)).margin(0.06));  // 540 runs: sd .018
  CHECK(pi(1) == Approx(sigmoid(truth.logit_pi + truth.logit_pi_nope)).margin(0.06));
  CHECK(std::abs(fit.parameter("ln_window").estimate - truth.window) < 4 * sd_of(fit, "ln_window"));
  // An unknown cure term is refused like any other; cure terms without a cure fraction too.
  options.cure_terms = {"hope"};
  CHECK_THROWS_WITH(fit_emergence_time(interacting(3, 1e12, 53), options), Catch::Contains("unknown covariate 'hope'"));
}

TEST_CASE("on a bound: said in words and in JSON, and the others stay identified") {
  const Fit fit = fit_emergence_time(interacting(4, 1e12, 54, {.logit_pi = 40}), interactions()).fit;
  const auto pi = parameter_json(fit, "pi");
  CHECK(pi["identified"] == false);
  CHECK(has(pi["why"], "on its upper bound"));
  CHECK(has(pi["why"], "every run emerged"));
  CHECK(parameter_json(fit, "ln_window")["identified"] == true);
  CHECK(parameter_json(fit, "ln_window")["why"] == "");
  CHECK(nlohmann::json::parse(to_json(fit))["identified"] == false);
  CHECK(has(to_text(fit), "not identified: on its upper bound"));
}

TEST_CASE("flat profile: a design that never emerged sets no upper limit; the JSON end is null") {
  auto runs = interacting(4, 1e12, 55, {.logit_pi = 40});
  for (auto& run : runs) {
    if (run.x.window != 256 || run.x.nope != 1) continue;
    run.d_before = run.d_max = 2e9;
    run.d_after = kInfinity;
    run.x.indicators = {{"gdn", 1.0}};
  }
  EmergenceOptions options = interactions();
  options.terms.push_back("gdn");
  const Fit fit = fit_emergence_time(runs, options).fit;
  REQUIRE(fit.converged);
  const auto gdn = parameter_json(fit, "gdn");
  CHECK(gdn["identified"] == false);
  CHECK(has(gdn["why"], "its profile is flat above: the data set no upper limit"));
  CHECK(gdn["ci90"][1].is_null());
  CHECK(gdn["ci90"][0].is_number());
  options.sandwich = true;  // the quick answer has no profile: it must see that there is no curvature
  const Fit quick = fit_emergence_time(runs, options).fit;
  CHECK_FALSE(quick.parameter("gdn").identified);
  CHECK(has(quick.parameter("gdn").why, "no curvature"));
  CHECK(std::isnan(quick.parameter("gdn").standard_error));
  CHECK(std::isinf(quick.parameter("gdn").ci_high));
  CHECK(quick.parameter("ln_window").standard_error < 0.1);
}

TEST_CASE("runs too short: late and never look alike, until runs are long") {
  const Truth truth{.logit_pi = 40};
  auto runs = interacting(6, 1e12, 57, truth);
  for (auto& run : runs) {  // unfinished where they took longer than 1.3 D50: about one in seven
    const double end = 1.3 * std::exp(log_d50(truth, run.x));
    if (run.d_before < end) continue;
    run.d_before = run.d_max = end;
    run.d_after = kInfinity;
  }
  const EmergenceFit brief = fit_emergence_time(runs, interactions());
  CHECK(brief.longest_ratio > 1);
  CHECK(brief.longest_ratio < 2);
  const auto pi = parameter_json(brief.fit, "pi");
  CHECK(pi["identified"] == false);
  CHECK(has(pi["why"], "D50, under 3: late and never look alike"));
  CHECK(brief.fit.parameter("ln_window").identified);
  const EmergenceFit longer = fit_emergence_time(interacting(6, 1e12, 57), interactions());
  CHECK(longer.longest_ratio > 3);
  CHECK(parameter_json(longer.fit, "pi")["identified"] == true);
}

TEST_CASE("rival basins: two wells of equal likelihood are named, with the other's value; one deeper well is not") {
  const Fit equal = fit_well(0.01);  // .02 apart in log-likelihood
  REQUIRE(equal.converged);
  const auto x = parameter_json(equal, "x");
  CHECK(x["identified"] == false);
  CHECK(has(x["why"], "another basin of equal likelihood has 1"));
  CHECK(x["estimate"].get<double>() == Approx(-1).margin(1e-3));
  CHECK(parameter_json(equal, "y")["identified"] == true);  // the same in both wells
  const Fit deeper = fit_well(3);                           // 6 apart
  CHECK(deeper.parameter("x").identified);
  CHECK(deeper.starts_agreeing == 1);
  CHECK(std::ranges::any_of(deeper.warnings, [](const auto& w) { return has(w, "only one of 2 starts"); }));
}
