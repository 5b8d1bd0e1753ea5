// Draws of gamma, beta and binomial variables, and curves made of them.
#include "fitting/simulate_curves.hpp"

#include <algorithm>
#include <cmath>

#include "fitting/dual2.hpp"

namespace hylas::fitting {

double draw_log_gamma(double shape, Stream& stream) {
  if (shape < 1) return draw_log_gamma(shape + 1, stream) + std::log(stream.uniform()) / shape;
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = stream.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(stream.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v);
  }
}

double draw_beta(double a, double b, Stream& stream) {
  const double x = draw_log_gamma(a, stream), y = draw_log_gamma(b, stream);
  return sigmoid(x - y);
}

// Above 40 the middle one of n uniforms, a beta variable, says on which side of p half of them lie.
double draw_binomial(double n, double p, Stream& stream) {
  double hits = 0;
  while (n > 40 && p > 0 && p < 1) {
    const double i = std::floor(n / 2) + 1, middle = draw_beta(i, n + 1 - i, stream);
    if (middle <= p) {
      hits += i;
      n -= i;
      p = (p - middle) / (1 - middle);
    } else {
      n = i - 1;
      p /= middle;
    }
  }
  if (p >= 1) return hits + n;
  for (int i = 0; i < n; ++i) hits += stream.uniform() < p ? 1 : 0;
  return hits;
}

CurveRun simulate_curve(CurveRun run, double mu, const CurveShape& shape, Stream& stream) {
  const double log_d50 = mu + shape.sigma * stream.normal();
  for (std::size_t j = 0; j < run.tokens.size(); ++j) {
    const double rise = sigmoid(shape.k * (std::log(run.tokens[j]) - log_d50));
    const double mean = std::clamp(shape.c0 + (shape.plateau - shape.c0) * rise, 1e-6, 1 - 1e-6);
    const double n = std::max(1.0, std::round(run.count[j]));
    run.count[j] = n;
    run.accuracy[j] = draw_binomial(n, draw_beta(mean * shape.phi, (1 - mean) * shape.phi, stream), stream) / n;
  }
  return run;
}

}  // namespace hylas::fitting
