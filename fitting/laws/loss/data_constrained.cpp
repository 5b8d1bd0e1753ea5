// The data-constrained law (arXiv 2305.16264): repeated tokens and excess parameters are worth less and less.
//
//   L = E + A N'^-alpha + B D'^-beta
//   D' = U + U R_D* (1 - exp(-R_D / R_D*)),        U = min(unique, D), R_D = D / U - 1 repetitions
//   N' = U_N + U_N R_N* (1 - exp(-R_N / R_N*)),    U_N = min(N, N optimal for U), R_N = N / U_N - 1
//
// N optimal for U comes from the law itself: G (U G)^(beta / alpha), G = (alpha A / (beta B))^(1 / (alpha + beta)).
#include <algorithm>
#include <cmath>

#include "fitting/loss_model.hpp"
#include "fitting/variable_projection.hpp"

namespace hylas::fitting {
namespace {

enum : int { kE, kA, kB, kAlpha, kBeta, kRD, kRN, kCoordinates };
constexpr double kExponentMin = 0.02, kRepeatMin = 0.05, kRepeatMax = 1e4;

// ln(1 + r (1 - exp(-excess / r))): what the first 1 and the excess beyond it are worth together.
template <class T>
T log_worth(const T& excess, const T& r) {
  using std::exp;
  using std::log;
  if (value_of(excess) > 500 * value_of(r)) return log(1.0 + r);  // exp(-500) is nothing
  return log(1.0 + r * (1.0 - exp(-(excess / r))));
}

struct DataConstrained {
  static constexpr int kScalars = kCoordinates;
  double centre_n = 0, centre_d = 0;  // of ln N and ln D

  // Features: ln N and ln U less the centres, R_D.
  template <class T>
  [[nodiscard]] T log_unique_n(const double* features, const T* x) const {
    using std::log;
    const T a = x[kA] + x[kAlpha] * centre_n, b = x[kB] + x[kBeta] * centre_d;
    const T log_g = (log(x[kAlpha]) + a - log(x[kBeta]) - b) / (x[kAlpha] + x[kBeta]);
    return log_g + x[kBeta] / x[kAlpha] * (features[1] + centre_d + log_g) - centre_n;
  }
  template <class T>
  [[nodiscard]] T log_loss(const double* features, const T* x) const {
    using std::exp;
    using std::log;
    const T optimal = log_unique_n(features, x);
    const T spare = features[0] - optimal;  // ln(N / N optimal for U)
    T n = T(features[0]);
    if (value_of(spare) > 100) n = optimal + log(1.0 + exp(x[kRN]));
    if (value_of(spare) > 0 && value_of(spare) <= 100) n = optimal + log_worth(exp(spare) - 1.0, exp(x[kRN]));
    const T d = features[1] + log_worth(T(features[2]), exp(x[kRD]));
    const T parts[] = {x[kE], x[kA] - x[kAlpha] * n, x[kB] - x[kBeta] * d};
    return log_sum_exp(parts);
  }
};

class Model final : public DualLossModel<DataConstrained> {
 public:
  explicit Model(const LossData& data) : DualLossModel(DataConstrained{}), log_n_("N", data), log_d_("D", data) {
    law_.centre_n = log_n_.centre;
    law_.centre_d = log_d_.centre;
    const auto [low, high] = std::ranges::minmax_element(data.loss);
    const double least = std::log(*low) - 12, most = std::log(*high);
    coordinates_ = {{"e", kE, least, most},
                    {"a", kA, least, most + 5},
                    {"b", kB, least, most + 5},
                    {"alpha", kAlpha, kExponentMin, 4},
                    {"beta", kBeta, kExponentMin, 4},
                    {"ln_R_D", kRD, std::log(kRepeatMin), std::log(kRepeatMax)},
                    {"ln_R_N", kRN, std::log(kRepeatMin), std::log(kRepeatMax)}};
    parameters_ = {{"E", false, {kE}},          {"A", false, {kA, kAlpha}},
                   {"B", false, {kB, kBeta}},   {"alpha", true, {kAlpha, kA}},
                   {"beta", true, {kBeta, kB}}, {"R_D", true, {kRD}},
                   {"R_N", true, {kRN}}};
    logs_ = {log_n_, log_d_};
  }

