// Approach 3: exact recovery, published fits bettered, exact derivatives, honest flags, errors.
#include <cmath>
#include <set>

#include "fitting/laws/loss_powers.hpp"
#include "fitting/loss.hpp"
#include "fitting/table.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

// Chinchilla's published parameters on 8 budgets x 16 points (shared data/README.md), with noise on ln L.
LossData budgets(double noise, std::uint64_t seed = 1, double e = 1.69) {
  Stream stream(seed, 0);
  LossData data;
  for (int b = 0; b < 8; ++b) {
    const double flops = 1e18 * std::pow(10.0, 0.5 * b), centre = std::sqrt(flops / 120);
    for (int i = 0; i < 16; ++i) {
      const double n = centre * std::pow(10.0, (i - 7.5) / 10), d = flops / (6 * n);
      data.columns["N"].push_back(n);
      data.columns["D"].push_back(d);
      data.loss.push_back((e + 406.4 * std::pow(n, -0.34) + 410.7 * std::pow(d, -0.28)) *
                          std::exp(noise * (noise > 0 ? stream.normal() : 0)));
    }
  }
  return data;
}

LossSample sample_of(const LossModel& model, const LossData& data, ResidualLoss residual) {
  const auto rows = static_cast<Eigen::Index>(data.loss.size());
  return {model.features(data), Eigen::Map<const Eigen::ArrayXd>(data.loss.data(), rows).log().matrix(),
          Vector::Ones(rows), residual};
}

LossOptions without_bootstrap() {
  LossOptions options;
  options.bootstrap = 0;
  return options;
}

LossData gemstones(const std::filesystem::path& file) {
  const Table t = Table::read(file);
  return LossData::of(t.numbers("params_active_precise", true), t.numbers("tokens", true),
                      t.numbers("final_loss", true));
}

