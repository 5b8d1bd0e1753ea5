// F3: interval and survival terms with exact derivatives, coordinates, starts.
#include "fitting/laws/emergence_time.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "fitting/distributions.hpp"

namespace hylas::fitting {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kLogSqrt2Pi = 0.91893853320467274178;

// phi(x) / exp(f)
double density_over(double x, double f) {
  return std::exp(-0.5 * x * x - kLogSqrt2Pi - f);
}

// ln(Phi(b) - Phi(a)): f_a = -phi(a)/P, f_b = phi(b)/P, f_aa = -a f_a - f_a^2, f_bb = -b f_b - f_b^2, f_ab = -f_a f_b.
double log_interval(double a, double b) {
  return log_normal_interval(a, b);
}
template <int K>
Dual2<K> log_interval(const Dual2<K>& a, const Dual2<K>& b) {
  const double f = log_normal_interval(a.v, b.v);
  const double fa = -density_over(a.v, f), fb = density_over(b.v, f);
  return binary(a, b, f, fa, fb, -a.v * fa - fa * fa, -fa * fb, -b.v * fb - fb * fb);
}

double log_cdf(double x) {
  return log_normal_cdf(x);
}
template <int K>
Dual2<K> log_cdf(const Dual2<K>& x) {
  const double f = log_normal_cdf(x.v), f1 = density_over(x.v, f);
  return unary(x, f, f1, -x.v * f1 - f1 * f1);
}

// ln(1 - pi Phi(z)), written as ln((1 - pi) + pi Phi(-z)) so that the tail survives at pi near 1.
double log_survival(double z, double pi) {
  const double tail = log_normal_cdf(-z);
  if (tail > -1) return std::log1p(-pi * normal_cdf(z));
  if (pi >= 1) return tail;
  const double a = std::log1p(-pi), b = std::log(pi) + tail;
  return a > b ? a + std::log1p(std::exp(b - a)) : b + std::log1p(std::exp(a - b));
}
template <int K>
Dual2<K> log_survival(const Dual2<K>& z, const Dual2<K>& pi) {
  const double f = log_survival(z.v, pi.v);
  const double density = density_over(z.v, f), q = pi.v * density;  // phi / S, pi phi / S
  const double h = std::exp(log_normal_cdf(z.v) - f);               // Phi / S
  return binary(z, pi, f, -q, -h, z.v * q - q * q, -density * (1 + pi.v * h), -h * h);
}

}  // namespace

double EmergenceTimeTerms::least_sigma(const EmergenceTimeData& data) {
  std::vector<double> cells;
  for (std::size_t i = 0; i < data.log_before.size(); ++i) {
    const double cell = data.log_after[i] - data.log_before[i];
    if (std::isfinite(cell)) cells.push_back(cell);
  }
  return cells.empty() ? kSigmaMin : std::clamp(quantile(cells, 0.1) / 6, kSigmaMin, kSigmaMax / 10);
}

LeastSquares least_squares(const std::vector<std::vector<double>>& rows, const std::vector<double>& y) {
  const auto n = static_cast<Eigen::Index>(rows.size());
  const auto p = static_cast<Eigen::Index>(n == 0 ? 1 : rows.front().size() + 1);
  Matrix x(n, p);
  for (Eigen::Index i = 0; i < n; ++i) {
    x(i, 0) = 1;
    for (Eigen::Index j = 1; j < p; ++j) x(i, j) = rows[i][j - 1];
  }
  const Eigen::Map<const Vector> target(y.data(), n);
  LeastSquares fit;
  fit.coefficients = x.colPivHouseholderQr().solve(target);
  fit.sd = (target - x * fit.coefficients).norm() / std::sqrt(static_cast<double>(std::max<Eigen::Index>(1, n - p)));
  return fit;
}

