// Special functions; contract and sources in the header.
#include "fitting/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace hylas::fitting {
namespace {

constexpr double kLogSqrt2Pi = 0.91893853320467274178;

// Regularised incomplete beta I_x(a, b) by Lentz's continued fraction, for x below (a + 1) / (a + b + 2).
double incomplete_beta_fraction(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < tiny ? tiny : d);
  double h = d;
  for (int m = 1; m < 10000; ++m) {
    const auto step = [&](double numerator) {
      d = 1 + numerator * d;
      d = 1 / (std::abs(d) < tiny ? tiny : d);
      c = 1 + numerator / c;
      c = std::abs(c) < tiny ? tiny : c;
      h *= d * c;
    };
    step(m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)));
    const double before = h;
    step(-(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)));
    if (std::abs(h - before) < 1e-16 * std::abs(h)) break;
  }
  return std::exp(a * std::log(x) + b * std::log1p(-x) + log_gamma(a + b) - log_gamma(a) - log_gamma(b)) * h / a;
}

double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x < (a + 1) / (a + b + 2)) return incomplete_beta_fraction(a, b, x);
  return 1 - incomplete_beta_fraction(b, a, 1 - x);
}

}  // namespace

double normal_pdf(double x) {
  return std::exp(-0.5 * x * x - kLogSqrt2Pi);
}

double normal_cdf(double x) {
  return 0.5 * std::erfc(-x * std::numbers::sqrt2 / 2);
}

double log_normal_cdf(double x) {
  if (x > 5) return std::log1p(-normal_cdf(-x));
  if (x > -30) return std::log(normal_cdf(x));
  const double r = 1 / (x * x);  // asymptotic series; the next term is below 1e-17 at x = -30
  return -0.5 * x * x - kLogSqrt2Pi - std::log(-x) + std::log1p(-r * (1 - r * (3 - r * (15 - r * (105 - r * 945)))));
}

double log_normal_interval(double a, double b) {
  if (a == -std::numeric_limits<double>::infinity()) return log_normal_cdf(b);
  const double width = b - a, middle = 0.5 * (a + b);
  if (width < 1e-5) return std::log(width) - 0.5 * middle * middle - kLogSqrt2Pi;  // error width^2 (middle^2 - 1) / 24
  if (middle > 0) return log_normal_interval(-b, -a);
  const double upper = log_normal_cdf(b);
  return upper + std::log1p(-std::exp(log_normal_cdf(a) - upper));
}

double normal_quantile(double p) {
  if (p <= 0) return -std::numeric_limits<double>::infinity();
  if (p >= 1) return std::numeric_limits<double>::infinity();
  if (p > 0.5) return -normal_quantile(1 - p);
  const double target = std::log(p);
  double x = -std::sqrt(std::fmax(0.0, -2 * target - 1));
  for (int i = 0; i < 60; ++i) {  // Newton on the log: concave and increasing, so it converges from everywhere
    const double value = log_normal_cdf(x);
    const double step = (value - target) / std::exp(-0.5 * x * x - kLogSqrt2Pi - value);
    x -= step;
    if (std::abs(step) < 1e-14 * (1 + std::abs(x))) break;
  }
  return x;
}

double student_t_cdf(double t, double degrees) {
  const double tail = 0.5 * incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + t * t));
  return t > 0 ? 1 - tail : tail;
}

double chi_squared_survival(double x, int degrees) {
  if (x <= 0) return 1;
  const double half = x / 2;
  const bool odd = degrees % 2 == 1;
  double sum = odd ? std::erfc(std::sqrt(half)) : std::exp(-half);
  double term = odd ? std::exp(-half) * std::sqrt(half / std::numbers::pi) * 2 : std::exp(-half);
  for (int i = 1; i <= (degrees - 1) / 2; ++i) {
    if (!odd) term *= half / i;
    sum += term;
    if (odd) term *= half / (i + 0.5);
  }
  return std::min(sum, 1.0);
}

double chi_squared_quantile(double p, int degrees) {
  double low = 0, high = 1;
  while (chi_squared_survival(high, degrees) > p && high < 1e300) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (chi_squared_survival(middle, degrees) > p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double noncentral_chi_squared_survival(double x, int degrees, double noncentrality) {
  const double half = 0.5 * noncentrality, spread = 9 * std::sqrt(half) + 40;  // weights beyond are below 1e-17
  const int first = static_cast<int>(std::max(0.0, std::floor(half - spread)));
  const int last = static_cast<int>(std::ceil(half + spread));
  double sum = 0;
  for (int j = first; j <= last; ++j) {
    const double weight = half > 0 ? std::exp(j * std::log(half) - half - log_gamma(j + 1.0)) : (j == 0 ? 1 : 0);
    if (weight > 0) sum += weight * chi_squared_survival(x, degrees + 2 * j);
  }
  return std::min(sum, 1.0);
}

double student_t_quantile(double p, double degrees) {
  if (p < 0.5) return -student_t_quantile(1 - p, degrees);
  if (p == 0.5) return 0;
  if (p >= 1) return std::numeric_limits<double>::infinity();
  double low = 0, high = 1;
  while (student_t_cdf(high, degrees) < p && high < 1e300) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (student_t_cdf(middle, degrees) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

// Upwards to 9 by recurrence: sum 1/x and sum 1/x^2 are kept as fractions over the running product.
GammaFamily gamma_family(double x) {
  if (x < 1e-60) return {-std::log(x), -1 / x, 1 / (x * x)};  // the product below would underflow
  double product = 1, first = 0, second = 0;
  for (; x < 9; x += 1) {
    first = first * x + product;
    second = second * x * x + product * product;
    product *= x;
  }
  const double r = 1 / x, s = r * r, log_x = std::log(x), inverse = 1 / product;
  const double stirling =
      r * (1.0 / 12 - s * (1.0 / 360 - s * (1.0 / 1260 - s * (1.0 / 1680 - s * (1.0 / 1188 - s * 691.0 / 360360)))));
  const double di =
      s * (1.0 / 12 - s * (1.0 / 120 - s * (1.0 / 252 - s * (1.0 / 240 - s * (1.0 / 132 - s * 691.0 / 32760)))));
  const double tri =
      r * (1 + r * (0.5 + r * (1.0 / 6 -
                               s * (1.0 / 30 - s * (1.0 / 42 - s * (1.0 / 30 - s * (5.0 / 66 - s * 691.0 / 2730)))))));
  const double shift = product == 1 ? 0 : std::log(product);
  return {(x - 0.5) * log_x - x + kLogSqrt2Pi + stirling - shift, log_x - 0.5 * r - di - first * inverse,
          tri + second * inverse * inverse};
}

double log_gamma(double x) {
  return gamma_family(x).log_gamma;
}
double digamma(double x) {
  return gamma_family(x).digamma;
}
double trigamma(double x) {
  return gamma_family(x).trigamma;
}

double quantile(std::vector<double> values, double p) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const double place = p * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  if (values[below] == values[above]) return values[below];  // also equal infinities
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace hylas::fitting
