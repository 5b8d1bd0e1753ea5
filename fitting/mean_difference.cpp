// See mean_difference.hpp.
#include "fitting/mean_difference.hpp"

#include <cmath>
#include <numeric>
#include <vector>

#include "fitting/distributions.hpp"

namespace hylas::fitting {
namespace {

struct Moments {
  double mean = 0;
  double squared_error = 0;  // of the mean
  double count = 0;
};

Moments moments_of(std::span<const double> values) {
  if (values.empty()) throw InputError("a difference of means needs at least one value a side");
  for (const double value : values) {
    if (!std::isfinite(value)) throw InputError("a difference of means takes finite values only");
  }
  const auto n = static_cast<double>(values.size());
  Moments m{std::accumulate(values.begin(), values.end(), 0.0) / n, 0, n};
  double sum = 0;
  for (const double value : values) sum += (value - m.mean) * (value - m.mean);
  if (n > 1) m.squared_error = sum / (n - 1) / n;
  return m;
}

MeanDifference interval(double estimate, double squared_error, double degrees, double level) {
  const double half = student_t_quantile((1 + level) / 2, degrees) * std::sqrt(squared_error);
  return {estimate, estimate - half, estimate + half, degrees};
}

}  // namespace

MeanDifference paired_difference(std::span<const double> a, std::span<const double> b, double level) {
  if (a.size() != b.size()) throw InputError("a paired difference needs as many values on one side as on the other");
  std::vector<double> differences;
  for (std::size_t i = 0; i < a.size(); ++i) differences.push_back(b[i] - a[i]);
  const Moments m = moments_of(differences);
  if (m.count < 2) return {.estimate = m.mean};
  return interval(m.mean, m.squared_error, m.count - 1, level);
}

MeanDifference unpaired_difference(std::span<const double> a, std::span<const double> b, double level) {
  const Moments ma = moments_of(a), mb = moments_of(b);
  const double estimate = mb.mean - ma.mean;
  if (ma.count < 2 || mb.count < 2) return {.estimate = estimate};
  const double sum = ma.squared_error + mb.squared_error;
  const double parts =
      ma.squared_error * ma.squared_error / (ma.count - 1) + mb.squared_error * mb.squared_error / (mb.count - 1);
  return interval(estimate, sum, parts > 0 ? sum * sum / parts : ma.count + mb.count - 2, level);
}

}  // namespace hylas::fitting
