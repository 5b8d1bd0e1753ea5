// Approach 3: its terms and its variable-projection starts.
#include "fitting/laws/chinchilla.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace hylas::fitting {
namespace {

constexpr int kGrid = 28;
constexpr double kExponentMin = 0.02, kExponentMax = 2.5;

double exponent_at(int i) {
  return kExponentMin * std::pow(kExponentMax / kExponentMin, i / (kGrid - 1.0));
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Softmax weights and log-sum-exp of three numbers.
struct LogSum {
  double value;
  std::array<double, 3> p;
};
LogSum log_sum(double z0, double z1, double z2) {
  const double top = std::max({z0, z1, z2});
  const double e0 = std::exp(z0 - top), e1 = std::exp(z1 - top), e2 = std::exp(z2 - top), sum = e0 + e1 + e2;
  return {top + std::log(sum), {e0 / sum, e1 / sum, e2 / sum}};
}

// min |M c - rhs|^2 over c >= 0 from the normal equations: the best over the seven supports of three coefficients.
Eigen::Vector3d non_negative(const Eigen::Matrix3d& m, const Eigen::Vector3d& rhs) {
  Eigen::Vector3d best = Eigen::Vector3d::Zero();
  double best_value = 0;  // c^T M c - 2 c^T rhs at c = 0
  for (int support = 1; support < 8; ++support) {
    Eigen::Matrix3d part = Eigen::Matrix3d::Identity();
    Eigen::Vector3d right = Eigen::Vector3d::Zero();
    for (int i = 0; i < 3; ++i) {
      if (!(support >> i & 1)) continue;
      right[i] = rhs[i];
      for (int j = 0; j < 3; ++j) part(i, j) = (support >> j & 1) ? m(i, j) : 0.0;
    }
    const Eigen::Vector3d c = part.partialPivLu().solve(right);
    if (!c.allFinite() || c.minCoeff() < 0) continue;
    const double value = c.dot(m * c) - 2 * c.dot(rhs);
    if (value < best_value) {
      best_value = value;
      best = c;
    }
  }
  return best;
}

}  // namespace

ChinchillaTerms::ChinchillaTerms(const LossData& data, double delta, int starts) : delta_(delta), starts_(starts) {
  for (std::size_t i = 0; i < data.loss.size(); ++i) {
    log_loss_.push_back(std::log(data.loss[i]));
    x_.push_back(std::log(data.n[i]));
    y_.push_back(std::log(data.d[i]));
  }
  log_n0_ = mean(x_);
  log_d0_ = mean(y_);
  std::vector<double> minus_x, minus_y;
  for (double& x : x_) minus_x.push_back(-(x -= log_n0_));
  for (double& y : y_) minus_y.push_back(-(y -= log_d0_));
  const double least = *std::min_element(log_loss_.begin(), log_loss_.end());
  const double most = *std::max_element(log_loss_.begin(), log_loss_.end());
  coordinates_ = {{"e", 2, least - 12, most, {}},
                  {"a", 0, least - 12, most + 5, {}},
                  {"b", 1, least - 12, most + 5, {}},
                  {"alpha", 0, 0, 4, std::move(minus_x)},
                  {"beta", 1, 0, 4, std::move(minus_y)}};
}

double ChinchillaTerms::term(int i, const double* z) const {
  const double r = std::abs(log_sum(z[0], z[1], z[2]).value - log_loss_[i]);
  return r <= delta_ ? 0.5 * r * r : delta_ * (r - 0.5 * delta_);
}

Dual2<3> ChinchillaTerms::term(int i, const Dual2<3>* z) const {
  const LogSum sum = log_sum(z[0].v, z[1].v, z[2].v);
  const double r = sum.value - log_loss_[i];
  const bool inner = std::abs(r) <= delta_;
  const double first = inner ? r : std::copysign(delta_, r), second = inner ? 1.0 : 0.0;
  Dual2<3> t(inner ? 0.5 * r * r : delta_ * (std::abs(r) - 0.5 * delta_));
  for (int k = 0, n = 0; k < 3; ++k) {  // the z are the variables themselves
    t.g[k] = first * sum.p[k];
    for (int l = 0; l <= k; ++l, ++n) {
      t.h[n] = second * sum.p[k] * sum.p[l] + first * ((k == l ? sum.p[k] : 0.0) - sum.p[k] * sum.p[l]);
    }
  }
  return t;
}

std::vector<Vector> ChinchillaTerms::starts() const {
  using Array = Eigen::ArrayXd;
  const int n = terms();
  const Box box = box_of(coordinates_);
  const Eigen::Map<const Array> log_loss(log_loss_.data(), n), x(x_.data(), n), y(y_.data(), n);
  const Array inverse = (-log_loss).exp();
  Eigen::ArrayXXd u(n, kGrid), v(n, kGrid);  // N^-alpha / L and D^-beta / L
  for (int i = 0; i < kGrid; ++i) {
    u.col(i) = inverse * (-exponent_at(i) * x).exp();
    v.col(i) = inverse * (-exponent_at(i) * y).exp();
  }
  struct Cell {
    double error;
    Vector theta;
  };
  std::vector<Cell> cells(kGrid * kGrid);
  const double ee = inverse.square().sum(), e1 = inverse.sum();
  for (int i = 0; i < kGrid; ++i) {
    const double uu = u.col(i).square().sum(), eu = (u.col(i) * inverse).sum(), u1 = u.col(i).sum();
    for (int j = 0; j < kGrid; ++j) {
      const double vv = v.col(j).square().sum(), ev = (v.col(j) * inverse).sum(), uv = (u.col(i) * v.col(j)).sum();
      Eigen::Matrix3d m;
      m << ee, eu, ev, eu, uu, uv, ev, uv, vv;
      const Eigen::Vector3d c = non_negative(m, {e1, u1, v.col(j).sum()});
      // Huber with the law's own delta would see only the nearest points from a coarse grid; absolute residuals do not.
      const Array residual = (c[0] * inverse + c[1] * u.col(i) + c[2] * v.col(j)).max(1e-12).log();
      Vector theta(static_cast<int>(kCoordinates));
      theta << std::log(c[0] + 1e-300), std::log(c[1] + 1e-300), std::log(c[2] + 1e-300), exponent_at(i),
          exponent_at(j);
      cells[i * kGrid + j] = {residual.abs().sum(), box.clamp(theta)};
    }
  }
  std::vector<int> order;  // local minima of the grid first, then the rest by error
  const auto lowest_around = [&](int c) {
    for (int di = -1; di <= 1; ++di) {
      for (int dj = -1; dj <= 1; ++dj) {
        const int i = c / kGrid + di, j = c % kGrid + dj;
        if (i < 0 || j < 0 || i >= kGrid || j >= kGrid) continue;
        if (cells[i * kGrid + j].error < cells[c].error) return false;
      }
    }
    return true;
  };
  std::vector<std::pair<bool, double>> rank(cells.size());
  for (int c = 0; c < kGrid * kGrid; ++c) {
    order.push_back(c);
    rank[c] = {!lowest_around(c), cells[c].error};
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return rank[a] < rank[b]; });
  std::vector<Vector> result;
  for (int c : order) {
    if (static_cast<int>(result.size()) == starts_) break;
    // Cells side by side lead to one minimum: keep starts at least two cells apart.
    bool near = false;
    for (const Vector& kept : result) {
      const double step = 2.5 * std::log(kExponentMax / kExponentMin) / (kGrid - 1);
      near = near || (std::abs(std::log(kept[kAlpha] / cells[c].theta[kAlpha])) < step &&
                      std::abs(std::log(kept[kBeta] / cells[c].theta[kBeta])) < step);
    }
    if (!near) result.push_back(cells[c].theta);
  }
  return result;
}

}  // namespace hylas::fitting
