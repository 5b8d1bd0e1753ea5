// Newton steps; what and why are in the header.
#include "fitting/newton.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

namespace hylas::fitting {
namespace {

constexpr int kLineEvaluations = 12;
constexpr int kIdleSteps = 12;      // without halving the first-order norm: noise in the objective, or a long way to go
constexpr double kLineSlope = 0.3;  // a line search ends where the slope has fallen to this share

// -|H|^-1 g over the free coordinates: a descent direction also where H has negative curvature.
Vector direction_of(const Solution& s, const std::vector<int>& free) {
  const Vector g = s.gradient(free);
  const Matrix h = s.hessian(free, free);
  const Eigen::LLT<Matrix> cholesky(h);
  if (cholesky.info() == Eigen::Success && cholesky.rcond() > 1e-13) return -cholesky.solve(g);
  const Vector unit = h.diagonal().cwiseAbs().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(unit.asDiagonal() * h * unit.asDiagonal());
  const Vector size = eigen.eigenvalues().cwiseAbs();
  const Vector inverse = size.cwiseMax(1e-10 * size.maxCoeff()).cwiseMax(1e-100).cwiseInverse();
  const Vector scaled = eigen.eigenvectors().transpose() * unit.asDiagonal() * g;
  return -(unit.asDiagonal() * (eigen.eigenvectors() * inverse.cwiseProduct(scaled)));
}

// Coordinates that a step would push through the bound they lie on: they stay for this step.
bool drop_blocked(const Box& box, const Vector& theta, const Vector& step, std::vector<int>& free) {
  std::vector<int> kept;
  for (std::size_t i = 0; i < free.size(); ++i) {
    const int j = free[i];
    const double near = 1e-10 * std::max(1.0, std::abs(theta[j]));
    const bool blocked =
        (step[i] < 0 && theta[j] - box.lower[j] <= near) || (step[i] > 0 && box.upper[j] - theta[j] <= near);
    if (!blocked) kept.push_back(j);
  }
  const bool dropped = kept.size() < free.size();
  free = std::move(kept);
  return dropped;
}

// The longest step that stays in the box, at most 1.
double room(const Box& box, const Vector& theta, const Vector& step, const std::vector<int>& free) {
  double length = 1;
  for (std::size_t i = 0; i < free.size(); ++i) {
    const int j = free[i];
    if (step[i] > 0) length = std::min(length, (box.upper[j] - theta[j]) / step[i]);
    if (step[i] < 0) length = std::min(length, (box.lower[j] - theta[j]) / step[i]);
  }
  return length;
}

Solution moved(const Objective& objective, const Box& box, const Solution& from, const std::vector<int>& free,
               const Vector& step, double t) {
  Solution s;
  s.fixed = from.fixed;
  s.theta = from.theta;
  for (std::size_t i = 0; i < free.size(); ++i) {
    const int j = free[i];
    s.theta[j] = std::clamp(from.theta[j] + t * step[i], box.lower[j], box.upper[j]);
  }
  assess(objective, box, s);
  return s;
}

// Moves s to a minimum along the step, found as a root of the slope by a safeguarded secant, or to the end of `length`
// where the objective still falls there. Returns false where nothing lower was found.
bool line_search(const Objective& objective, const Box& box, const std::vector<int>& free, const Vector& step,
                 double length, Solution& s, int& evaluations) {
  const Solution from = s;
  const double slope0 = from.gradient(free).dot(step);
  if (!(slope0 < 0)) return false;
  const double rounding = 1e-14 * (1 + std::abs(from.objective));
  double low = 0, low_slope = slope0, low_value = from.objective;
  double high = INFINITY, high_slope = INFINITY, t = length;
  bool found = false;
  for (int i = 0; i < kLineEvaluations; ++i) {
    Solution trial = moved(objective, box, from, free, step, t);
    ++evaluations;
    const double slope = std::isfinite(trial.objective) ? trial.gradient(free).dot(step) : INFINITY;
    if (!(trial.objective <= low_value + rounding) || !std::isfinite(slope)) {
      high = t;
      high_slope = slope > 0 ? slope : INFINITY;
    } else {
      const double value = trial.objective;
      s = std::move(trial);
      found = true;
      if (std::abs(slope) <= kLineSlope * -slope0 || (slope < 0 && std::isinf(high))) return true;
      if (slope < 0) {
        low = t;
        low_slope = slope;
        low_value = value;
      } else {
        high = t;
        high_slope = slope;
      }
    }
    if (high - low <= 1e-12 * length) break;
    const double margin = 0.05 * (high - low);
    const double secant = low - low_slope * (high - low) / (high_slope - low_slope);
    t = std::isfinite(high_slope) ? std::clamp(secant, low + margin, high - margin) : low + 0.25 * (high - low);
  }
  return found;
}

}  // namespace

void assess(const Objective& objective, const Box& box, Solution& s) {
  s.objective = objective.derivatives(s.theta, s.gradient, s.hessian);
  const int p = objective.size();
  s.edge.assign(static_cast<std::size_t>(p), Edge::none);
  s.first_order = 0;
  for (int j = 0; j < p; ++j) {
    if (s.fixed[j]) continue;
    const double tolerance = 1e-10 * std::max(1.0, std::abs(s.theta[j]));
    if (s.theta[j] <= box.lower[j] + tolerance && s.gradient[j] >= 0) s.edge[j] = Edge::lower;
    if (s.theta[j] >= box.upper[j] - tolerance && s.gradient[j] <= 0) s.edge[j] = Edge::upper;
    if (s.edge[j] != Edge::none) continue;
    const double norm = std::abs(s.gradient[j]) * std::max(1.0, std::abs(s.theta[j])) / (1 + std::abs(s.objective));
    s.first_order = std::isfinite(norm) ? std::max(s.first_order, norm) : INFINITY;
  }
  if (!std::isfinite(s.objective)) s.first_order = INFINITY;
}

std::vector<int> free_of(const Solution& s, bool without_edges) {
  std::vector<int> free;
  for (int j = 0; j < s.theta.size(); ++j) {
    if (!s.fixed[j] && !(without_edges && s.edge[j] != Edge::none)) free.push_back(j);
  }
  return free;
}

void newton_steps(const Objective& objective, const Box& box, Solution& s, const SolverOptions& options,
                  int max_evaluations) {
  int evaluations = 0, idle = 0;
  double least = s.first_order;
  while (s.first_order > options.tolerance && std::isfinite(s.first_order) && evaluations < max_evaluations &&
         idle < kIdleSteps) {
    std::vector<int> free = free_of(s, true);
    Vector step;
    do {
      if (free.empty()) break;
      step = direction_of(s, free);
    } while (drop_blocked(box, s.theta, step, free));
    if (free.empty() || !step.allFinite()) break;
    if (!line_search(objective, box, free, step, room(box, s.theta, step, free), s, evaluations)) break;
    idle = s.first_order < 0.5 * least ? 0 : idle + 1;
    least = std::min(least, s.first_order);
  }
  s.evaluations += evaluations;
}

}  // namespace hylas::fitting
