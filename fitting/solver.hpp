// The one solver of all fits: Newton steps in a box, globalised by Ceres' trust region, from several starts.
//
// Why Newton and not Gauss-Newton: the objectives (Huber sums in their linear part, likelihoods) are no sums of small
// squares. Each Ceres residual block is the local quadratic model itself, J^T J = |H| and J^T r = g, and a loss
// function that subtracts a constant makes Ceres' cost equal the objective (solver.cpp). Ceres thus brings the trust
// region, the projected line search at bounds and the convergence tests; the steps are exact Newton steps. Why a check
// of our own: a solver that stops says nothing (MATHS 3, "Traps"). `converged` means that the largest projected
// gradient, |g_j| max(1, |theta_j|) / (1 + |objective|), is at most `tolerance`, multipliers at bounds have the right
// sign, and the Hessian over the free coordinates has no negative direction. Objectives should be scaled so that a
// difference of 1 matters (likelihoods are; Huber sums are divided by delta^2). Thread-safety: Objective
// implementations are const and free of shared state; starts may run side by side.
#pragma once

#include <Eigen/Core>
#include <span>
#include <vector>

namespace hylas::fitting {

using Vector = Eigen::VectorXd;
using Matrix = Eigen::MatrixXd;

// A smooth function of p coordinates. Values that are not finite mean "outside the domain": such steps are refused.
class Objective {
 public:
  virtual ~Objective() = default;
  [[nodiscard]] virtual int size() const = 0;
  [[nodiscard]] virtual double value(const Vector& theta) const = 0;
  virtual double derivatives(const Vector& theta, Vector& gradient, Matrix& hessian) const = 0;
  // Row i: the gradient of term i, so that the rows add up to the gradient. What the sandwich is made of.
  [[nodiscard]] virtual Matrix term_gradients(const Vector& theta) const = 0;
};

struct Box {
  Vector lower, upper;  // infinite where there is no bound
  [[nodiscard]] Vector clamp(const Vector& theta) const { return theta.cwiseMax(lower).cwiseMin(upper); }
};

struct SolverOptions {
  int max_iterations = 200;     // of one Ceres run; Newton needs 5 to 20, an almost-L1 Huber sum up to 100
  int max_evaluations = 20000;  // of one solve, over all its Ceres runs
  double tolerance = 1e-7;      // of the first-order check
  bool near = false;            // the start is near a minimum: Newton steps first, Ceres where they do not suffice
  double agreement = 1e-6;      // two starts agree when their objectives differ by less, times (1 + |objective|)
};

enum class Edge : signed char { none, lower, upper };

struct Solution {
  Vector theta;
  double objective = 0;
  Vector gradient;
  Matrix hessian;
  std::vector<Edge> edge;   // on which bound each coordinate is held
  std::vector<bool> fixed;  // held by the caller
  double first_order = 0;
  bool converged = false;
  int evaluations = 0;

  // Inverse Hessian over the coordinates that are neither fixed nor on a bound, zero elsewhere. Directions without
  // curvature are given the variance of the smallest positive eigenvalue that double precision can tell from zero.
  [[nodiscard]] Matrix covariance() const;
};

// From one start. `fixed`: coordinates held where `start` has them; empty: none.
[[nodiscard]] Solution minimise(const Objective& objective, const Box& box, const Vector& start,
                                const std::vector<bool>& fixed = {}, const SolverOptions& options = {});

struct MultiStart {
  Solution best;
  std::vector<Solution> all;  // one a start, best first (ties in the order of the starts)
  int agreeing = 0;           // converged starts at the least objective
};
// Ranks solutions of one objective (one a start).
[[nodiscard]] MultiStart best_of(std::vector<Solution> all, const SolverOptions& options = {});
[[nodiscard]] MultiStart minimise_from(const Objective& objective, const Box& box, const std::vector<Vector>& starts,
                                       const SolverOptions& options = {}, int threads = 1);

}  // namespace hylas::fitting
