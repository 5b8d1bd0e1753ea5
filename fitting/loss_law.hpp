// LossLaw: what a loss law must offer to be fitted, and what one becomes on data.
//
// A law predicts ln L of a row from a few scalars, and each scalar is a linear combination of the law's coordinates, as
// in fitting/law.hpp: coordinate j adds theta_j * feature to scalar `scalar`. Features are what the law makes of a
// row's columns (centred logs, indicators), so that the same law predicts at rows it was not fitted to. A law therefore
// writes features(), log_loss() (once, templated on its number type), starts() and reported(); the objective with
// exact derivatives, the residual loss, the solver, every bootstrap and all flags are shared (fitting/loss.cpp).
//
// Adding a law: one file laws/loss/NAME.cpp that defines `std::unique_ptr<LossLaw> make_NAME()`; the build finds it
// (fitting/CMakeLists.txt) and loss_laws() lists it. Errors: InputError names the row. Thread-safety: const members.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fitting/law.hpp"
#include "fitting/loss.hpp"
#include "fitting/residual_loss.hpp"

namespace hylas::fitting {

struct LossCoordinate {
  std::string name;
  int scalar = 0;
  double lower = 0, upper = 0;
  int feature = -1;  // column of features(); -1: one
};

// How parameters are reported. `ratio` marks those whose size is compared by ratios, like exponents: known to no better
// than a factor of two means not identified.
struct LossParameter {
  std::string name;
  bool ratio = false;
  std::vector<int> coordinates = {};  // its own first, then those whose bound makes it meaningless too
};

// What is fitted: rows of features with ln L and weights.
struct LossSample {
  Matrix features;  // [rows, features]
  Vector log_loss;
  Vector weights;  // 0 leaves a row out
  ResidualLoss residual;
};

// A law on data: centres and bounds are fixed, rows may be others.
class LossModel {
 public:
  virtual ~LossModel() = default;
  [[nodiscard]] virtual const std::vector<LossCoordinate>& coordinates() const = 0;
  [[nodiscard]] virtual const std::vector<LossParameter>& parameters() const = 0;
  [[nodiscard]] virtual Matrix features(const LossData& rows) const = 0;
  [[nodiscard]] virtual std::vector<Vector> starts(const LossSample& sample, int count) const = 0;
  [[nodiscard]] virtual std::vector<double> reported(const Vector& theta) const = 0;
  // The inverse of reported(); NaN where a coordinate needs a value that is NaN.
  [[nodiscard]] virtual Vector coordinates_at(const std::vector<double>& values) const = 0;
  // ln L of rows of features, and the objective: sum of weight * rho(prediction - ln L), times residual.scale().
  [[nodiscard]] virtual Vector log_losses(const Matrix& features, const Vector& theta) const = 0;
  [[nodiscard]] virtual std::unique_ptr<Objective> objective(const LossSample& sample) const = 0;
  // Warnings about a new row: beyond 10x of what was fitted.
  [[nodiscard]] virtual std::vector<std::string> warnings(const LossData& rows, std::size_t row) const = 0;

  [[nodiscard]] Box box() const;
};

class LossLaw {
 public:
  virtual ~LossLaw() = default;
  [[nodiscard]] virtual LossLawText text() const = 0;
  [[nodiscard]] virtual std::unique_ptr<LossModel> on(const LossData& data, const LossSettings& settings) const = 0;
};

// One of every law in laws/loss/, in the order of the files' names (written by the build).
[[nodiscard]] std::vector<std::unique_ptr<LossLaw>> make_loss_laws();

}  // namespace hylas::fitting
