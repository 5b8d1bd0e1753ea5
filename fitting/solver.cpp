// The solver; what and why are in the header. Here: the Newton model dressed as least squares for Ceres, the active set
// around it, and the first- and second-order check.
#include "fitting/solver.hpp"

#include <ceres/ceres.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "fitting/newton.hpp"
#include "fitting/parallel.hpp"

namespace hylas::fitting {
namespace {

constexpr int kNearEvaluations = 60;  // of Newton steps before Ceres

// The free coordinates of a point; the others stay where they are.
struct Subspace {
  const Objective& objective;
  Vector base;
  std::vector<int> free;
  mutable int evaluations = 0;

  [[nodiscard]] Vector full(const double* x) const {
    Vector theta = base;
    for (std::size_t i = 0; i < free.size(); ++i) theta[free[i]] = x[i];
    return theta;
  }
};

// Residuals of the local model at x: H = Q diag(l) Q^T, J = |l|^1/2 Q^T, r = |l|^-1/2 Q^T g, so that J^T J = |H| and
// J^T r = g. The squared norm of r is not the objective; `offset` says by how much, and Shifted takes it away.
class NewtonModel final : public ceres::CostFunction {
 public:
  NewtonModel(const Subspace& space, double* offset) : space_(space), offset_(offset) {
    const int n = static_cast<int>(space.free.size());
    set_num_residuals(n);
    mutable_parameter_block_sizes()->push_back(n);
  }

  bool Evaluate(double const* const* x, double* residuals, double** jacobians) const override {
    const int n = num_residuals();
    ++space_.evaluations;
    Eigen::Map<Vector> r(residuals, n);
    r.setZero();
    const Vector theta = space_.full(x[0]);
    if (jacobians == nullptr || jacobians[0] == nullptr) {
      const double value = space_.objective.value(theta);
      *offset_ = -2 * value;
      return std::isfinite(value);
    }
    Vector gradient;
    Matrix hessian;
    const double value = space_.objective.derivatives(theta, gradient, hessian);
    const Vector g = gradient(space_.free);
    const Matrix h = hessian(space_.free, space_.free);
    if (!std::isfinite(value) || !g.allFinite() || !h.allFinite()) {
      // A flat model ends Ceres' loop here without a word on stderr; our own check then says that this is no minimum.
      Eigen::Map<Matrix>(jacobians[0], n, n).setZero();
      *offset_ = -2 * value;
      return std::isfinite(value);
    }
    const Eigen::SelfAdjointEigenSolver<Matrix> eigen(h);
    const Vector size = eigen.eigenvalues().cwiseAbs();
    const Vector root = size.cwiseMax(1e-14 * size.maxCoeff()).cwiseMax(1e-100).cwiseSqrt();
    r = (eigen.eigenvectors().transpose() * g).cwiseQuotient(root);
    using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    Eigen::Map<RowMajor>(jacobians[0], n, n) = root.asDiagonal() * eigen.eigenvectors().transpose();
    *offset_ = r.squaredNorm() - 2 * value;
    return true;
  }

 private:
  const Subspace& space_;
  double* offset_;
};

// Ceres' cost of a block is rho(|r|^2) / 2: with rho(s) = s - offset it is the objective, and J, r stay as they are.
// Ceres evaluates a block's loss right after its residuals.
class Shifted final : public ceres::LossFunction {
 public:
  explicit Shifted(const double* offset) : offset_(offset) {}
  void Evaluate(double squared_norm, double rho[3]) const override {
    rho[0] = squared_norm - *offset_;
    rho[1] = 1;
    rho[2] = 0;
  }

 private:
  const double* offset_;
};

// Stops a run as soon as a coordinate arrives at a bound: a step that the bound cuts short spoils the others, so the
// next round goes on without that coordinate (or with it, if its gradient points inwards).
class StopAtBound final : public ceres::IterationCallback {
 public:
  StopAtBound(const std::vector<double>& x, const Vector& lower, const Vector& upper)
      : x_(x), lower_(lower), upper_(upper) {}
  ceres::CallbackReturnType operator()(const ceres::IterationSummary& summary) override {
    for (std::size_t i = 0; summary.iteration > 0 && i < x_.size(); ++i) {
      if (x_[i] <= lower_[i] || x_[i] >= upper_[i]) return ceres::SOLVER_TERMINATE_SUCCESSFULLY;
    }
    return ceres::SOLVER_CONTINUE;
  }

