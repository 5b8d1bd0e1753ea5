// The sandwich covariance; contract in the header.
#include "fitting/sandwich.hpp"

#include "fitting/result.hpp"

namespace hylas::fitting {

Matrix sandwich(const Objective& objective, const Solution& solution, const Units& units) {
  const Eigen::Index p = solution.theta.size();
  const auto held = [&](Eigen::Index j) { return solution.fixed[j] || solution.edge[j] != Edge::none; };
  Eigen::Index free = 0;
  for (Eigen::Index j = 0; j < p; ++j) free += held(j) ? 0 : 1;

  const Matrix terms = objective.term_gradients(solution.theta);
  Matrix scores = Matrix::Zero(units.count, p);
  for (Eigen::Index i = 0; i < terms.rows(); ++i) scores.row(units.unit_of[i]) += terms.row(i);
  const auto n = static_cast<double>(terms.rows()), g = static_cast<double>(units.count);
  const Matrix bread = solution.covariance();  // zero where held
  if (units.count <= free) {
    Matrix nothing = Matrix::Zero(p, p);
    for (Eigen::Index a = 0; a < p; ++a) {
      for (Eigen::Index b = 0; b < p; ++b) nothing(a, b) = held(a) || held(b) ? 0 : kNaN;
    }
    return nothing;
  }
  const double factor = g / (g - 1) * (n - 1) / (n - static_cast<double>(free));
  return factor * (bread * (scores.transpose() * scores) * bread);
}

}  // namespace hylas::fitting
