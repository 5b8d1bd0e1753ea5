// The integral of F1 over a run's effect: value against brute force, derivatives against finite differences, for every
// kind of run (risen, never, at once, an unlucky last evaluation, disordered), steepness, spread, count and precision.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "fitting/laws/run_integral.hpp"
#include "fitting/random.hpp"
#include "tests/catch.hpp"

using namespace hylas::fitting;

namespace {

enum class Kind { risen, never, at_once, unlucky_last, disordered };

struct Case {
  double k, sigma, n, phi, offset;
  Kind kind;
};

double mean_of(const Case& c, int e, double t) {
  if (c.kind == Kind::at_once) return 0.97;
  if (c.kind == Kind::unlucky_last && e == 19) return 0.6;
  if (c.kind == Kind::disordered) return e % 4 == 3 ? 0.5 : 0.1;
  return c.kind == Kind::risen ? 0.05 + 0.9 * sigmoid(0.8 * c.k * t) : 0.05;
}

// Twenty evaluations around ln D = 13, not quite of the law's own shape.
RunPoints points_of(const Case& c, std::uint64_t index) {
  Stream stream(9, index);
  std::vector<double> log_d, hits, counts;
  for (int e = 0; e < 20; ++e) {
    log_d.push_back(12 + (c.k < 10 ? 0.154 : 0.077) * e);
    const double m = mean_of(c, e, log_d.back() - 13);
    const double spread = std::sqrt(m * (1 - m) * (1 / c.n + 1 / c.phi));
    hits.push_back(std::round(c.n * std::clamp(m + 0.5 * spread * stream.normal(), 0.0, 1.0)));
    counts.push_back(c.n);
  }
  return {log_d, hits, counts};
}

// Equal steps, far finer than anything in the integrand, wherever the prior or the evaluations reach.
double brute_force(const RunPoints& run, const PanelRule& rule, const double* x) {
  const double k = std::exp(x[3]), sigma = std::exp(x[4]), phi = std::exp(x[5]), margin = 40 / k + 3 * sigma;
  const double low = std::min(x[0] - 7.5 * sigma, run.log_d.front() - margin);
  const double high = std::max(x[0] + 7.5 * sigma, run.log_d.back() + margin);
  const double h = std::min(sigma / 30, 1 / k / 30);
  const double constant = -x[4] - 0.5 * std::log(2 * std::numbers::pi);
  std::vector<double> logs;
  for (double v = low; v < high; v += h * kBatch) {
    const Batch at = v + h * rule.steps;
    Batch sum = constant - 0.5 * ((at - x[0]) / sigma).square();
    for (std::size_t j = 0; j < run.log_d.size(); ++j) {
      const Batch m = 1e-6 + (1 - 2e-6) * (x[1] + (x[2] - x[1]) / (1 + (-k * (run.log_d[j] - at)).exp()));
      const double n = run.counts[j], offset = run.log_choose[j] - (log_gamma(n + phi) - log_gamma(phi));
      sum += log_beta_binomial(run.successes[j], run.misses[j], m, phi, offset);
    }
    logs.insert(logs.end(), sum.begin(), sum.end());
  }
  const double top = *std::max_element(logs.begin(), logs.end());
  double total = 0;
  for (const double value : logs) total += std::exp(value - top);
  return -(std::log(total * h) + top);
}

// Errors against central differences of fourth order, in units of the run (mu in the narrower of sigma and 1 / k),
// relative to one more than the largest entry.
struct Errors {
  double gradient = 0, hessian = 0;
};
Errors derivative_errors(const RunPoints& run, const PanelRule& rule, const double* x) {
  const double narrow = std::min(std::exp(x[4]), std::exp(-x[3]));
  const double unit[6] = {narrow, 1, 1, 1, 1, 1}, step[6] = {2e-3 * narrow, 1e-5, 1e-5, 2e-4, 2e-4, 2e-4};
  const Dual2<6> here = RunIntegral(run, rule, x).negative_log_with_derivatives();
  Errors error;
  double gradient = 1, hessian = 1;
  for (int a = 0; a < 6; ++a) {
    const auto at = [&](double steps) {
      double y[6];
      std::copy(x, x + 6, y);
      y[a] += steps * step[a];
      return RunIntegral(run, rule, y).negative_log_with_derivatives();
    };
    const Dual2<6> p[4] = {at(-2), at(-1), at(1), at(2)};
    const auto slope = [&](auto of) { return (of(p[0]) - 8 * of(p[1]) + 8 * of(p[2]) - of(p[3])) / (12 * step[a]); };
    const double value_slope = slope([](const Dual2<6>& d) { return d.v; });
    error.gradient = std::max(error.gradient, std::abs(value_slope - here.g[a]) * unit[a]);
    gradient = std::max(gradient, std::abs(here.g[a]) * unit[a]);
    for (int b = 0; b <= a; ++b) {
      const double exact = here.h[a * (a + 1) / 2 + b];
      const double by_difference = slope([b](const Dual2<6>& d) { return d.g[b]; });
      error.hessian = std::max(error.hessian, std::abs(by_difference - exact) * unit[a] * unit[b]);
      hessian = std::max(hessian, std::abs(exact) * unit[a] * unit[b]);
    }
  }
  return {error.gradient / gradient, error.hessian / hessian};
}

}  // namespace

