// The law type of F3, time to emergence with a cure fraction (public functions: fitting/emergence.hpp).
//
// Scalars of a run: mu = ln D50, s = ln sigma, and pi (or its logit, where it has covariates). The term is the negative
// log-likelihood: -ln(S(D_L) - S(D_R)) for a run seen to cross, -ln S(D_max) for one that never did, where
// S(D) = 1 - pi Phi((ln D - mu) / sigma). Derivatives are written out for these two functions.
#pragma once

#include <vector>

#include "fitting/law.hpp"

namespace hylas::fitting {

// Rows of numbers, one a run.
struct EmergenceTimeData {
  std::vector<double> log_before, log_after;  // -inf: before the first evaluation; +inf: censored
  std::vector<std::vector<double>> mu, cure;  // columns without the intercept
  std::vector<std::string> mu_names, cure_names;
  bool cure_free = true;    // false: pi = 1
  bool cure_logit = false;  // pi has covariates
};

class EmergenceTimeTerms {
 public:
  static constexpr int kScalars = 3;
  static constexpr double kPiMin = 1e-3, kSigmaMin = 5e-3, kSigmaMax = 10;

  explicit EmergenceTimeTerms(EmergenceTimeData data);

  // The lower bound of sigma: a sixth of the cells between evaluations (their 10% quantile in ln D), kSigmaMin at
  // least. Below it a run's cell holds all of the distribution or none: the likelihood is a staircase, flat in sigma.
  [[nodiscard]] static double least_sigma(const EmergenceTimeData& data);

  [[nodiscard]] const std::vector<Coordinate>& coordinates() const { return coordinates_; }
  [[nodiscard]] int terms() const { return static_cast<int>(data_.log_before.size()); }
  [[nodiscard]] double scale() const { return 1; }
  // Least squares on interval middles, censored runs set a little or a lot beyond their end, with and without a cure.
  [[nodiscard]] std::vector<Vector> starts() const;
  [[nodiscard]] double term(int i, const double* x) const;
  [[nodiscard]] Dual2<3> term(int i, const Dual2<3>* x) const;

 private:
  template <class T>
  [[nodiscard]] T negative_log(int i, const T& mu, const T& log_sigma, const T& cure) const;

  EmergenceTimeData data_;
  std::vector<Coordinate> coordinates_;
};

// Adds intercept and columns of mu as coordinates of `scalar`: bounds let ln D50 move 25 either way.
void add_linear(std::vector<Coordinate>& coordinates, int scalar, const std::string& prefix,
                const std::vector<std::string>& names, const std::vector<std::vector<double>>& rows, double centre,
                double reach);

// Ordinary least squares with an intercept; returns coefficients (intercept first) and the residual sd.
struct LeastSquares {
  Vector coefficients;
  double sd = 0;
};
[[nodiscard]] LeastSquares least_squares(const std::vector<std::vector<double>>& rows, const std::vector<double>& y);

}  // namespace hylas::fitting
