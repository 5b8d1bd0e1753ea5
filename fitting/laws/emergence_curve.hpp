// The law type of F1, the emergence curve with a random effect of the run (public functions: fitting/emergence.hpp).
//
// Scalars of a run: mu, c0, A, ln k, ln sigma, ln phi. One term a run: the negative log of
//   integral over u ~ N(0, sigma^2) of  prod_j BetaBinomial(s_j; n_j, m_j(u), phi),
//   m_j(u) = c0 + (A - c0) sigmoid(k (ln D_j - mu - u)),   s_j = accuracy * n_j (rounded only where it is whole),
// where phi is the precision (variance m (1 - m) (1 + (n - 1) / (phi + 1)) / n of an accuracy). The integral and its
// derivatives: laws/run_integral.hpp. Plateaus A may be shared by all runs (coordinate "A") or by the runs of a group
// ("A:GROUP"), as may floors ("c0", "c0:GROUP").
#pragma once

#include <string>
#include <vector>

#include "fitting/law.hpp"
#include "fitting/laws/run_integral.hpp"

namespace hylas::fitting {

// Which runs share a plateau or a floor: of[run] is an index into names. Empty: all of them.
struct Sharing {
  std::vector<std::string> names;
  std::vector<int> of;
};

struct EmergenceCurveData {
  std::vector<std::vector<double>> log_tokens, successes, counts;  // [run][evaluation]
  std::vector<std::vector<double>> mu;                             // columns without the intercept
  std::vector<std::string> mu_names;
  Sharing plateaus = {}, floors = {};
};

// ln of the beta-binomial probability of s in n with mean m and precision phi, but for ln choose(n, s).
[[nodiscard]] double log_beta_binomial(double s, double n, double m, double phi);

class EmergenceCurveTerms {
 public:
  static constexpr int kScalars = RunIntegral::kScalars;

  explicit EmergenceCurveTerms(EmergenceCurveData data);

  [[nodiscard]] const std::vector<Coordinate>& coordinates() const { return coordinates_; }
  [[nodiscard]] int terms() const { return static_cast<int>(points_.size()); }
  [[nodiscard]] double scale() const { return 1; }
  // From each of `means` (coefficients of mu, ln sigma) and from least squares on where curves pass halfway: the
  // likeliest k and phi of a coarse grid; from the first of them also the likeliest of another k.
  [[nodiscard]] std::vector<Vector> starts(const std::vector<Vector>& means = {}) const;
  [[nodiscard]] double halfway() const { return 0.5 * (lowest_ + highest_); }  // accuracy between floor and plateau
  [[nodiscard]] int risen() const;  // runs that pass halfway: they tell how much seeds differ
  [[nodiscard]] double term(int i, const double* x) const;
  [[nodiscard]] Dual2<6> term(int i, const Dual2<6>* x) const;

 private:
  void learn_levels();
  void find_halfways();
  void add_shared(const std::string& name, int scalar, double lower, double upper, const Sharing& sharing);

  std::vector<RunPoints> points_;
  std::vector<std::vector<double>> mu_;
  std::vector<double> halfway_;  // ln D where each run's curve passes the middle of all; its end where it never does
  std::vector<bool> passed_;
  double lowest_ = 0, highest_ = 1, floor_ = 0, plateau_ = 1;
  PanelRule rule_;
  std::vector<Coordinate> coordinates_;
};

}  // namespace hylas::fitting
