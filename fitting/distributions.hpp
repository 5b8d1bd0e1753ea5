// Distributions: the handful of special functions that fits need, stable in their tails.
//
// Accuracy: log_normal_cdf, log_normal_interval and the gamma family about 1e-14 relative; quantiles 1e-12. Every
// function is thread-safe (std::lgamma, which writes a global, is not used). Sources: erfc and its asymptotic series
// (Abramowitz and Stegun 7.1.23), Stirling's series with upward recurrence (6.1.41, 6.3.18, 6.4.12), the continued
// fraction of the incomplete beta function (26.5.8, Lentz's method).
#pragma once

#include <vector>

namespace hylas::fitting {

[[nodiscard]] double normal_pdf(double x);
[[nodiscard]] double normal_cdf(double x);
[[nodiscard]] double log_normal_cdf(double x);
// ln(Phi(b) - Phi(a)), a < b; a may be -infinity.
[[nodiscard]] double log_normal_interval(double a, double b);
[[nodiscard]] double normal_quantile(double p);

[[nodiscard]] double student_t_cdf(double t, double degrees);
[[nodiscard]] double student_t_quantile(double p, double degrees);

// P(X > x) of a chi-squared variable; degrees >= 1. Closed form for whole degrees (Abramowitz and
// Stegun 26.4.4, 26.4.5).
[[nodiscard]] double chi_squared_survival(double x, int degrees);
[[nodiscard]] double chi_squared_quantile(double p, int degrees);  // of the upper tail: survival(quantile) = p
// The same with noncentrality l: Poisson(l / 2) many pairs of degrees on top (26.4.25).
[[nodiscard]] double noncentral_chi_squared_survival(double x, int degrees, double noncentrality);
[[nodiscard]] double log_gamma(double x);  // x > 0, as are the next two
[[nodiscard]] double digamma(double x);
[[nodiscard]] double trigamma(double x);
// The three at once, at about the price of one.
struct GammaFamily {
  double log_gamma = 0, digamma = 0, trigamma = 0;
};
[[nodiscard]] GammaFamily gamma_family(double x);

// The p-quantile of values (linear interpolation between order statistics); NaN for none.
[[nodiscard]] double quantile(std::vector<double> values, double p);

}  // namespace hylas::fitting
