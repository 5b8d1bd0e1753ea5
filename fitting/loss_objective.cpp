// The objective of laws that are sums of powers; what and why are in the header.
#include "fitting/loss_objective.hpp"

#include <cmath>

namespace hylas::fitting {

LogSumObjective::LogSumObjective(const std::vector<LossCoordinate>& coordinates, int scalars, const LossSample& sample)
    : scalars_(scalars),
      constant_(static_cast<std::size_t>(scalars), true),
      sample_rows_(sample.log_loss.size()),
      residual_(sample.residual) {
  for (Eigen::Index i = 0; i < sample_rows_; ++i) {
    if (sample.weights[i] != 0) row_.push_back(i);
  }
  log_loss_ = sample.log_loss(row_);
  weights_ = sample.weights(row_);
  columns_.resize(log_loss_.size(), static_cast<Eigen::Index>(coordinates.size()));
  for (std::size_t j = 0; j < coordinates.size(); ++j) {
    const LossCoordinate& c = coordinates[j];
    scalar_.push_back(c.scalar);
    one_.push_back(c.feature < 0);
    if (c.feature < 0) {
      columns_.col(j).setOnes();
    } else {
      columns_.col(j) = sample.features.col(c.feature)(row_);
      constant_[c.scalar] = false;
    }
  }
}

LogSumObjective::Columns LogSumObjective::parts(const Vector& theta) const {
  Columns out = Columns::Zero(log_loss_.size(), scalars_ + 2);
  Vector offset = Vector::Zero(scalars_);
  for (int j = 0; j < size(); ++j) {
    if (one_[j]) {
      offset[scalar_[j]] += theta[j];
    } else {
      out.col(scalar_[j]) += theta[j] * columns_.col(j);
    }
  }
  for (int k = 0; k < scalars_; ++k) {
    if (constant_[k]) {
      out.col(k).setConstant(std::exp(offset[k]));
    } else {
      out.col(k) = (out.col(k) + offset[k]).exp();
    }
    out.col(scalars_) += out.col(k);
  }
  out.col(scalars_ + 1) = out.col(scalars_).log() - log_loss_;
  return out;
}

LogSumObjective::Columns LogSumObjective::slopes(const Columns& parts) const {
  const Eigen::ArrayXd inverse = parts.col(scalars_).inverse();
  Columns out(log_loss_.size(), size());
  for (int j = 0; j < size(); ++j) {
    out.col(j) = parts.col(scalar_[j]) * inverse;
    if (!one_[j]) out.col(j) *= columns_.col(j);
  }
  return out;
}

double LogSumObjective::value(const Vector& theta) const {
  const Columns work = parts(theta);
  const Eigen::ArrayXd size = work.col(scalars_ + 1).abs();
  const Eigen::ArrayXd inner = size.min(residual_.threshold());
  return residual_.scale() / residual_.unit() * (weights_ * inner * (size - 0.5 * inner)).sum();
}

// With p_k the shares of the sum and f = ln of it: f_j = p_s(j) c_j and f_jl = [s(j) = s(l)] p_s c_j c_l - f_j f_l.
double LogSumObjective::derivatives(const Vector& theta, Vector& gradient, Matrix& hessian) const {
  const Columns work = parts(theta), f = slopes(work);
  const auto r = work.col(scalars_ + 1);
  const double limit = residual_.threshold(), factor = residual_.scale() / residual_.unit();
  const Eigen::ArrayXd size = r.abs(), inner = size.min(limit);
  const Eigen::ArrayXd first = weights_ * r.min(limit).max(-limit);
  const Eigen::ArrayXd second = (size <= limit).select(weights_, 0.0) - first;
  const int p = this->size();
  gradient.resize(p);
  hessian.resize(p, p);
  Eigen::ArrayXd times_second(size.size()), times_first(size.size());
  for (int j = 0; j < p; ++j) {
    times_second = f.col(j) * second;
    times_first = f.col(j) * first;
    gradient[j] = factor * times_first.sum();
    for (int l = 0; l <= j; ++l) {
      double h = (times_second * f.col(l)).sum();
      if (scalar_[j] == scalar_[l]) h += one_[l] ? times_first.sum() : (times_first * columns_.col(l)).sum();
      hessian(j, l) = hessian(l, j) = factor * h;
    }
  }
  return factor * (weights_ * inner * (size - 0.5 * inner)).sum();
}

Matrix LogSumObjective::term_gradients(const Vector& theta) const {
  const Columns work = parts(theta), f = slopes(work);
  Matrix rows = Matrix::Zero(sample_rows_, size());
  for (std::size_t i = 0; i < row_.size(); ++i) {
    const auto at = static_cast<Eigen::Index>(i);
    const double slope = residual_.scale() * weights_[at] * residual_.slope(work(at, scalars_ + 1));
    rows.row(row_[i]) = slope * f.row(at).matrix();
  }
  return rows;
}

Vector log_sum(const std::vector<LossCoordinate>& coordinates, int scalars, const Matrix& features,
               const Vector& theta) {
  Matrix z = Matrix::Zero(features.rows(), scalars);
  for (std::size_t j = 0; j < coordinates.size(); ++j) {
    const LossCoordinate& c = coordinates[j];
    if (c.feature < 0) {
      z.col(c.scalar).array() += theta[j];
    } else {
      z.col(c.scalar) += theta[j] * features.col(c.feature);
    }
  }
  const Vector top = z.rowwise().maxCoeff();
  return ((z.colwise() - top).array().exp().rowwise().sum().log()).matrix() + top;
}

}  // namespace hylas::fitting
