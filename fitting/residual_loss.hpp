// The loss on log residuals that every loss law is fitted with: Huber(delta), its limit L1, or least squares.
//
//   huber    rho(r) = r^2 / 2 for |r| <= delta, else delta (|r| - delta / 2)       (MATHS 3: summed, never averaged)
//   l1       rho(r) = |r|, taken as Huber(1e-6) / 1e-6, which differs by at most 5e-7 a residual
//   squares  rho(r) = r^2 / 2
//
// Each is the negative log-likelihood of a density with a scale s, exp(-rho(r) / s^2) / Z(s) (for l1: exp(-|r| / s)):
// Huber's least favourable density has a normal core of sd s and exponential tails. Its parameters do not depend on s,
// so a fit is a maximum-likelihood fit, with a likelihood, an AIC and a density to draw from. r is dimensionless.
#pragma once

#include <string>

#include "fitting/random.hpp"

namespace hylas::fitting {

struct ResidualLoss {
  enum class Kind { huber, l1, squares };
  Kind kind = Kind::huber;
  double delta = 1e-3;  // of huber

  [[nodiscard]] double threshold() const;  // delta; 1e-6 for l1, infinite for squares
  [[nodiscard]] double unit() const;       // what Huber's sum is divided by: 1e-6 for l1, else 1
  [[nodiscard]] double rho(double r) const;
  [[nodiscard]] double slope(double r) const;      // rho'
  [[nodiscard]] double curvature(double r) const;  // rho''
  // The solver's scale: a difference of 1 of the scaled sum matters (fitting/solver.hpp).
  [[nodiscard]] double scale() const;

  // The scale s of greatest likelihood for n residuals with sum of rho `sum`; its log-likelihood.
  [[nodiscard]] double fitted_scale(double sum, double n) const;
  [[nodiscard]] double log_likelihood(double sum, double n, double s) const;
  [[nodiscard]] double draw(double s, Stream& stream) const;  // a residual
};

// "huber", "l1", "squares"; throws InputError with the known names.
[[nodiscard]] ResidualLoss::Kind residual_loss_kind(const std::string& name);

}  // namespace hylas::fitting
