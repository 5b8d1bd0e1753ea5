// Compute-optimal sizes; formulas in the header.
#include "search/advise/compute_optimal.hpp"

#include <cmath>
#include <stdexcept>

namespace hylas::search {
namespace {

constexpr double kLogNMin = 0, kLogNMax = 50;  // 1 to 5e21 parameters

void check(const fitting::ChinchillaLaw& law, double flops) {
  if (!(flops > 0) || !std::isfinite(flops)) throw std::invalid_argument("compute_optimal: C must be positive");
  if (!(law.a > 0 && law.b > 0 && law.alpha > 0 && law.beta > 0)) {
    throw std::invalid_argument("compute_optimal: A, B, alpha and beta must be positive");
  }
}

}  // namespace

SizeAndTokens compute_optimal(const fitting::ChinchillaLaw& law, double flops) {
  check(law, flops);
  const double total = law.alpha + law.beta;
  const double log_g = (std::log(law.alpha * law.a) - std::log(law.beta * law.b)) / total;
  SizeAndTokens best;
  best.n = std::exp(log_g + law.beta / total * std::log(flops / 6));
  best.d = flops / (6 * best.n);
  best.loss = law.loss(best.n, best.d);
  return best;
}

// Golden-section search: along the budget the loss falls while N is too small and rises when D is.
SizeAndTokens compute_optimal(const fitting::ChinchillaLaw& law, double flops,
                              const std::function<double(double)>& flops_per_token) {
  check(law, flops);
  const auto at = [&](double log_n) {
    const double n = std::exp(log_n), d = flops / flops_per_token(n);
    return SizeAndTokens{n, d, law.loss(n, d)};
  };
  const double ratio = 0.5 * (std::sqrt(5.0) - 1);
  double low = kLogNMin, high = kLogNMax;
  double a = high - ratio * (high - low), b = low + ratio * (high - low);
  double fa = at(a).loss, fb = at(b).loss;
  while (high - low > 1e-9) {
    if (fa <= fb) {
      high = b;
      b = a;
      fb = fa;
      fa = at(a = high - ratio * (high - low)).loss;
    } else {
      low = a;
      a = b;
      fa = fb;
      fb = at(b = low + ratio * (high - low)).loss;
    }
  }
  return at(0.5 * (low + high));
}

}  // namespace hylas::search
