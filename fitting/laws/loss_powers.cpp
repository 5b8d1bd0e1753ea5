// Sums of powers: features, starts by variable projection, parameters.
#include "fitting/laws/loss_powers.hpp"

#include <algorithm>
#include <cmath>

#include "fitting/variable_projection.hpp"

namespace hylas::fitting {
namespace {

constexpr int kGrid = 28;
constexpr double kExponentMin = 0.02, kExponentMax = 2.5;

}  // namespace

PowersModel::PowersModel(const LossData& data, bool irreducible, std::vector<std::string> covariates,
                         CovariateRows covariate_rows)
    : LogSumModel(irreducible ? 3 : 2),
      first_(irreducible ? 1 : 0),
      covariates_(static_cast<int>(covariates.size())),
      covariate_rows_(std::move(covariate_rows)),
      log_n_("N", data),
      log_d_("D", data) {
  const auto [low, high] = std::ranges::minmax_element(data.loss);
  const double least = std::log(*low) - 12, most = std::log(*high);
  if (irreducible) {
    coordinates_.push_back({"e", 2, least, most});
    parameters_.push_back({"E", false, {0}});
  }
  const int f = first_;
  coordinates_.insert(
      coordinates_.end(),
      {{"a", 0, least, most + 5}, {"b", 1, least, most + 5}, {"alpha", 0, 0, 4, 0}, {"beta", 1, 0, 4, 1}});
  parameters_.insert(parameters_.end(), {{"A", false, {f + kA, f + kAlpha}},
                                         {"B", false, {f + kB, f + kBeta}},
                                         {"alpha", true, {f + kAlpha, f + kA}},
                                         {"beta", true, {f + kBeta, f + kB}}});
  for (int j = 0; j < covariates_; ++j) {
    const int at = f + kFirstCovariate + j;
    coordinates_.push_back({"beta*" + covariates[j], 1, -20, 20, 2 + j});
    parameters_.push_back({covariates[j], false, {at, f + kBeta, f + kB}});
  }
  logs_ = {log_n_, log_d_};
}

Matrix PowersModel::features(const LossData& rows) const {
  Matrix out(static_cast<Eigen::Index>(rows.rows()), 2 + covariates_);
  out.col(0) = -log_n_.of(rows);
  out.col(1) = -log_d_.of(rows);
  if (covariates_ > 0) out.rightCols(covariates_) = covariate_rows_(rows);
  return out;
}

std::vector<Vector> PowersModel::starts(const LossSample& sample, int count) const {
  const std::vector<double> exponents = log_spaced(kExponentMin, kExponentMax, kGrid);
  const Eigen::Index rows = sample.features.rows();
  Eigen::ArrayXXd n(rows, kGrid), d(rows, kGrid);
  for (int i = 0; i < kGrid; ++i) {
    n.col(i) = (exponents[i] * sample.features.col(0).array()).exp();
    d.col(i) = (exponents[i] * sample.features.col(1).array()).exp();
  }
  ProjectionGrid grid;
  grid.axes = {exponents, exponents};
  grid.basis = [&](const std::vector<int>& cell, Eigen::ArrayXXd& basis) {
    basis.resize(rows, 2 + first_);
    basis.col(0) = n.col(cell[0]);
    basis.col(1) = d.col(cell[1]);
    if (first_ > 0) basis.col(2).setOnes();
  };
  grid.theta = [&](const std::vector<int>& cell, const Vector& sizes) {
    Vector theta = Vector::Zero(static_cast<Eigen::Index>(coordinates_.size()));
    const Vector logs = (sizes.array() + 1e-300).log();
    if (first_ > 0) theta[0] = logs[2];
    theta.segment(first_, 4) << logs[0], logs[1], exponents[cell[0]], exponents[cell[1]];
    return theta;
  };
  return projected_starts(grid, sample.log_loss, sample.weights, box(), count);
}

std::vector<double> PowersModel::reported(const Vector& theta) const {
  std::vector<double> values;
  if (first_ > 0) values.push_back(std::exp(theta[0]));
  const double alpha = theta[first_ + kAlpha], beta = theta[first_ + kBeta];
  values.push_back(std::exp(theta[first_ + kA] + alpha * log_n_.centre));
  values.push_back(std::exp(theta[first_ + kB] + beta * log_d_.centre));
  values.push_back(alpha);
  values.push_back(beta);
  for (int j = 0; j < covariates_; ++j) values.push_back(theta[first_ + kFirstCovariate + j] / beta);
  return values;
}

Vector PowersModel::coordinates_at(const std::vector<double>& values) const {
  Vector theta(static_cast<Eigen::Index>(coordinates_.size()));
  const double* v = values.data() + first_;
  if (first_ > 0) theta[0] = std::log(values[0]);
  theta.segment(first_, 4) << std::log(v[0]) - v[2] * log_n_.centre, std::log(v[1]) - v[3] * log_d_.centre, v[2], v[3];
  for (int j = 0; j < covariates_; ++j) theta[first_ + kFirstCovariate + j] = v[4 + j] * v[3];
  return theta;
}

}  // namespace hylas::fitting
