// The law type of F1, the emergence curve with a random effect of the run (public functions: fitting/emergence.hpp).
//
// Scalars of a run: mu, c0, A, ln k, ln sigma, ln phi. One term a run: the negative log of
//   integral over u ~ N(0, sigma^2) of  prod_j BetaBinomial(s_j; n_j, m_j(u), phi),
//   m_j(u) = c0 + (A - c0) sigmoid(k (ln D_j - mu - u)),   s_j = accuracy * n_j (not rounded),
// where phi is the precision (variance m (1 - m) (1 + (n - 1) / (phi + 1)) / n of an accuracy). A run's own curve fixes
// u to about 1 / (k sqrt(n)), far narrower than sigma, on a curve that may be skewed, cut off (a run that never rose is
// a lower bound) or have two modes. So each term places its own panels: over the places where the run may have risen,
// a Newton search for the mode, out to where the integrand has fallen by exp(-15), with Gauss-Legendre nodes in each.
// Nodes are constants for the derivatives: the integral does not depend on where they lie. Its error, against a
// brute-force sum, is below 1e-6 for runs that rose and up to 4e-4 for runs that never did.
#pragma once

#include <vector>

#include "fitting/law.hpp"

namespace hylas::fitting {

struct EmergenceCurveData {
  std::vector<std::vector<double>> log_tokens, successes, counts;  // [run][evaluation]
  std::vector<std::vector<double>> mu;                             // columns without the intercept
  std::vector<std::string> mu_names;
};

// n nodes and weights with sum_i w_i f(x_i) = integral of f over [-1, 1]: eigenvalues of the Jacobi matrix
// (Golub-Welsch).
struct QuadratureRule {
  std::vector<double> nodes, weights;
};
[[nodiscard]] QuadratureRule gauss_legendre(int n);

// ln of the beta-binomial probability of s in n with mean m and precision phi, but for ln choose(n, s).
[[nodiscard]] double log_beta_binomial(double s, double n, double m, double phi);

class EmergenceCurveTerms {
 public:
  static constexpr int kScalars = 6;
  static constexpr int kNodes = 12;  // a panel

  explicit EmergenceCurveTerms(EmergenceCurveData data);

  [[nodiscard]] const std::vector<Coordinate>& coordinates() const { return coordinates_; }
  [[nodiscard]] int terms() const { return static_cast<int>(data_.log_tokens.size()); }
  [[nodiscard]] double scale() const { return 1; }
  // From each of `means` (coefficients of mu, ln sigma) and from least squares on where curves pass halfway: the
  // likeliest k and phi of a coarse grid; from the first of them also the likeliest of another k.
  [[nodiscard]] std::vector<Vector> starts(const std::vector<Vector>& means = {}) const;
  [[nodiscard]] double halfway() const { return 0.5 * (lowest_ + highest_); }  // accuracy between floor and plateau
  [[nodiscard]] double term(int i, const double* x) const;
  [[nodiscard]] Dual2<6> term(int i, const Dual2<6>* x) const;

 private:
  // ln prod_j BetaBinomial(.) of run i at one u: its value, with its derivatives in u, or in the six scalars.
  [[nodiscard]] double log_points(int i, double u, const double* x) const;
  [[nodiscard]] Dual2<1> log_points_in_u(int i, double u, const double* x) const;
  [[nodiscard]] Dual2<6> log_points_in_scalars(int i, double u, const double* x) const;
  // -ln of the integral, from the integrand's logarithm at a node.
  template <class T, class At>
  [[nodiscard]] T integrate(int i, const double* x, const At& log_integrand) const;
  struct Mode {
    double u, sd, top;  // top: the integrand's logarithm there, but for a constant
  };
  [[nodiscard]] std::vector<double> candidates(int i, const double* x) const;
  [[nodiscard]] Mode mode(int i, const double* x, const std::vector<double>& candidates) const;
  [[nodiscard]] double reach(int i, const double* x, const Mode& mode, int side) const;
  [[nodiscard]] std::vector<double> panels(int i, const double* x) const;

  EmergenceCurveData data_;
  std::vector<double> halfway_;  // ln D where each run's curve passes the middle of all; its end where it never does
  std::vector<bool> passed_;
  std::vector<double> log_choose_;  // sum over a run's points
  double lowest_ = 0, highest_ = 1, floor_ = 0, plateau_ = 1;
  QuadratureRule rule_;
  std::vector<Coordinate> coordinates_;
};

}  // namespace hylas::fitting
