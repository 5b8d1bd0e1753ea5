// The integral of F1 over a run's random effect, with its derivatives (the law: laws/emergence_curve.hpp).
//
//   I = integral over v of exp(l(v)) Normal(v; mu, sigma),  l(v) = sum_j ln BetaBinomial(s_j; n_j, m_j(v), phi),
//   m_j(v) = c0 + (A - c0) sigmoid(k (ln D_j - v)),         v = mu + u: ln D50 of the run itself
//
// Why v and not u: mu and sigma are then in the normal alone, (c0, A, k, phi) in l alone, and their mixed derivatives
// at a node are zero. How: a run's curve fixes v to about 1 / (k sqrt(n)), far narrower than sigma, on a curve that may
// be skewed, cut off (a run that never rose is a lower bound) or have two modes. Every gap between evaluations is
// scored as if the curve stepped there, Newton finds the mode from the best, and a search how far from it the integrand
// is alive. A single smooth peak takes 24 equal steps (the trapezoidal rule, which is exact to exp(-2 pi^2 (w/h)^2) on
// a normal of width w), accepted where every second of them gives the same to 1e-5. All else, and other live gaps, is
// halved into panels of 24 Gauss-Legendre nodes until the last Legendre coefficients of the integrand are below 3e-6 of
// the integral in each. Nodes move with the scalars, so that derivatives at fixed nodes are those of the value only
// where the integral is this exact: against brute force its relative error is below 1e-8
// (tests/fitting/test_run_integral.cpp). Values and derivatives use the same nodes. Thread-safe: no shared state.
#pragma once

#include <array>
#include <vector>

#include "fitting/dual2.hpp"
#include "fitting/laws/beta_binomial.hpp"

namespace hylas::fitting {

// n nodes and weights with sum_i w_i f(x_i) = integral of f over [-1, 1]: eigenvalues of the Jacobi matrix
// (Golub-Welsch).
struct QuadratureRule {
  std::vector<double> nodes, weights;
};
[[nodiscard]] QuadratureRule gauss_legendre(int n);

// The rule of a panel as lanes, and the last three Legendre coefficients as sums over its nodes.
struct PanelRule {
  PanelRule();
  Batch nodes, weights;
  std::array<Batch, 3> last;
  Batch steps, alternate;  // 0, 1, 2, ...; +1, -1, +1, ...
};

// A run's evaluations, in order of tokens; lanes beyond the last are empty (no successes, no misses).
struct RunPoints {
  RunPoints(const std::vector<double>& log_tokens, const std::vector<double>& successes,
            const std::vector<double>& counts);
  std::vector<double> log_d, successes, misses, counts, log_choose;
  std::vector<Batch> log_d_lanes, successes_lanes, misses_lanes;
};

// The scalars of one run: mu, c0, A, ln k, ln sigma, ln phi.
class RunIntegral {
 public:
  static constexpr int kScalars = 6;

  RunIntegral(const RunPoints& points, const PanelRule& rule, const double* x);

  [[nodiscard]] double negative_log() const;
  [[nodiscard]] Dual2<kScalars> negative_log_with_derivatives() const;
  [[nodiscard]] int nodes() const { return kBatch * static_cast<int>(nodes_.size()); }

 private:
  struct Panel {
    double middle, half, sum, rough;  // sum of the integrand and its last Legendre coefficient, over exp(top_)
  };
  struct Nodes {
    Batch v, weights;
  };
  // The integrand's logarithm at 24 places, and at one (with derivatives).
  [[nodiscard]] Batch log_integrand(const Batch& v) const;
  [[nodiscard]] double log_integrand(double v) const;
  [[nodiscard]] Dual2<1> log_integrand_in_v(double v) const;
  [[nodiscard]] Batch mean(const Batch& rise) const;

  struct Gap {
    double v, score;
    std::size_t index;
  };
  [[nodiscard]] std::vector<Gap> gaps() const;  // best first
  void find_mode(const std::vector<Gap>& gaps);
  [[nodiscard]] double passing(std::size_t point) const;  // the v whose curve passes through an evaluation
  [[nodiscard]] double reach(int side) const;
  void extend(const std::vector<Gap>& gaps, double& first, double& last) const;
  [[nodiscard]] bool coarse(double low, double high, double widths) const;
  [[nodiscard]] bool equal_steps(double low, double high);
  void place_panels(const std::vector<double>& ends);
  [[nodiscard]] Panel panel(double low, double high) const;
  void nodes_in_shape(const Batch& v, Batch& value, std::array<Batch, 4>& g, std::array<Batch, 10>& h) const;

  const RunPoints& points_;
  const PanelRule& rule_;
  double mu_, c0_, span_, k_, sigma_, phi_;
  double log_sigma_;
  std::vector<Total> totals_;
  std::vector<double> offsets_;  // log_choose - total
  std::vector<Batch> offset_lanes_;
  double constant_ = 0;  // ln of the normal's factor
  double mode_ = 0, sd_ = 1, top_ = 0;
  std::vector<Nodes> nodes_;
  double integral_ = 0;  // over exp(top_)
};

}  // namespace hylas::fitting
