// The law type of Chinchilla's approach 3 (public function: fitting/loss.hpp).
//
// Scalars: z1 = a - alpha (ln N - mean), z2 = b - beta (ln D - mean), z3 = e; the term is Huber(LSE(z) - ln L). Logs
// are centred, because corr(a, alpha) is .999 otherwise. Bounds: exponents in [0, 4]; ln E, and the two reducible parts
// at the centre, down to e^-12 of the least loss, where they are zero for every purpose: on that bound a part is "not
// there".
#pragma once

#include <vector>

#include "fitting/law.hpp"
#include "fitting/loss.hpp"

namespace hylas::fitting {

class ChinchillaTerms {
 public:
  static constexpr int kScalars = 3;
  enum : int { kE, kA, kB, kAlpha, kBeta, kCoordinates };

  ChinchillaTerms(const LossData& data, double delta, int starts);

  [[nodiscard]] const std::vector<Coordinate>& coordinates() const { return coordinates_; }
  [[nodiscard]] int terms() const { return static_cast<int>(log_loss_.size()); }
  [[nodiscard]] double scale() const { return 1 / (delta_ * delta_); }
  // Variable projection: for a grid over the exponents E, A and B solve a non-negative least-squares problem on
  // relative residuals; the best local minima of its grid under the law's own objective are the starts.
  [[nodiscard]] std::vector<Vector> starts() const;

  [[nodiscard]] double term(int i, const double* z) const;
  [[nodiscard]] Dual2<3> term(int i, const Dual2<3>* z) const;

  [[nodiscard]] double log_n0() const { return log_n0_; }
  [[nodiscard]] double log_d0() const { return log_d0_; }

 private:
  std::vector<double> log_loss_, x_, y_;  // ln L, centred ln N and ln D
  double delta_;
  int starts_;
  double log_n0_ = 0, log_d0_ = 0;
  std::vector<Coordinate> coordinates_;
};

}  // namespace hylas::fitting
