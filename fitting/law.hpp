// Law: what a type must offer to be fitted, and the adapter that turns it into an Objective.
//
// A law is a sum of terms (one a point, or one a run). A term depends on kScalars scalars, and each scalar is a linear
// combination of the law's coordinates: ln D50 of a run is a row of covariates times coefficients, sigma is one
// coordinate. So a law writes term() once, templated on its number type (double, or Dual2 for exact first and second
// derivatives in the few scalars), and this file chains to any number of coordinates. Terms are penalties to be
// minimised: a Huber loss, or a negative log-likelihood. Weights of terms are how the bootstrap resamples without
// copying data.
//
// Adding a law: one file in fitting/laws/ with such a type, its public function, and a line in the room's README.
#pragma once

#include <concepts>
#include <string>
#include <utility>
#include <vector>

#include "fitting/dual2.hpp"
#include "fitting/solver.hpp"

namespace hylas::fitting {

// One coordinate: scalar `scalar` of term i contains theta_j * column[i] (an empty column is all ones).
struct Coordinate {
  std::string name;
  int scalar = 0;
  double lower = 0, upper = 0;
  std::vector<double> column;
};

template <class L>
concept Law = requires(const L& law, int i, const double* x, const Dual2<L::kScalars>* x2) {
  { L::kScalars } -> std::convertible_to<int>;
  { law.coordinates() } -> std::convertible_to<const std::vector<Coordinate>&>;
  { law.terms() } -> std::convertible_to<int>;
  { law.scale() } -> std::convertible_to<double>;  // multiplies the sum, so that a difference of 1 matters
  { law.starts() } -> std::convertible_to<std::vector<Vector>>;
  { law.term(i, x) } -> std::convertible_to<double>;
  { law.term(i, x2) } -> std::convertible_to<Dual2<L::kScalars>>;
};

[[nodiscard]] inline Box box_of(const std::vector<Coordinate>& coordinates) {
  const auto p = static_cast<Eigen::Index>(coordinates.size());
  Box box{Vector(p), Vector(p)};
  for (Eigen::Index j = 0; j < p; ++j) {
    box.lower[j] = coordinates[j].lower;
    box.upper[j] = coordinates[j].upper;
  }
  return box;
}

template <Law L>
class LawObjective final : public Objective {
 public:
  static constexpr int K = L::kScalars;

  explicit LawObjective(const L& law, std::vector<double> weights = {})
      : law_(law), weights_(std::move(weights)), p_(static_cast<int>(law.coordinates().size())) {
    columns_.resize(law.terms(), p_);
    for (int j = 0; j < p_; ++j) {
      const Coordinate& c = law.coordinates()[j];
      scalar_.push_back(c.scalar);
      for (int i = 0; i < law.terms(); ++i) columns_(i, j) = c.column.empty() ? 1.0 : c.column[i];
    }
  }

  [[nodiscard]] int size() const override { return p_; }

  [[nodiscard]] double value(const Vector& theta) const override {
    double sum = 0;
    double x[K];
    for (int i = 0; i < law_.terms(); ++i) {
      const double w = weight(i);
      if (w == 0) continue;
      scalars(theta, i, x);
      sum += w * law_.term(i, static_cast<const double*>(x));
    }
    return sum * law_.scale();
  }

  double derivatives(const Vector& theta, Vector& gradient, Matrix& hessian) const override {
    gradient = Vector::Zero(p_);
    hessian = Matrix::Zero(p_, p_);
    double sum = 0;
    double x[K];
    Dual2<K> duals[K];
    for (int i = 0; i < law_.terms(); ++i) {
      const double w = weight(i);
      if (w == 0) continue;
      scalars(theta, i, x);
      for (int k = 0; k < K; ++k) duals[k] = Dual2<K>::variable(x[k], k);
      const Dual2<K> t = law_.term(i, static_cast<const Dual2<K>*>(duals));
      sum += w * t.v;
      chain(t, w, i, gradient, hessian);
    }
    hessian.triangularView<Eigen::StrictlyUpper>() = hessian.transpose();
    gradient *= law_.scale();
    hessian *= law_.scale();
    return sum * law_.scale();
  }

  [[nodiscard]] Matrix term_gradients(const Vector& theta) const override {
    Matrix rows = Matrix::Zero(law_.terms(), p_);
    double x[K];
    Dual2<K> duals[K];
    for (int i = 0; i < law_.terms(); ++i) {
      scalars(theta, i, x);
      for (int k = 0; k < K; ++k) duals[k] = Dual2<K>::variable(x[k], k);
      const Dual2<K> t = law_.term(i, static_cast<const Dual2<K>*>(duals));
      for (int j = 0; j < p_; ++j) rows(i, j) = law_.scale() * weight(i) * t.g[scalar_[j]] * columns_(i, j);
    }
    return rows;
  }

 private:
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  [[nodiscard]] double weight(int i) const { return weights_.empty() ? 1.0 : weights_[i]; }

  void scalars(const Vector& theta, int i, double* x) const {
    for (int k = 0; k < K; ++k) x[k] = 0;
    for (int j = 0; j < p_; ++j) x[scalar_[j]] += columns_(i, j) * theta[j];
  }

  void chain(const Dual2<K>& t, double w, int i, Vector& gradient, Matrix& hessian) const {
    for (int j = 0; j < p_; ++j) {
      const double xj = w * columns_(i, j);
      if (xj == 0) continue;
      const int a = scalar_[j];
      gradient[j] += t.g[a] * xj;
      for (int l = 0; l <= j; ++l) {
        const int b = scalar_[l];
        hessian(j, l) += (a >= b ? t.h[a * (a + 1) / 2 + b] : t.h[b * (b + 1) / 2 + a]) * xj * columns_(i, l);
      }
    }
  }

  const L& law_;
  std::vector<double> weights_;
  int p_;
  RowMajor columns_;
  std::vector<int> scalar_;
};

}  // namespace hylas::fitting
