// Fit: what every law's fit returns, and how it is printed. Plain data: no Eigen, no Ceres.
//
// Honesty rules (MATHS 3): a parameter on its bound, with a flat profile, or taking different values in two basins that
// are equally good is not `identified`, and `why` says so in words. `objective` is unscaled (a Huber sum, or the
// negative log-likelihood). An interval end that the data do not limit is infinite. Thread-safety: plain values.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace hylas::fitting {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Parameter {
  std::string name;
  double estimate = kNaN;
  double ci_low = -kInfinity;  // NaN where no interval was asked for
  double ci_high = kInfinity;
  double standard_error = kNaN;  // sandwich (H^-1 J H^-1), of the estimate; NaN where it says nothing
  bool identified = true;
  std::string why;  // why not identified; empty otherwise
};

struct Fit {
  std::string law;  // "chinchilla", "F3", "F1"
  std::vector<Parameter> parameters;
  double level = 0.9;           // of the intervals
  std::string interval_method;  // "profile likelihood, t with 66 degrees of freedom", "bootstrap by run, 1000", "none"
  double objective = kNaN;
  double log_likelihood = kNaN;
  double aic = kNaN, bic = kNaN;  // 2 p - 2 ln L and p ln(runs) - 2 ln L, p the free coordinates
  int runs = 0;                   // independent units behind the fit
  int points = 0;
  int degrees = 0;      // of freedom of the t quantile behind the intervals of a likelihood fit
  int informative = 0;  // runs that tell how much seeds differ: F3, those that emerged; F1, all
  int starts = 0;
  int starts_agreeing = 0;         // starts that ended at the least objective
  bool converged = false;          // first- and second-order conditions hold, bounds included
  double first_order = kInfinity;  // largest projected gradient, dimensionless (fitting/solver.hpp)
  std::vector<std::string> warnings;

  // The law's own coordinates, for predictions and parameter draws. Row and column of a coordinate on its bound are
  // zero.
  std::vector<std::string> coordinates;
  std::vector<double> theta;
  std::vector<double> covariance;          // row-major; inverse of the observed information
  std::vector<std::vector<double>> draws;  // bootstrap draws of theta, where there was a bootstrap

  [[nodiscard]] const Parameter& parameter(std::string_view name) const;  // throws std::out_of_range
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] bool identified() const;  // every parameter is
};

// A summary a person reads, and one JSON object with stable keys: law, objective, log_likelihood, aic, bic, parameters
// [{name, estimate, ci90 [low, high], standard_error, identified, why}] (ci95 at level 0.95), level, interval_method,
// identified, runs, points, starts, starts_agreeing, converged, first_order, warnings. Infinite and NaN numbers are
// null in JSON.
[[nodiscard]] std::string to_text(const Fit& fit);
[[nodiscard]] std::string to_json(const Fit& fit);

}  // namespace hylas::fitting
