// Curves drawn from F1: what a study with the same runs and evaluations would have seen were the law the truth. The
// parametric bootstrap of the asymptote test and tests are made of it.
//
// A run draws u ~ N(0, sigma^2); each of its evaluations draws p ~ Beta(m phi, (1 - m) phi) around the curve's mean m
// and hits ~ Binomial(count, p), at the run's own tokens and counts (rounded to whole ones). Gamma by Marsaglia and
// Tsang (2000), kept as logarithms so that tiny shapes do not vanish; binomial by order statistics, O(log n). The draws
// of a stream depend on its seed and number alone. Thread-safety: free functions on values.
#pragma once

#include "fitting/emergence.hpp"
#include "fitting/random.hpp"

namespace hylas::fitting {

[[nodiscard]] double draw_log_gamma(double shape, Stream& stream);  // shape > 0, scale 1
[[nodiscard]] double draw_beta(double a, double b, Stream& stream);
[[nodiscard]] double draw_binomial(double n, double p, Stream& stream);  // n whole

struct CurveShape {
  double c0 = 0, plateau = 1, k = 10, sigma = 0.3, phi = 60;
};
// `run` with a new accuracy at each evaluation; mu: ln D50 of its design.
[[nodiscard]] CurveRun simulate_curve(CurveRun run, double mu, const CurveShape& shape, Stream& stream);

}  // namespace hylas::fitting