  [[nodiscard]] Matrix features(const LossData& rows) const override {
    const auto& unique = rows.at("unique");
    const auto& d = rows.at("D");
    Matrix out(static_cast<Eigen::Index>(rows.rows()), 3);
    out.col(0) = log_n_.of(rows);
    for (std::size_t i = 0; i < d.size(); ++i) {
      const double u = std::min(unique[i], d[i]);
      out(i, 1) = std::log(u) - log_d_.centre;
      out(i, 2) = d[i] / u - 1;
    }
    return out;
  }

  // For a few worths of repetition: the exponents by a coarse projection, N taken at its face value.
  [[nodiscard]] std::vector<Vector> starts(const LossSample& sample, int /*count*/) const override {
    std::vector<Vector> starts;
    const Eigen::ArrayXd n = sample.features.col(0).array();
    for (const double rd : {1.0, 4.0, 15.0, 60.0}) {
      const Eigen::ArrayXd excess = sample.features.col(2).array();
      const Eigen::ArrayXd d = sample.features.col(1).array() + (1 + rd * (1 - (-excess / rd).exp())).log();
      ProjectionGrid grid;
      grid.axes = {log_spaced(0.05, 1.5, 12), log_spaced(0.05, 1.5, 12)};
      grid.basis = [&](const std::vector<int>& cell, Eigen::ArrayXXd& basis) {
        basis.resize(n.size(), 3);
        basis.col(0).setOnes();
        basis.col(1) = (-grid.axes[0][cell[0]] * n).exp();
        basis.col(2) = (-grid.axes[1][cell[1]] * d).exp();
      };
      for (const double rn : {1.5, 6.0, 30.0}) {
        grid.theta = [&](const std::vector<int>& cell, const Vector& sizes) {
          Vector theta(static_cast<int>(kCoordinates));
          theta << (sizes.array() + 1e-300).log().matrix(), grid.axes[0][cell[0]], grid.axes[1][cell[1]], std::log(rd),
              std::log(rn);
          return theta;
        };
        for (Vector& start : projected_starts(grid, sample.log_loss, sample.weights, box(), 1))
          starts.push_back(std::move(start));
      }
    }
    return starts;
  }

  [[nodiscard]] std::vector<double> reported(const Vector& t) const override {
    return {std::exp(t[kE]),
            std::exp(t[kA] + t[kAlpha] * law_.centre_n),
            std::exp(t[kB] + t[kBeta] * law_.centre_d),
            t[kAlpha],
            t[kBeta],
            std::exp(t[kRD]),
            std::exp(t[kRN])};
  }
  [[nodiscard]] Vector coordinates_at(const std::vector<double>& v) const override {
    Vector theta(static_cast<int>(kCoordinates));
    theta << std::log(v[0]), std::log(v[1]) - v[3] * law_.centre_n, std::log(v[2]) - v[4] * law_.centre_d, v[3], v[4],
        std::log(v[5]), std::log(v[6]);
    return theta;
  }

 private:
  CentredLog log_n_, log_d_;
};

class DataConstrainedLaw final : public LossLaw {
 public:
  [[nodiscard]] LossLawText text() const override {
    return {.name = "data-constrained",
            .summary = "loss when tokens are repeated: how much a repetition, or a parameter too many, is worth",
            .formula =
                "L = E + A N'^-alpha + B D'^-beta, D' = U (1 + R_D (1 - exp(-(D/U - 1) / R_D))), N' likewise "
                "with R_N over N optimal for U",
            .source = "arXiv 2305.16264",
            .parameters = {"E", "A", "B", "alpha", "beta", "R_D", "R_N"},
            .columns = {{"N", "parameters"},
                        {"D", "training tokens, repetitions included"},
                        {"unique", "tokens seen for the first time"}},
            .settings = {}};
  }
  [[nodiscard]] std::unique_ptr<LossModel> on(const LossData& data, const LossSettings& /*settings*/) const override {
    return std::make_unique<Model>(data);
  }
};

}  // namespace

std::unique_ptr<LossLaw> make_data_constrained() {
  return std::make_unique<DataConstrainedLaw>();
}

}  // namespace hylas::fitting
