// What models of loss laws share: centred logs of columns, ranges to warn beyond, objectives.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fitting/loss_objective.hpp"

namespace hylas::fitting {

// ln of a column, centred at its mean over the fitted rows (corr(a, alpha) is .999 otherwise, MATHS 3).
struct CentredLog {
  std::string column;
  double centre = 0, low = 0, high = 0;  // of ln; range of the column

  CentredLog() = default;
  CentredLog(std::string name, const LossData& data);
  [[nodiscard]] Vector of(const LossData& rows) const;
  // "N = 1e+13 is more than 10x beyond the fitted ..."
  void warn(double value, std::vector<std::string>& warnings) const;
};

class BasicLossModel : public LossModel {
 public:
  [[nodiscard]] const std::vector<LossCoordinate>& coordinates() const override { return coordinates_; }
  [[nodiscard]] const std::vector<LossParameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::vector<std::string> warnings(const LossData& rows, std::size_t row) const override;

 protected:
  std::vector<LossCoordinate> coordinates_;
  std::vector<LossParameter> parameters_;
  std::vector<CentredLog> logs_;  // those to warn about
};

// ln L = ln sum_k exp(z_k).
class LogSumModel : public BasicLossModel {
 public:
  [[nodiscard]] Vector log_losses(const Matrix& features, const Vector& theta) const override {
    return log_sum(coordinates_, scalars_, features, theta);
  }
  [[nodiscard]] std::unique_ptr<Objective> objective(const LossSample& sample) const override {
    return std::make_unique<LogSumObjective>(coordinates_, scalars_, sample);
  }

 protected:
  explicit LogSumModel(int scalars) : scalars_(scalars) {}

 private:
  int scalars_;
};

// ln L = L::log_loss(features, scalars).
template <class L>
class DualLossModel : public BasicLossModel {
 public:
  [[nodiscard]] Vector log_losses(const Matrix& features, const Vector& theta) const override {
    Vector out(features.rows());
    std::vector<double> row(static_cast<std::size_t>(features.cols()));
    for (Eigen::Index i = 0; i < features.rows(); ++i) {
      for (Eigen::Index j = 0; j < features.cols(); ++j) row[j] = features(i, j);
      double x[L::kScalars] = {};
      for (std::size_t j = 0; j < coordinates_.size(); ++j) {
        const LossCoordinate& c = coordinates_[j];
        x[c.scalar] += theta[j] * (c.feature < 0 ? 1.0 : row[c.feature]);
      }
      out[i] = law_.template log_loss<double>(row.data(), x);
    }
    return out;
  }
  [[nodiscard]] std::unique_ptr<Objective> objective(const LossSample& sample) const override {
    return std::make_unique<LossObjective<L>>(law_, coordinates_, sample);
  }

 protected:
  explicit DualLossModel(L law) : law_(std::move(law)) {}
  L law_;
};

}  // namespace hylas::fitting
