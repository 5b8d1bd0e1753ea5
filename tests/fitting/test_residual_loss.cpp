// Residual losses: they are negative log-densities (unit mass, draws that follow them, scales of greatest likelihood),
// L1 and least squares give their known answers, and intervals of every kind cover.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>

#include "fitting/laws/emergence_time.hpp"
#include "fitting/loss.hpp"
#include "fitting/parallel.hpp"
#include "fitting/residual_loss.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

using Kind = ResidualLoss::Kind;

double density(const ResidualLoss& loss, double s, double r) {
  return std::exp(loss.log_likelihood(loss.rho(r), 1, s));
}

LossData grid(double noise, std::uint64_t repetition, bool heavy) {
  Stream stream(77, repetition);
  LossData data;
  for (const double n : {1e7, 3e7, 1e8, 3e8, 1e9, 3e9}) {
    for (const double d : {2e8, 1e9, 5e9, 2e10, 8e10, 3e11}) {
      const double tail = heavy && stream.uniform() < 0.15 ? 6 : 1;
      data.columns["N"].push_back(n);
      data.columns["D"].push_back(d);
      data.loss.push_back((1.69 + 406.4 * std::pow(n, -0.34) + 410.7 * std::pow(d, -0.28)) *
                          std::exp(tail * noise * stream.normal()));
    }
  }
  return data;
}

}  // namespace

TEST_CASE("residual losses: densities have mass one, and draws follow them") {
  for (const ResidualLoss loss :
       {ResidualLoss{Kind::huber, 1e-3}, {Kind::huber, 0.02}, {Kind::l1, 1}, {Kind::squares, 1}}) {
    for (const double s : {3e-4, 5e-3}) {
      INFO(static_cast<int>(loss.kind) << " delta " << loss.delta << " s " << s);
      const double wide = 60 * std::max(s, s * s / loss.delta);
      const int steps = 200'000;
      double mass = 0, below = 0, at = 0.7 * s;
      for (int i = 0; i < steps; ++i) {
        const double r = wide * (2 * (i + 0.5) / steps - 1), p = density(loss, s, r) * 2 * wide / steps;
        mass += p;
        if (r < at) below += p;
      }
      CHECK(mass == Approx(1).epsilon(2e-3));  // l1's cusp and stand-in on a grid
      Stream stream(5, 1);
      int count = 0;
      const int draws = 40'000;
      for (int i = 0; i < draws; ++i) count += loss.draw(s, stream) < at;
      CHECK(count / static_cast<double>(draws) == Approx(below).margin(0.01));  // 4 standard errors
    }
  }
}

TEST_CASE("residual losses: the fitted scale is where the likelihood is greatest") {
  for (const ResidualLoss loss : {ResidualLoss{Kind::huber, 1e-3}, {Kind::l1, 1}, {Kind::squares, 1}}) {
    const double sum = loss.kind == Kind::huber ? 0.002 : 0.8, s = loss.fitted_scale(sum, 200);
    const double best = loss.log_likelihood(sum, 200, s);
    CHECK(best > loss.log_likelihood(sum, 200, 1.001 * s));
    CHECK(best > loss.log_likelihood(sum, 200, 0.999 * s));
  }
  CHECK(ResidualLoss{Kind::squares, 1}.fitted_scale(0.5 * 200 * 0.01, 200) == Approx(0.1));
  CHECK(ResidualLoss{Kind::l1, 1}.fitted_scale(200 * 0.03, 200) == Approx(0.03));
}

TEST_CASE("an L1 fit shrugs off outliers, leaves as many residuals at zero as it has parameters; squares do not") {
  LossData data = grid(0.002, 1, false);
  for (const int i : {3, 20, 28}) data.loss[i] *= 1.3;
  LossOptions options;
  options.bootstrap = 0;
  const auto alpha = [&](const char* residual) {
    options.residual = residual;
    const LossFit fit = fit_loss("chinchilla", data, options);
    INFO(residual);
    CHECK(fit.fit.converged);
    if (std::string(residual) == "l1") {
      int zero = 0;
      double sum = 0;
      const auto p = predict_loss(fit, data);
      for (std::size_t i = 0; i < p.size(); ++i) {
        const double r = std::abs(std::log(data.loss[i] / p[i].loss));
        zero += r < 2e-6;
        sum += r;
      }
      CHECK(zero == 5);
      CHECK(fit.fit.objective == Approx(sum).epsilon(1e-9));
    }
    return fit.fit.parameter("alpha").estimate;
  };
  CHECK(std::abs(alpha("l1") - 0.34) < 0.01);
  CHECK(std::abs(alpha("huber") - 0.34) < 0.01);
  CHECK(std::abs(alpha("squares") - 0.34) > 0.02);  // three points 130 sd away
}

TEST_CASE("weights: a row of weight 2 is two rows, of weight 0 none") {
  LossData data = grid(0.01, 2, false), twice = data;
  data.weight.assign(data.loss.size(), 1);
  data.weight[4] = 2;
  data.weight[9] = 0;
  for (auto& [name, values] : twice.columns) {
    values.push_back(values[4]);
    values.erase(values.begin() + 9);
  }
  twice.loss.push_back(twice.loss[4]);
  twice.loss.erase(twice.loss.begin() + 9);
  LossOptions options;
  options.bootstrap = 0;
  const Fit a = fit_loss("chinchilla", data, options).fit, b = fit_loss("chinchilla", twice, options).fit;
  CHECK(a.objective == Approx(b.objective).epsilon(1e-9));
  for (const Parameter& p : a.parameters) CHECK(p.estimate == Approx(b.parameter(p.name).estimate).epsilon(1e-6));
}

TEST_CASE("coverage: nominal 90% intervals of alpha and of a prediction, by every kind of interval", "[slow]") {
  constexpr int repetitions = 300;
  for (const LossIntervals kind : {LossIntervals::bootstrap, LossIntervals::parametric, LossIntervals::sandwich}) {
    std::atomic<int> alpha{0}, prediction{0};
    parallel_for(repetitions, 0, [&](int r) {
      LossOptions options;
      options.intervals = kind;
      options.bootstrap = 300;
      options.delta = 1e-2;
      const LossFit fit = fit_loss("chinchilla", grid(0.005, static_cast<std::uint64_t>(100 + r), true), options);
      const Parameter& p = fit.fit.parameter("alpha");
      alpha += p.ci_low <= 0.34 && 0.34 <= p.ci_high;
      const LossPrediction at = predict_loss(fit, 1e10, 1e12);
      const double truth = 1.69 + 406.4 * std::pow(1e10, -0.34) + 410.7 * std::pow(1e12, -0.28);
      prediction += at.ci_low <= truth && truth <= at.ci_high;
    });
    const char* name = kind == LossIntervals::bootstrap    ? "bootstrap"
                       : kind == LossIntervals::parametric ? "parametric"
                                                           : "sandwich";
    std::printf("%s: alpha covered %.3f, a prediction 3x beyond %.3f of nominal 0.90\n", name,
                alpha / static_cast<double>(repetitions), prediction / static_cast<double>(repetitions));
    CHECK(alpha > 0.82 * repetitions);  // percentiles of 36 points run a little narrow
    CHECK(alpha < 0.97 * repetitions);
    if (kind != LossIntervals::sandwich) CHECK(prediction > 0.82 * repetitions);
  }
}
