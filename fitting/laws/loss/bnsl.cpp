// A broken neural scaling law (arXiv 2210.14891): a power law whose exponent changes smoothly at up to three breaks.
//
//   L = a + b x^-c0 prod_i (1 + (x / d_i)^(1 / f_i))^(-c_i f_i)
//
// d_i: where a break lies; f_i: how many e-folds of x it takes; the exponent is c0 before the first break and c0 + c1 +
// ... after the last. x is one column: tokens, parameters or compute.
#include <algorithm>
#include <cmath>

#include "fitting/loss_model.hpp"
#include "fitting/variable_projection.hpp"

namespace hylas::fitting {
namespace {

constexpr int kMostBreaks = 3;

template <int Breaks>
struct Broken {
  static constexpr int kScalars = 3 + 3 * Breaks;
  // Scalars: ln a, ln b, c0, then c_i, ln d_i, ln f_i. Feature: ln x less its centre.
  template <class T>
  [[nodiscard]] T log_loss(const double* features, const T* s) const {
    using std::exp;
    T power = s[1] - s[2] * features[0];
    for (int i = 0; i < Breaks; ++i) {
      const T* p = s + 3 + 3 * i;
      const T f = exp(p[2]);
      power = power - p[0] * f * softplus((features[0] - p[1]) / f);
    }
    const T parts[] = {s[0], power};
    return log_sum_exp(parts);
  }
};

template <int Breaks>
class Model final : public DualLossModel<Broken<Breaks>> {
  using Base = DualLossModel<Broken<Breaks>>;
  using Base::coordinates_;
  using Base::parameters_;

 public:
  explicit Model(const LossData& data) : Base(Broken<Breaks>{}), log_x_("x", data) {
    const auto [low, high] = std::ranges::minmax_element(data.loss);
    const double least = std::log(*low) - 12, most = std::log(*high);
    const double first = std::log(log_x_.low) - log_x_.centre, last = std::log(log_x_.high) - log_x_.centre;
    coordinates_ = {{"ln_a", 0, least, most}, {"ln_b", 1, least, most + 20}, {"c0", 2, -4, 4}};
    parameters_ = {{"a", false, {0}}, {"b", false, {1, 2}}, {"c0", false, {2}}};
    for (int i = 0; i < Breaks; ++i) {
      const int at = 3 + 3 * i;
      const std::string index = std::to_string(i + 1);
      coordinates_.insert(coordinates_.end(), {{"c" + index, at, -4, 4},
                                               {"ln_d" + index, at + 1, first, last},
                                               {"ln_f" + index, at + 2, std::log(0.02), std::log(last - first)}});
      parameters_.insert(
          parameters_.end(),
          {{"c" + index, false, {at}}, {"d" + index, true, {at + 1, at}}, {"f" + index, false, {at + 2, at}}});
    }
    this->logs_ = {log_x_};
  }

  [[nodiscard]] Matrix features(const LossData& rows) const override { return log_x_.of(rows); }

  // a and b by projection over c0, and over slope, place and width of one break; the other breaks start small.
  [[nodiscard]] std::vector<Vector> starts(const LossSample& sample, int count) const override {
    const Eigen::ArrayXd x = sample.features.col(0).array();
    const double first = x.minCoeff(), range = x.maxCoeff() - first;
    ProjectionGrid grid;
    grid.axes = {{-0.2, 0.02, 0.1, 0.25, 0.5, 1.0}};
    if (Breaks > 0) {
      grid.axes.push_back({-0.6, -0.2, 0.2, 0.6, 1.2});
      grid.axes.push_back({0.15, 0.3, 0.45, 0.6, 0.75, 0.9});
      grid.axes.push_back({0.05, 0.2});
    }
    const auto scalars = [&](const std::vector<int>& cell) {
      Vector s = Vector::Zero(Broken<Breaks>::kScalars);
      s[2] = grid.axes[0][cell[0]];
      for (int i = 0; i < Breaks; ++i) {
        const double place = i == 0 ? grid.axes[2][cell[2]] : std::fmod(grid.axes[2][cell[2]] + 0.35 * i, 1.0);
        s.segment(3 + 3 * i, 3) << (i == 0 ? grid.axes[1][cell[1]] : 0.02), first + place * range,
            std::log(grid.axes[3][cell[3]] * range);
      }
      return s;
    };
    grid.basis = [&](const std::vector<int>& cell, Eigen::ArrayXXd& basis) {
      Vector s = scalars(cell);
      s[0] = -700;
      basis.resize(x.size(), 2);
      basis.col(0).setOnes();
      for (Eigen::Index i = 0; i < x.size(); ++i) basis(i, 1) = std::exp(this->law_.log_loss(&x[i], s.data()));
    };
    grid.theta = [&](const std::vector<int>& cell, const Vector& sizes) {
      Vector s = scalars(cell);
      s[0] = std::log(sizes[0] + 1e-300);
      s[1] = std::log(sizes[1] + 1e-300);
      return s;
    };
    return projected_starts(grid, sample.log_loss, sample.weights, this->box(), std::max(count, 16));
  }

  // b is the power part at x = 1, if no break came before it.
  [[nodiscard]] std::vector<double> reported(const Vector& t) const override {
    std::vector<double> values = {std::exp(t[0]), std::exp(t[1] + t[2] * log_x_.centre), t[2]};
    for (int i = 0; i < Breaks; ++i) {
      const auto p = t.segment(3 + 3 * i, 3);
      values.insert(values.end(), {p[0], std::exp(p[1] + log_x_.centre), std::exp(p[2])});
    }
    return values;
  }
  [[nodiscard]] Vector coordinates_at(const std::vector<double>& v) const override {
    Vector t(Broken<Breaks>::kScalars);
    t.head(3) << std::log(v[0]), std::log(v[1]) - v[2] * log_x_.centre, v[2];
    for (int i = 0; i < Breaks; ++i) {
      const double* p = v.data() + 3 + 3 * i;
      t.segment(3 + 3 * i, 3) << p[0], std::log(p[1]) - log_x_.centre, std::log(p[2]);
    }
    return t;
  }

 private:
  CentredLog log_x_;
};

class BrokenLaw final : public LossLaw {
 public:
  [[nodiscard]] LossLawText text() const override {
    return {.name = "bnsl",
            .summary = "a power law in one variable whose exponent changes at breaks (broken neural scaling law)",
            .formula = "L = a + b x^-c0 prod_i (1 + (x / d_i)^(1 / f_i))^(-c_i f_i)",
            .source = "arXiv 2210.14891",
            .parameters = {"a", "b", "c0", "c1", "d1", "f1"},
            .columns = {{"x", "what the loss falls with: tokens, parameters or compute"}},
            .settings = {{"breaks", "how many", 1, 0, kMostBreaks}}};
  }
  [[nodiscard]] std::unique_ptr<LossModel> on(const LossData& data, const LossSettings& settings) const override {
    const double breaks = settings.at("breaks");
    if (breaks == 0) return std::make_unique<Model<0>>(data);
    if (breaks == 1) return std::make_unique<Model<1>>(data);
    if (breaks == 2) return std::make_unique<Model<2>>(data);
    if (breaks == 3) return std::make_unique<Model<3>>(data);
    throw InputError("the setting breaks must be a whole number");
  }
};

}  // namespace

std::unique_ptr<LossLaw> make_bnsl() {
  return std::make_unique<BrokenLaw>();
}

}  // namespace hylas::fitting
