// Objectives of loss laws: sum over rows of weight * rho(predicted ln L - ln L), with exact derivatives.
//
// Two of them. LossTerms makes a law of fitting/law.hpp from any log_loss() written once for double and Dual2.
// LogSumObjective is for laws that are a sum of powers, ln L = ln sum_k exp(z_k): the same numbers an order of
// magnitude faster, by whole columns (Eigen's vector exp and log), which is what thousands of bootstrap fits are made
// of.
#pragma once

#include <memory>
#include <vector>

#include "fitting/loss_law.hpp"

namespace hylas::fitting {

// L: `static constexpr int kScalars` and `template <class T> T log_loss(const double* features, const T* scalars)
// const`.
template <class L>
class LossTerms {
 public:
  static constexpr int kScalars = L::kScalars;

  LossTerms(const L& law, const std::vector<LossCoordinate>& coordinates, const LossSample& sample)
      : law_(law), features_(sample.features), log_loss_(sample.log_loss), residual_(sample.residual) {
    for (const LossCoordinate& c : coordinates) {
      Coordinate out{c.name, c.scalar, c.lower, c.upper, {}};
      if (c.feature >= 0) {
        out.column.resize(static_cast<std::size_t>(features_.rows()));
        for (Eigen::Index i = 0; i < features_.rows(); ++i) out.column[i] = features_(i, c.feature);
      }
      coordinates_.push_back(std::move(out));
    }
  }

  [[nodiscard]] const std::vector<Coordinate>& coordinates() const { return coordinates_; }
  [[nodiscard]] int terms() const { return static_cast<int>(log_loss_.size()); }
  [[nodiscard]] double scale() const { return residual_.scale(); }
  [[nodiscard]] static std::vector<Vector> starts() { return {}; }  // the model's business

  [[nodiscard]] double term(int i, const double* x) const {
    return residual_.rho(law_.template log_loss<double>(features_.row(i).data(), x) - log_loss_[i]);
  }
  [[nodiscard]] Dual2<kScalars> term(int i, const Dual2<kScalars>* x) const {
    const Dual2<kScalars> f = law_.template log_loss<Dual2<kScalars>>(features_.row(i).data(), x);
    const double r = f.v - log_loss_[i];
    return unary(f, residual_.rho(r), residual_.slope(r), residual_.curvature(r));
  }

 private:
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const L& law_;
  RowMajor features_;
  Vector log_loss_;
  ResidualLoss residual_;
  std::vector<Coordinate> coordinates_;
};

// Keeps the terms that its base refers to. `law` must outlive it.
template <class L>
class LossObjective final : public Objective {
 public:
  LossObjective(const L& law, const std::vector<LossCoordinate>& coordinates, const LossSample& sample)
      : terms_(law, coordinates, sample), sum_(terms_, {sample.weights.begin(), sample.weights.end()}) {}
  [[nodiscard]] int size() const override { return sum_.size(); }
  [[nodiscard]] double value(const Vector& theta) const override { return sum_.value(theta); }
  double derivatives(const Vector& theta, Vector& gradient, Matrix& hessian) const override {
    return sum_.derivatives(theta, gradient, hessian);
  }
  [[nodiscard]] Matrix term_gradients(const Vector& theta) const override { return sum_.term_gradients(theta); }

 private:
  LossTerms<L> terms_;
  LawObjective<LossTerms<L>> sum_;
};

// ln sum_k exp(z_k), z_k = sum of theta_j * feature over the coordinates of scalar k.
class LogSumObjective final : public Objective {
 public:
  LogSumObjective(const std::vector<LossCoordinate>& coordinates, int scalars, const LossSample& sample);

  [[nodiscard]] int size() const override { return static_cast<int>(scalar_.size()); }
  [[nodiscard]] double value(const Vector& theta) const override;
  double derivatives(const Vector& theta, Vector& gradient, Matrix& hessian) const override;
  [[nodiscard]] Matrix term_gradients(const Vector& theta) const override;

 private:
  using Columns = Eigen::ArrayXXd;
  // exp(z) in the first columns, their sum in the next, the residual in the last.
  [[nodiscard]] Columns parts(const Vector& theta) const;
  // d ln L / d theta [row, coordinate].
  [[nodiscard]] Columns slopes(const Columns& parts) const;

  int scalars_;
  std::vector<int> scalar_;
  std::vector<bool> one_;          // coordinate j's feature is 1
  std::vector<bool> constant_;     // scalar k has no other feature
  std::vector<Eigen::Index> row_;  // of the sample: rows of weight 0 are left out
  Eigen::Index sample_rows_;
  Columns columns_;  // [row, coordinate]
  Eigen::ArrayXd log_loss_, weights_;
  ResidualLoss residual_;
};

// ln L of rows of features under such a law.
[[nodiscard]] Vector log_sum(const std::vector<LossCoordinate>& coordinates, int scalars, const Matrix& features,
                             const Vector& theta);

}  // namespace hylas::fitting
