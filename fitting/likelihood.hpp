// Fitting a likelihood law: multi-start, profile intervals with a t quantile, identification flags. Shared by F1 and
// F3.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "fitting/identify.hpp"
#include "fitting/law.hpp"
#include "fitting/profile.hpp"

namespace hylas::fitting {

// How a coordinate is reported: estimate = exp(theta) or theta, under a name of its own.
struct Reported {
  std::string name;
  int coordinate = 0;
  bool exponential = false;
  double natural_low = -kInfinity, natural_high = kInfinity;  // the parameter's own range: the end of an open interval
  [[nodiscard]] double value(double theta) const { return exponential ? std::exp(theta) : theta; }
};

struct LikelihoodOptions {
  double level = 0.9;
  bool intervals = true;
  std::vector<std::string> profile;  // names to profile; empty: all
  int threads = 1;
  SolverOptions solver = {};
  int informative = 0;    // runs that inform sigma; 0: all
  bool sandwich = false;  // intervals from the sandwich covariance instead of profiles
};

// Fills everything of `fit` but law, runs' meaning and law-specific warnings. `degrees` of freedom: informative runs
// minus what is learned from them. A fit that did not converge has no intervals, and none of its parameters is
// identified. Standard errors are the sandwich's, each run a unit.
MultiStart fit_likelihood(Fit& fit, const Objective& objective, const Box& box, std::vector<Vector> starts,
                          const std::vector<std::string>& coordinates, const std::vector<Reported>& reported, int runs,
                          int degrees, const LikelihoodOptions& options);

// What a profile's signed root, sqrt(2 rise), is compared with: sqrt(m ln(1 + t^2 / degrees)), m informative runs and t
// Student's quantile. For m normal ln D50, all seen, 2 rise = m ln(1 + T^2 / degrees) with T the t statistic, so that
// the interval is the exact one; comparing with t itself is too narrow by about (t^2 / 2 + coefficients) / (2 m).
// Censored runs say little about sigma, so they do not count. Measured in tests/fitting/test_coverage.cpp.
[[nodiscard]] double profile_threshold(double level, int informative, int degrees);
// What multiplies standard errors from the likelihood's curvature, whose sigma divides by m, not by the degrees.
[[nodiscard]] double wald_quantile(double level, int informative, int degrees);

}  // namespace hylas::fitting
