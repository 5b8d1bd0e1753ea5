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
};

// Fills everything of `fit` but law, runs' meaning and law-specific warnings. `degrees` of freedom: runs minus what is
// learned from runs. A fit that did not converge has no intervals, and none of its parameters is identified.
MultiStart fit_likelihood(Fit& fit, const Objective& objective, const Box& box, std::vector<Vector> starts,
                          const std::vector<std::string>& coordinates, const std::vector<Reported>& reported, int runs,
                          int degrees, const LikelihoodOptions& options);

// Quantile that a profile's signed root is compared with: Student's t at least one degree of freedom.
[[nodiscard]] double profile_threshold(double level, int degrees);

}  // namespace hylas::fitting