TEST_CASE("Gauss-Legendre nodes integrate polynomials of degree 2n - 1 exactly") {
  const QuadratureRule rule = gauss_legendre(7);
  for (int power = 0; power < 14; ++power) {
    double sum = 0;
    for (int i = 0; i < 7; ++i) sum += rule.weights[i] * std::pow(rule.nodes[i], power);
    const double exact = power % 2 == 1 ? 0 : 2.0 / (power + 1);
    CHECK(sum == Approx(exact).epsilon(1e-12).margin(1e-13));  // rounding of terms below 1
  }
}

TEST_CASE("the batched beta-binomial equals the one by log-gammas, whole or broken counts, small or large precision") {
  for (const double phi : {0.3, 8.0, 250.0, 1e5}) {
    for (const double s : {0.0, 1.0, 7.0, 12.0, 13.0, 100.0, 0.25, 61.5}) {
      for (const double misses : {0.0, 3.0, 128.0, 5000.0, 0.75}) {
        Batch m;
        for (int q = 0; q < kBatch; ++q) m[q] = 1e-6 + (1 - 2e-6) * q / (kBatch - 1);
        const Batch lanes =
            log_beta_binomial(Batch(Batch::Constant(s)), Batch(Batch::Constant(misses)), m, phi, Batch(Batch::Zero()));
        const Batch at_once = log_beta_binomial(s, misses, m, phi, 0.0);
        for (int q = 0; q < kBatch; ++q) {
          const auto rise = [](double by, double from) { return log_gamma(by + from) - log_gamma(from); };
          const double exact = rise(s, m[q] * phi) + rise(misses, (1 - m[q]) * phi);
          INFO("phi " << phi << ", s " << s << ", misses " << misses << ", m " << m[q]);
          // Differences of ln Gamma(phi), up to 1e6: 1e-16 of that.
          CHECK(at_once[q] == Approx(exact).epsilon(1e-11).margin(3e-9));
          CHECK(lanes[q] == Approx(at_once[q]).epsilon(1e-11).margin(1e-9));
        }
      }
    }
  }
}

TEST_CASE("the integral over a run's effect is exact to 1e-8 for every kind of run, and so are its derivatives") {
  const PanelRule rule;
  double worst = 0, gradient = 0, hessian = 0;
  std::uint64_t index = 0;
  for (const double k : {3.0, 30.0, 60.0, 120.0}) {
    for (const double sigma : {0.05, 0.4}) {
      for (const auto& [n, phi] : {std::pair{20.0, 3.0}, {140.0, 60.0}, {1000.0, 1000.0}}) {
        for (const Kind kind : {Kind::risen, Kind::never, Kind::at_once, Kind::unlucky_last, Kind::disordered}) {
          for (const double offset : {0.0, 1.5}) {  // of the prior from where the curves rise
            const Case c{k, sigma, n, phi, offset, kind};
            const RunPoints run = points_of(c, index++);
            const double x[6] = {13 + offset * sigma, 0.06, 0.96, std::log(k), std::log(sigma), std::log(phi)};
            const double value = RunIntegral(run, rule, x).negative_log();
            const Errors errors = derivative_errors(run, rule, x);
            INFO("k " << k << ", sigma " << sigma << ", n " << n << ", kind " << static_cast<int>(kind) << ", offset "
                      << offset);
            const double error = std::abs(value - brute_force(run, rule, x));
            CHECK(error < 1e-8);
            CHECK(errors.gradient < 1e-6);  // differences: truncation about 1e-9, rounding of 1e3 about 1e-7
            CHECK(errors.hessian < 1e-5);
            worst = std::max(worst, error);
            gradient = std::max(gradient, errors.gradient);
            hessian = std::max(hessian, errors.hessian);
          }
        }
      }
    }
  }
  INFO("worst: value " << worst << ", gradient " << gradient << ", Hessian " << hessian);
  CHECK(index == 240);
}

TEST_CASE("values and derivatives of the integral come from the same nodes") {
  const PanelRule rule;
  const Case c{30, 0.3, 140, 60, 0, Kind::never};
  const RunPoints run = points_of(c, 1);
  const double x[6] = {13, 0.06, 0.96, std::log(30.0), std::log(0.3), std::log(60.0)};
  const RunIntegral integral(run, rule, x);
  CHECK(integral.negative_log() == integral.negative_log_with_derivatives().v);
}
