// What F1 and F3 share: where a curve crosses, D50 of a design with its intervals, draws of the parameters.
#include "fitting/emergence.hpp"

#include <fmt/format.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "fitting/dual2.hpp"
#include "fitting/emergence_checks.hpp"
#include "fitting/likelihood.hpp"
#include "fitting/random.hpp"

namespace hylas::fitting {
namespace {

constexpr double kFar = 10;  // beyond this factor of the fitted range a prediction warns (MATHS 4)

void warn_outside(D50& d50, const EmergenceFit& fit, const DesignCovariates& x, const std::vector<double>& row) {
  const Columns& c = fit.columns;
  if (x.parameters > kFar * c.n_max || x.parameters < c.n_min / kFar) {
    d50.warnings.push_back(
        fmt::format("N = {:.3g} is more than 10x outside the fitted {:.3g} to {:.3g}", x.parameters, c.n_min, c.n_max));
  }
  if (x.window > 0 && c.window_max == 0) {
    d50.warnings.push_back("no fitted run had window layers");
  } else if (x.window > 0 && (x.window > 1.0001 * c.window_max || x.window < 0.9999 * c.window_min)) {
    d50.warnings.push_back(
        fmt::format("window {:.4g} lies outside the fitted {:.4g} to {:.4g}", x.window, c.window_min, c.window_max));
  }
  if (std::ranges::find(fit.never, row) != fit.never.end()) {
    d50.warnings.push_back("no run of this design emerged: its D50 rests on the law and the other designs");
  }
  if (d50.estimate > fit.d_max && fit.d_max > 0) {
    d50.warnings.push_back(
        fmt::format("its D50 lies beyond the longest run ({:.3g} tokens): an extrapolation", fit.d_max));
  }
}

}  // namespace

Crossing crossing_of(std::span<const double> tokens, std::span<const double> values, double threshold) {
  if (tokens.empty() || tokens.size() != values.size()) {
    throw InputError(fmt::format("a curve needs as many values as token counts, at least one (got {} and {})",
                                 values.size(), tokens.size()));
  }
  Crossing crossing;
  crossing.d_max = tokens.back();
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    if (values[i] >= threshold && values[i + 1] >= threshold) {
      crossing.d_before = i == 0 ? 0 : tokens[i - 1];
      // A run that starts with the ability at 0 tokens has an empty interval: the second evaluation bounds it then.
      crossing.d_after = tokens[i] > crossing.d_before ? tokens[i] : tokens[i + 1];
      return crossing;
    }
  }
  crossing.d_before = tokens.size() > 1 ? tokens[tokens.size() - 2] : 0;
  return crossing;
}

double log_d50_at(const EmergenceFit& fit, const DesignCovariates& design, std::span<const double> theta) {
  const std::vector<double> row = row_of(fit.columns, design);
  double mu = theta[0];
  for (std::size_t j = 0; j < row.size(); ++j) mu += row[j] * theta[j + 1];
  return mu;
}

double pi_at(const EmergenceFit& fit, const DesignCovariates& design, std::span<const double> theta) {
  const int constant = index_of(fit.fit, "pi"), intercept = index_of(fit.fit, "pi:intercept");
  if (constant >= 0) return std::clamp(theta[constant], 0.0, 1.0);
  if (intercept < 0) return 1;
  const std::vector<double> row = row_of(fit.cure_columns, design);
  double logit = theta[intercept];
  for (std::size_t j = 0; j < row.size(); ++j) logit += row[j] * theta[intercept + 1 + j];
  return sigmoid(logit);
}

double sigma_at(const EmergenceFit& fit, std::span<const double> theta) {
  return std::exp(theta[index_of(fit.fit, "ln_sigma")]);
}

D50 predict_d50(const EmergenceFit& fit, const DesignCovariates& design) {
  const std::vector<double> row = row_of(fit.columns, design);
  const auto p = static_cast<Eigen::Index>(fit.fit.theta.size());
  Vector direction = Vector::Zero(p);
  direction[0] = 1;
  for (std::size_t j = 0; j < row.size(); ++j) direction[j + 1] = row[j];
  const Eigen::Map<const Matrix> covariance(fit.fit.covariance.data(), p, p);
  const double mu = log_d50_at(fit, design, fit.fit.theta);
  D50 d50;
  d50.estimate = std::exp(mu);
  d50.sd_parameters = std::sqrt(std::max(0.0, direction.dot(covariance * direction)));
  d50.sd_seeds = sigma_at(fit, fit.fit.theta);
  d50.sd_total = std::hypot(d50.sd_parameters, d50.sd_seeds);
  d50.pi = pi_at(fit, design, fit.fit.theta);
  const double t = wald_quantile(fit.fit.level, fit.fit.informative, fit.fit.degrees);
  d50.ci_low = std::exp(mu - t * d50.sd_parameters);
  d50.ci_high = std::exp(mu + t * d50.sd_parameters);
  d50.run_low = std::exp(mu - t * d50.sd_total);
  d50.run_high = std::exp(mu + t * d50.sd_total);
  const auto any = [&](double share) {
    const double inside = share / d50.pi;  // among runs that emerge
    if (inside >= 1) return kInfinity;
    const double quantile = wald_quantile(std::abs(2 * inside - 1), fit.fit.informative, fit.fit.degrees);
    return std::exp(mu + std::copysign(quantile, inside - 0.5) * d50.sd_total);
  };
  d50.any_low = any((1 - fit.fit.level) / 2), d50.any_median = any(0.5), d50.any_high = any((1 + fit.fit.level) / 2);
  warn_outside(d50, fit, design, row);
  return d50;
}

std::vector<std::vector<double>> parameter_draws(const Fit& fit, int draws, std::uint64_t seed) {
  const auto p = static_cast<Eigen::Index>(fit.theta.size());
  const Eigen::Map<const Matrix> covariance(fit.covariance.data(), p, p);
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen{Matrix(covariance)};
  const Matrix root = eigen.eigenvectors() * eigen.eigenvalues().cwiseMax(0).cwiseSqrt().asDiagonal();
  std::vector<std::vector<double>> result;
  for (int i = 0; i < draws; ++i) {
    Stream stream(seed, static_cast<std::uint64_t>(i));
    Vector z(p);
    for (double& value : z) value = stream.normal();
    const Vector theta = Eigen::Map<const Vector>(fit.theta.data(), p) + root * z;
    result.emplace_back(theta.begin(), theta.end());
    for (Eigen::Index j = 0; j < p; ++j) {
      double& value = result.back()[static_cast<std::size_t>(j)];
      if (fit.coordinates[j] == "pi") value = std::clamp(value, EmergenceTimeTerms::kPiMin, 1.0);
      if (fit.coordinates[j] == "ln_sigma") {
        value = std::clamp(value, std::log(EmergenceTimeTerms::kSigmaMin), std::log(EmergenceTimeTerms::kSigmaMax));
      }
    }
  }
  return result;
}

}  // namespace hylas::fitting