void add_linear(std::vector<Coordinate>& coordinates, int scalar, const std::string& prefix,
                const std::vector<std::string>& names, const std::vector<std::vector<double>>& rows, double centre,
                double reach) {
  coordinates.push_back({prefix + "intercept", scalar, centre - reach, centre + reach, {}});
  for (std::size_t j = 0; j < names.size(); ++j) {
    std::vector<double> column;
    double largest = 0;
    for (const auto& row : rows) {
      column.push_back(row[j]);
      largest = std::max(largest, std::abs(row[j]));
    }
    const double bound = reach / std::max(largest, 1e-12);
    coordinates.push_back({prefix + names[j], scalar, -bound, bound, std::move(column)});
  }
}

EmergenceTimeTerms::EmergenceTimeTerms(EmergenceTimeData data) : data_(std::move(data)) {
  double low = kInf, high = -kInf;
  for (std::size_t i = 0; i < data_.log_before.size(); ++i) {
    for (double v : {data_.log_before[i], data_.log_after[i]}) {
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  add_linear(coordinates_, 0, "", data_.mu_names, data_.mu, 0.5 * (low + high), 25 + 0.5 * (high - low));
  coordinates_.push_back({"ln_sigma", 1, std::log(least_sigma(data_)), std::log(kSigmaMax), {}});
  if (data_.cure_logit) {
    add_linear(coordinates_, 2, "pi:", data_.cure_names, data_.cure, 0, 15);
  } else if (data_.cure_free) {
    coordinates_.push_back({"pi", 2, kPiMin, 1, {}});
  }
}

template <class T>
T EmergenceTimeTerms::negative_log(int i, const T& mu, const T& log_sigma, const T& cure) const {
  using std::exp;
  using std::log;
  const T rate = exp(-log_sigma);
  T pi = data_.cure_logit ? sigmoid(cure) : cure;
  if (!data_.cure_logit && !data_.cure_free) pi = T(1.0);
  const double before = data_.log_before[i], after = data_.log_after[i];
  if (after == kInf) return -log_survival((before - mu) * rate, pi);
  if (before == -kInf) return -(log(pi) + log_cdf((after - mu) * rate));
  return -(log(pi) + log_interval((before - mu) * rate, (after - mu) * rate));
}

double EmergenceTimeTerms::term(int i, const double* x) const {
  return negative_log(i, x[0], x[1], x[2]);
}
Dual2<3> EmergenceTimeTerms::term(int i, const Dual2<3>* x) const {
  return negative_log(i, x[0], x[1], x[2]);
}

std::vector<Vector> EmergenceTimeTerms::starts() const {
  const std::size_t n = data_.log_before.size();
  std::vector<Vector> result;
  double emerged = 0;
  for (double after : data_.log_after) emerged += after < kInf;
  const double share = emerged / static_cast<double>(n);
  const Box box = box_of(coordinates_);
  for (const double beyond : {0.3, 1.0, 2.5}) {
    std::vector<double> y;
    for (std::size_t i = 0; i < n; ++i) {
      const double before = data_.log_before[i], after = data_.log_after[i];
      y.push_back(after == kInf ? before + beyond : before == -kInf ? after - 0.2 : 0.5 * (before + after));
    }
    const LeastSquares ols = least_squares(data_.mu, y);
    for (const double pi : {0.97, 0.5 + 0.5 * share}) {
      Vector theta = Vector::Zero(static_cast<Eigen::Index>(coordinates_.size()));
      const Eigen::Index q = ols.coefficients.size();
      theta.head(q) = ols.coefficients;
      theta[q] = std::log(std::clamp(ols.sd, 0.1, 2.0));
      if (data_.cure_free || data_.cure_logit) theta[q + 1] = data_.cure_logit ? std::log(pi / (1.001 - pi)) : pi;
      result.push_back(box.clamp(theta));
      if (!data_.cure_free || share == 1) break;  // the second value of pi changes nothing
    }
  }
  return result;
}

}  // namespace hylas::fitting
