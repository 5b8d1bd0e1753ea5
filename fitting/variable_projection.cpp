// Variable projection; contract in the header.
#include "fitting/variable_projection.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

namespace hylas::fitting {
namespace {

struct Cell {
  std::vector<int> index;
  double error = 0;
  bool lowest = true;  // of its neighbours along the axes
  Vector theta;
};

// min |B c|^2 - 2 c.rhs over c >= 0 from M = B^T B, at most four columns: the best over all supports.
Vector non_negative(const Matrix& m, const Vector& rhs) {
  const auto columns = static_cast<int>(rhs.size());
  Eigen::Vector4d best = Eigen::Vector4d::Zero();
  double best_value = 0;
  for (int support = 1; support < 1 << columns; ++support) {
    Eigen::Matrix4d part = Eigen::Matrix4d::Identity();
    Eigen::Vector4d right = Eigen::Vector4d::Zero();
    for (int i = 0; i < columns; ++i) {
      if (!(support >> i & 1)) continue;
      right[i] = rhs[i];
      for (int j = 0; j < columns; ++j) part(i, j) = (support >> j & 1) ? m(i, j) : 0.0;
    }
    const Eigen::Vector4d c = part.partialPivLu().solve(right);
    if (!c.allFinite() || c.minCoeff() < 0) continue;
    const double value = -c.dot(right);  // at a stationary point c^T M c = c.rhs
    if (value < best_value) {
      best_value = value;
      best = c;
    }
  }
  return best.head(columns);
}

std::vector<std::vector<int>> indices(const std::vector<std::vector<double>>& axes) {
  std::vector<std::vector<int>> all{{}};
  for (const auto& axis : axes) {  // the last axis runs fastest
    std::vector<std::vector<int>> longer;
    longer.reserve(all.size() * axis.size());
    for (const auto& head : all) {
      for (int i = 0; i < static_cast<int>(axis.size()); ++i) {
        longer.push_back(head);
        longer.back().push_back(i);
      }
    }
    all = std::move(longer);
  }
  return all;
}

void mark_lowest(std::vector<Cell>& cells, const std::vector<std::vector<double>>& axes) {
  std::size_t stride = cells.size();
  for (std::size_t a = 0; a < axes.size(); ++a) {
    stride /= axes[a].size();
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const int i = cells[c].index[a];
      if (i > 0 && cells[c - stride].error < cells[c].error) cells[c].lowest = false;
      if (i + 1 < static_cast<int>(axes[a].size()) && cells[c + stride].error < cells[c].error) cells[c].lowest = false;
    }
  }
}

bool close(const std::vector<int>& a, const std::vector<int>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::abs(a[i] - b[i]) > 2) return false;
  }
  return true;
}

}  // namespace

std::vector<double> log_spaced(double low, double high, int count) {
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) values.push_back(low * std::pow(high / low, i / (count - 1.0)));
  return values;
}

std::vector<Vector> projected_starts(const ProjectionGrid& grid, const Vector& log_loss, const Vector& weights,
                                     const Box& box, int count) {
  const Eigen::ArrayXd inverse = (-log_loss.array()).exp(), root = weights.array().sqrt() * inverse;
  std::vector<Cell> cells;
  Eigen::ArrayXXd basis;
  Matrix relative;
  for (auto& index : indices(grid.axes)) {
    grid.basis(index, basis);
    relative = (basis.colwise() * root).matrix();
    const Matrix m = relative.transpose() * relative;
    const Vector rhs = relative.transpose() * weights.array().sqrt().matrix();
    const Vector sizes = non_negative(m, rhs);
    const Eigen::ArrayXd predicted = (basis.matrix() * sizes).array();
    Cell cell;
    cell.error = (weights.array() * (predicted * inverse).max(1e-12).log().abs()).sum();
    cell.theta = box.clamp(grid.theta(index, sizes));
    cell.index = std::move(index);
    if (!std::isfinite(cell.error) || !cell.theta.allFinite()) cell.error = INFINITY;
    cells.push_back(std::move(cell));  // also a bad one: neighbours are found by position
  }
  mark_lowest(cells, grid.axes);
  std::vector<int> order(cells.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return std::pair(!cells[a].lowest, cells[a].error) < std::pair(!cells[b].lowest, cells[b].error);
  });
  std::vector<const Cell*> kept;
  for (const int i : order) {
    if (static_cast<int>(kept.size()) == count) break;
    if (!std::isfinite(cells[i].error)) continue;
    const bool near =
        std::any_of(kept.begin(), kept.end(), [&](const Cell* other) { return close(other->index, cells[i].index); });
    if (!near) kept.push_back(&cells[i]);
  }
  std::vector<Vector> starts;
  starts.reserve(kept.size());
  for (const Cell* cell : kept) starts.push_back(cell->theta);
  return starts;
}

}  // namespace hylas::fitting
