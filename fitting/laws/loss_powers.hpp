// Laws that are sums of powers of N and D; "chinchilla", "two-power" and "efficiency" (F2) are made of them.
//
//   L = [E +] A N^-alpha + B (kappa D)^-beta,  ln kappa = -sum_j slope_j x_j
//
// Scalars: z0 = a - alpha (ln N - mean), z1 = b - beta (ln D - mean) + sum_j g_j x_j, z2 = e. Reported are E =
// exp e, A and B at N = D = 1 (and x = 0), the exponents, and slope_j = g_j / beta. Bounds: exponents in
// [0, 4]; E and the reducible parts at the centre down to e^-12 of the least loss, where they are zero for every
// purpose: on that bound a part is "not there".
#pragma once

#include <functional>

#include "fitting/loss_model.hpp"

namespace hylas::fitting {

class PowersModel final : public LogSumModel {
 public:
  // covariates: names and values of the columns of ln kappa, [row] each; for new rows through `covariate_rows`.
  using CovariateRows = std::function<Matrix(const LossData&)>;
  PowersModel(const LossData& data, bool irreducible, std::vector<std::string> covariates = {},
              CovariateRows covariate_rows = {});

  [[nodiscard]] Matrix features(const LossData& rows) const override;
  [[nodiscard]] std::vector<Vector> starts(const LossSample& sample, int count) const override;
  [[nodiscard]] std::vector<double> reported(const Vector& theta) const override;
  [[nodiscard]] Vector coordinates_at(const std::vector<double>& values) const override;

 private:
  // Coordinates: e, where there is one, then a, b, alpha, beta and the covariates, as the parameters are.
  enum : int { kA, kB, kAlpha, kBeta, kFirstCovariate };

  int first_;  // 1 with an irreducible loss, else 0
  int covariates_;
  CovariateRows covariate_rows_;
  CentredLog log_n_, log_d_;
};

}  // namespace hylas::fitting