 private:
  const std::vector<double>& x_;
  Vector lower_, upper_;
};

void run_ceres(const Subspace& space, const Box& box, Vector& theta, const SolverOptions& options) {
  const int n = static_cast<int>(space.free.size());
  std::vector<double> x(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) x[i] = theta[space.free[i]];
  double offset = 0;
  NewtonModel model(space, &offset);
  Shifted shifted(&offset);
  ceres::Problem::Options owned;
  owned.cost_function_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  owned.loss_function_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  owned.disable_all_safety_checks = true;
  ceres::Problem problem(owned);
  problem.AddResidualBlock(&model, &shifted, x.data());
  for (int i = 0; i < n; ++i) {
    const double lower = box.lower[space.free[i]], upper = box.upper[space.free[i]];
    if (std::isfinite(lower)) problem.SetParameterLowerBound(x.data(), i, lower);
    if (std::isfinite(upper)) problem.SetParameterUpperBound(x.data(), i, upper);
  }
  ceres::Solver::Options ceres;
  ceres.minimizer_type = ceres::TRUST_REGION;
  ceres.linear_solver_type = ceres::DENSE_QR;
  ceres.max_num_iterations = options.max_iterations;
  ceres.function_tolerance = 1e-16;  // never the reason to stop: our own check decides
  ceres.gradient_tolerance = 1e-3 * options.tolerance;
  ceres.parameter_tolerance = 1e-15;
  ceres.initial_trust_region_radius = 1e6;
  ceres.max_trust_region_radius = 1e16;
  ceres.num_threads = 1;
  ceres.logging_type = ceres::SILENT;
  StopAtBound stop(x, box.lower(space.free), box.upper(space.free));
  ceres.callbacks.push_back(&stop);
  ceres.update_state_every_iteration = true;
  ceres::Solver::Summary summary;
  ceres::Solve(ceres, &problem, &summary);
  if (summary.IsSolutionUsable()) {
    for (int i = 0; i < n; ++i) theta[space.free[i]] = x[i];
  }
}

bool no_negative_direction(const Solution& s) {
  const std::vector<int> free = free_of(s, true);
  if (free.empty()) return true;
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(Matrix(s.hessian(free, free)), Eigen::EigenvaluesOnly);
  const double largest = eigen.eigenvalues().cwiseAbs().maxCoeff();
  return eigen.eigenvalues().minCoeff() >= -1e-7 * largest;
}

}  // namespace

Matrix Solution::covariance() const {
  Matrix result = Matrix::Zero(theta.size(), theta.size());
  const std::vector<int> free = free_of(*this, true);
  if (free.empty()) return result;
  const Matrix h = hessian(free, free);
  const Vector scale = h.diagonal().cwiseAbs().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(scale.asDiagonal() * h * scale.asDiagonal());
  const Vector size = eigen.eigenvalues().cwiseMax(1e-12);
  const Matrix inverse = scale.asDiagonal() * eigen.eigenvectors() * size.cwiseInverse().asDiagonal() *
                         eigen.eigenvectors().transpose() * scale.asDiagonal();
  for (std::size_t i = 0; i < free.size(); ++i) {
    for (std::size_t j = 0; j < free.size(); ++j) result(free[i], free[j]) = inverse(i, j);
  }
  return result;
}

Solution minimise(const Objective& objective, const Box& box, const Vector& start, const std::vector<bool>& fixed,
                  const SolverOptions& options) {
  Solution s;
  s.fixed = fixed.empty() ? std::vector<bool>(static_cast<std::size_t>(objective.size()), false) : fixed;
  s.theta = box.clamp(start);
  for (int j = 0; j < objective.size(); ++j) {
    if (s.fixed[j]) s.theta[j] = start[j];
  }
  assess(objective, box, s);
  if (options.near) newton_steps(objective, box, s, options, std::min(kNearEvaluations, options.max_evaluations));
  // An active set: each round frees the coordinates that do not press against a bound, until nothing wants to move.
  const int rounds = 8 + 3 * objective.size();
  for (int round = 0; round < rounds && s.first_order > options.tolerance && std::isfinite(s.first_order) &&
                      s.evaluations < options.max_evaluations;
       ++round) {
    const Subspace space{objective, s.theta, free_of(s, true), 0};
    const Vector before = s.theta;
    SolverOptions left = options;  // an iteration takes a value and derivatives
    left.max_iterations = std::min(options.max_iterations, (options.max_evaluations - s.evaluations + 1) / 2);
    run_ceres(space, box, s.theta, left);
    s.evaluations += space.evaluations;
    assess(objective, box, s);
    if (s.theta == before) break;  // Ceres can do no better
  }
  // Ceres stops where a step's gain is lost in the rounding of the objective; the slope still shows the way there.
  if (s.first_order > options.tolerance && s.evaluations < options.max_evaluations) {
    newton_steps(objective, box, s, options, kNearEvaluations);
  }
  s.converged = s.first_order <= options.tolerance && no_negative_direction(s);
  return s;
}

MultiStart best_of(std::vector<Solution> all, const SolverOptions& options) {
  MultiStart result;
  result.all = std::move(all);
  const auto rank = [](const Solution& s) { return std::isfinite(s.objective) ? s.objective : INFINITY; };
  std::stable_sort(result.all.begin(), result.all.end(),
                   [&](const Solution& a, const Solution& b) { return rank(a) < rank(b); });
  result.best = result.all.front();
  // A start that stalled a hair below a converged one is not better.
  const double slack = options.agreement * (1 + std::abs(result.best.objective));
  for (const Solution& s : result.all) {
    if (s.objective > result.all.front().objective + slack) break;
    if (s.converged && !result.best.converged) result.best = s;
    result.agreeing += s.converged ? 1 : 0;
  }
  return result;
}

MultiStart minimise_from(const Objective& objective, const Box& box, const std::vector<Vector>& starts,
                         const SolverOptions& options, int threads) {
  std::vector<Solution> all(starts.size());
  parallel_for(static_cast<int>(starts.size()), threads,
               [&](int i) { all[i] = minimise(objective, box, starts[i], {}, options); });
  return best_of(std::move(all), options);
}

}  // namespace hylas::fitting
