// Residual losses and their densities; formulas in the header.
#include "fitting/residual_loss.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "fitting/distributions.hpp"
#include "fitting/input_error.hpp"

namespace hylas::fitting {
namespace {

constexpr double kL1Threshold = 1e-6;
constexpr double kLeastScale = 1e-12;  // of ln L: data without noise have no scale of their own

// ln of the integral of exp(-rho(r) / s^2): s sqrt(2 pi) (2 Phi(delta / s) - 1) in the core, and in the two tails
// 2 s^2 / delta exp(-delta^2 / (2 s^2)).
double log_normaliser(double s, double delta) {
  const double z = delta / s;
  if (std::isinf(z)) return std::log(s) + 0.5 * std::log(2 * std::numbers::pi);
  const double core = std::sqrt(2 * std::numbers::pi) * (1 - 2 * normal_cdf(-z));
  return std::log(s) + std::log(core + 2 / z * std::exp(-0.5 * z * z));
}

}  // namespace

double ResidualLoss::threshold() const {
  if (kind == Kind::huber) return delta;
  return kind == Kind::l1 ? kL1Threshold : std::numeric_limits<double>::infinity();
}

double ResidualLoss::unit() const {
  return kind == Kind::l1 ? kL1Threshold : 1.0;
}

double ResidualLoss::rho(double r) const {
  const double inner = std::min(std::abs(r), threshold());
  return inner * (std::abs(r) - 0.5 * inner) / unit();
}

double ResidualLoss::slope(double r) const {
  return std::clamp(r, -threshold(), threshold()) / unit();
}

double ResidualLoss::curvature(double r) const {
  return std::abs(r) <= threshold() ? 1 / unit() : 0.0;
}

double ResidualLoss::scale() const {
  return kind == Kind::huber ? 1 / (delta * delta) : kind == Kind::l1 ? 1e3 : 1e6;
}

double ResidualLoss::fitted_scale(double sum, double n) const {
  if (kind == Kind::l1) return std::max(kLeastScale, sum / n);
  if (kind == Kind::squares) return std::max(kLeastScale, std::sqrt(2 * sum / n));
  // The likelihood has one maximum in ln s; for small s it is normal, for large s exponential.
  double low = std::log(kLeastScale), high = std::log(std::max(1.0, sum / n / delta) * 10);
  const double ratio = 0.5 * (std::sqrt(5.0) - 1);
  double a = high - ratio * (high - low), b = low + ratio * (high - low);
  double fa = log_likelihood(sum, n, std::exp(a)), fb = log_likelihood(sum, n, std::exp(b));
  while (high - low > 1e-10) {
    if (fa >= fb) {
      high = b;
      b = a;
      fb = fa;
      fa = log_likelihood(sum, n, std::exp(a = high - ratio * (high - low)));
    } else {
      low = a;
      a = b;
      fa = fb;
      fb = log_likelihood(sum, n, std::exp(b = low + ratio * (high - low)));
    }
  }
  return std::exp(0.5 * (low + high));
}

double ResidualLoss::log_likelihood(double sum, double n, double s) const {
  if (kind == Kind::l1) return -sum / s - n * std::log(2 * s);
  return -sum / (s * s) - n * log_normaliser(s, threshold());
}

double ResidualLoss::draw(double s, Stream& stream) const {
  const double sign = stream.bits() & 1 ? 1.0 : -1.0;
  if (kind == Kind::l1) return -sign * s * std::log(stream.uniform());
  const double z = threshold() / s;
  if (std::isinf(z)) return s * stream.normal();
  const double core = std::sqrt(2 * std::numbers::pi) * (1 - 2 * normal_cdf(-z)),
               tails = 2 / z * std::exp(-0.5 * z * z);
  if (stream.uniform() * (core + tails) > core) return sign * (threshold() - s / z * std::log(stream.uniform()));
  return sign * s * -normal_quantile(normal_cdf(-z) + stream.uniform() * (0.5 - normal_cdf(-z)));
}

ResidualLoss::Kind residual_loss_kind(const std::string& name) {
  if (name == "huber") return ResidualLoss::Kind::huber;
  if (name == "l1") return ResidualLoss::Kind::l1;
  if (name == "squares") return ResidualLoss::Kind::squares;
  throw InputError(fmt::format("unknown residual loss '{}'; known: huber, l1, squares", name));
}

}  // namespace hylas::fitting