std::string message(const LossData& data) {
  try {
    (void)fit_loss("chinchilla", data, without_bootstrap());
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("approach 3 recovers a noiseless truth to 1e-6") {
  const LossFit result = fit_loss("chinchilla", budgets(0), without_bootstrap());
  const Fit& fit = result.fit;
  const std::vector<std::pair<std::string, double>> truth = {
      {"E", 1.69}, {"A", 406.4}, {"B", 410.7}, {"alpha", 0.34}, {"beta", 0.28}};
  for (const auto& [name, value] : truth) {
    INFO(name);
    CHECK(std::abs(fit.parameter(name).estimate / value - 1) < 1e-6);
    CHECK(fit.parameter(name).identified);
  }
  CHECK(fit.converged);
  CHECK(fit.objective < 1e-15);
  CHECK(fit.starts_agreeing == fit.starts);
  CHECK(hold_out(result, budgets(0)).rmse_log < 1e-8);
}

TEST_CASE("Gemstones: at or below the verified minima, for both deltas") {
  const auto file = testing::public_data("gemstones_cool_end.jsonl");
  if (!file) {
    WARN("skipped: gemstones_cool_end.jsonl is missing (set HYLAS_PUBLIC_DATA to its folder)");
    return;
  }
  LossOptions options = without_bootstrap();
  const Fit fit = fit_loss("chinchilla", gemstones(*file), options).fit;
  CHECK(fit.points == 199);
  CHECK(fit.objective <= 1.96409e-3);   // the published fit is 1.9640865e-3
  CHECK(fit.objective >= 1.964086e-3);  // not below the true minimum 1.96408643e-3: the same objective
  CHECK(fit.converged);
  CHECK(fit.starts_agreeing >= 2);
  CHECK(std::log(fit.parameter("A").estimate) == Approx(5.42112).margin(2e-4));
  CHECK(std::log(fit.parameter("B").estimate) == Approx(12.51231).margin(2e-4));
  CHECK(std::log(fit.parameter("E").estimate) == Approx(0.72986).margin(2e-5));
  CHECK(fit.parameter("alpha").estimate == Approx(0.30036).margin(2e-5));
  CHECK(fit.parameter("beta").estimate == Approx(0.58017).margin(2e-5));
  options.delta = 1e-4;
  const Fit tight = fit_loss("chinchilla", gemstones(*file), options).fit;
  CHECK(tight.objective <= 2.04780e-4);  // the published fit, 2.0594e-4, is no minimum
  CHECK(tight.converged);
  CHECK(tight.parameter("beta").estimate == Approx(0.586).margin(1e-3));
}

TEST_CASE("derivatives of approach 3 match finite differences, in columns and term by term") {
  const LossData data = budgets(0.02, 3);
  const PowersModel model(data, true);
  LossSample sample = sample_of(model, data, {ResidualLoss::Kind::huber, 1e-2});
  Stream stream(17, 0);
  for (Eigen::Index i = 0; i < sample.weights.size(); ++i) sample.weights[i] = static_cast<double>(stream.below(3));
  const auto objective = model.objective(sample);
  for (int k = 0; k < 10; ++k) {
    Vector theta(5);
    theta << 0.5 + 0.1 * stream.normal(), -0.5 + 0.3 * stream.normal(), 0.1 * stream.normal(),
        0.3 + 0.1 * stream.uniform(), 0.2 + 0.1 * stream.uniform();
    INFO("k = " << k);
    const auto error = testing::check_derivatives(*objective, theta, 1e-6);
    CHECK(error.gradient < 1e-6);
    CHECK(error.hessian < 2e-2);  // Huber's second derivative jumps where a residual passes delta
    CHECK(error.value < 1e-14);
    Vector gradient;
    Matrix hessian;
    const double value = objective->derivatives(theta, gradient, hessian);
    const Vector sum = objective->term_gradients(theta).colwise().sum();
    CHECK((sum - gradient).norm() < 1e-12 * gradient.norm());
    // The same numbers one row at a time, from the definitions.
    const Vector r = model.log_losses(sample.features, theta) - sample.log_loss;
    double plain = 0;
    for (Eigen::Index i = 0; i < r.size(); ++i) {
      const double size = std::abs(r[i]);
      plain += sample.weights[i] * (size <= 1e-2 ? 0.5 * size * size : 1e-2 * (size - 0.5e-2));
    }
    CHECK(plain * sample.residual.scale() == Approx(value).epsilon(1e-12));
  }
}

TEST_CASE("the bootstrap gives the same bits on any number of threads, and covers") {
  LossOptions options;
  options.bootstrap = 60;
  options.threads = 1;
  const LossData data = budgets(0.003, 5);
  const LossFit one = fit_loss("chinchilla", data, options);
  options.threads = 3;
  const LossFit three = fit_loss("chinchilla", data, options);
  CHECK(one.fit.draws == three.fit.draws);
  for (const Parameter& p : one.fit.parameters) {
    CHECK(p.ci_low <= p.estimate);
    CHECK(p.estimate <= p.ci_high);
  }
  const Parameter& alpha = one.fit.parameter("alpha");
  CHECK(alpha.ci_low < 0.34 + 0.02);
  CHECK(alpha.ci_high > 0.34 - 0.02);
  const LossPrediction p = predict_loss(one, 1e9, 2e10);
  CHECK(p.ci_low < p.loss);
  CHECK(p.loss < p.ci_high);
  CHECK(p.loss == Approx(1.69 + 406.4 * std::pow(1e9, -0.34) + 410.7 * std::pow(2e10, -0.28)).epsilon(0.01));
  CHECK(p.warnings.empty());
  CHECK_FALSE(predict_loss(one, 1e13, 2e10).warnings.empty());
}

TEST_CASE("a truth without an irreducible loss puts E on its bound, and the fit says so") {
  const Fit fit = fit_loss("chinchilla", budgets(0, 1, 0), without_bootstrap()).fit;
  CHECK_FALSE(fit.parameter("E").identified);
  CHECK(has(fit.parameter("E").why, "lower bound"));
  CHECK(fit.parameter("alpha").identified);
  CHECK(fit.parameter("alpha").estimate == Approx(0.34).epsilon(1e-3));
  CHECK_FALSE(fit.identified());
  CHECK(has(to_text(fit), "not identified: on its lower bound"));
}

TEST_CASE("hold-out: rows are split, and a law fitted to small N predicts the largest") {
  const LossData data = budgets(0.001, 9);
  std::vector<bool> mask;
  for (double n : data.at("N")) mask.push_back(n > 1e10);
  const LossData train = rows_where(data, mask, false), test = rows_where(data, mask, true);
  CHECK(train.loss.size() + test.loss.size() == data.loss.size());
  CHECK(test.loss.size() >= 8);
  CHECK(hold_out(fit_loss("chinchilla", train, without_bootstrap()), test).rmse_log < 0.01);  // ten times the noise
}

TEST_CASE("bad input is named") {
  LossData data = budgets(0);
  data.loss[3] = std::nan("");
  CHECK(has(message(data), "point 4: loss is nan"));
  data = budgets(0);
  data.columns["D"][0] = -1;
  CHECK(has(message(data), "point 1: D is -1"));
  data = budgets(0);
  for (double& n : data.columns["N"]) n = 1e8;
  CHECK(has(message(data), "N is 100000000"));
  CHECK(has(message(data), "constant"));
  data = budgets(0);
  for (auto& [name, values] : data.columns) values.resize(4);
  data.loss.resize(4);
  CHECK(has(message(data), "4 points for 5 parameters"));
  data.loss.pop_back();
  CHECK(has(message(data), "different lengths"));
  data = budgets(0);
  data.columns.erase("D");
  CHECK(has(message(data), "needs a column D"));
  data = budgets(0);
  data.weight.assign(data.loss.size(), 1);
  data.weight[5] = -1;
  CHECK(has(message(data), "point 6: weight is -1"));
  CHECK_THROWS_AS(fit_loss("chinchila", budgets(0)), InputError);
}
