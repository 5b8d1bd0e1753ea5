// Profile intervals: bracket outwards from the minimum, then regula falsi (Illinois) on the signed root of the
// deviance, which is nearly linear in the coordinate. The other coordinates start where the polynomial through the
// nearest solved points puts them: the profile's path is smooth, so a solve takes two or three Newton steps.
#include "fitting/profile.hpp"

#include <algorithm>
#include <cmath>

namespace hylas::fitting {
namespace {

// A solve's error in the objective is the square of its gradient: 1e-5 is plenty where a root is wanted to 5e-4.
constexpr double kLooser = 100;

class Side {
 public:
  Side(const Objective& objective, const Box& box, const Solution& best, int j, double threshold,
       const SolverOptions& options, ProfileInterval& out)
      : objective_(objective), box_(box), best_(best), j_(j), threshold_(threshold), options_(options), out_(out) {
    options_.tolerance *= kLooser;
    options_.near = true;
    path_.push_back({best.theta[j], best.theta});
    fixed_.assign(static_cast<std::size_t>(best.theta.size()), false);
    fixed_[j] = true;
    const Matrix covariance = best.covariance();
    sd_ = std::sqrt(covariance(j, j));
    direction_ = sd_ > 0 ? Vector(covariance.col(j) / covariance(j, j)) : Vector::Unit(best.theta.size(), j);
    if (!(sd_ > 0) || !std::isfinite(sd_)) {  // on its bound: the slope says how far the threshold is
      const double slope = std::abs(best.gradient[j]), curvature = std::abs(best.hessian(j, j));
      sd_ = slope > 0 ? std::min(0.5 * threshold / slope, 1 / std::sqrt(curvature + 1e-12))
                      : 1 / std::sqrt(curvature + 1e-12);
    }
  }

  // Returns the end and whether it is open.
  std::pair<double, bool> end(int sign) {
    const double bound = sign > 0 ? box_.upper[j_] : box_.lower[j_];
    const double centre = best_.theta[j_];
    if (sign * (bound - centre) <= 1e-10 * std::max(1.0, std::abs(centre))) return {bound, true};
    double inner = centre, inner_value = -threshold_;
    double step = threshold_ * sd_;
    if (std::isfinite(bound)) step = std::min(step, sign * (bound - centre));
    double outer = centre + sign * step, outer_value = rise(outer, start_near(outer));
    for (int i = 0; outer_value < 0; ++i) {
      if (outer == bound || i > 60) return {bound, true};
      const double slope = (outer_value - inner_value) / std::abs(outer - inner);
      const double wanted = slope > 0 ? -1.1 * outer_value / slope : INFINITY;
      const double stride = std::clamp(wanted, 0.05 * step, 3 * std::abs(outer - centre));
      inner = outer;
      inner_value = outer_value;
      outer += sign * stride;
      if (sign * (outer - bound) > 0) outer = bound;
      outer_value = rise(outer, start_near(outer));
    }
    return {root(inner, inner_value, outer, outer_value), false};
  }

 private:
  struct Point {
    double value;
    Vector theta;
  };

  // Through the two or three solved points nearest to `value`; from the minimum along the profile's tangent.
  [[nodiscard]] Vector start_near(double value) {
    std::ranges::sort(path_, {}, [&](const Point& point) { return std::abs(point.value - value); });
    Vector theta = path_[0].theta;
    if (path_.size() == 1) {
      theta += direction_ * (value - theta[j_]);
    } else {
      const std::size_t n = std::min<std::size_t>(path_.size(), 3);
      theta.setZero();
      for (std::size_t a = 0; a < n; ++a) {
        double weight = 1;
        for (std::size_t b = 0; b < n; ++b) {
          if (b != a) weight *= (value - path_[b].value) / (path_[a].value - path_[b].value);
        }
        theta += weight * path_[a].theta;
      }
    }
    theta = box_.clamp(theta);
    theta[j_] = value;
    return theta;
  }

  // sqrt(2 rise) - threshold at a value of the coordinate.
  double rise(double value, const Vector& start) {
    Solution s = minimise(objective_, box_, start, fixed_, options_);
    ++out_.solves;
    if (!s.converged) {  // a poor start; the neighbour itself, moved in this coordinate alone, is another one
      Vector plain = path_[0].theta;  // the nearest, as start_near() left them
      plain[j_] = value;
      const Solution other = minimise(objective_, box_, plain, fixed_, options_);
      ++out_.solves;
      if (other.objective < s.objective || !std::isfinite(s.objective)) s = other;
    }
    const double slack = 1e-5 * (1 + 1e-3 * std::abs(best_.objective));
    if (s.objective < best_.objective - slack) out_.better = s.theta;
    path_.push_back({value, s.theta});
    return std::sqrt(2 * std::max(0.0, s.objective - best_.objective)) - threshold_;
  }

  double root(double a, double fa, double b, double fb) {
    // Where nothing holds the coordinate on one side its sd is enormous, and says nothing of how exact an end must be.
    const auto close_enough = [&] { return std::min(1e-6 * sd_ * threshold_, 1e-5 * (1 + std::abs(a))); };
    int side = 0;
    for (int i = 0; i < 100; ++i) {
      if (std::abs(b - a) <= close_enough()) break;
      // The rise is then flat and steep by turns: what regula falsi has not found in a few steps, halving does.
      const bool halve = i >= 6 && i % 2 == 0;
      const double c = halve ? 0.5 * (a + b) : (a * fb - b * fa) / (fb - fa);
      const double fc = rise(c, start_near(c));
      if (std::abs(fc) <= 5e-4 * threshold_) return c;
      if (fc < 0) {
        a = c;
        fa = fc;
        if (side < 0) fb /= 2;
        side = -1;
      } else {
        b = c;
        fb = fc;
        if (side > 0) fa /= 2;
        side = 1;
      }
    }
    return 0.5 * (a + b);
  }

  const Objective& objective_;
  const Box& box_;
  const Solution& best_;
  int j_;
  double threshold_;
  SolverOptions options_;
  ProfileInterval& out_;
  std::vector<bool> fixed_;
  Vector direction_;
  std::vector<Point> path_;
  double sd_ = 0;
};

}  // namespace

ProfileInterval profile_interval(const Objective& objective, const Box& box, const Solution& best, int j,
                                 double threshold, const SolverOptions& options) {
  ProfileInterval out;
  std::tie(out.low, out.low_open) = Side(objective, box, best, j, threshold, options, out).end(-1);
  std::tie(out.high, out.high_open) = Side(objective, box, best, j, threshold, options, out).end(+1);
  return out;
}

}  // namespace hylas::fitting
