// Loss along a learning-rate schedule (arXiv 2408.11029): one law for every step of WSD, cosine and constant curves.
//
//   L(s) = L0 + A S1^-alpha - C S2 [+ B N^-beta where the rows have a column N]
//   S1(s) = sum_{i <= s} lr_i,   S2(s) = sum_{i <= s} m_i,  m_i = lambda m_{i-1} + (lr_{i-1} - lr_i)
//
// S1 is the area under the schedule, S2 the annealing area: what decaying the rate has bought. Between the rows of a
// run the rate is interpolated linearly; before its first row it is that row's. lambda is a setting (0.999).
#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include <map>

#include "fitting/loss_model.hpp"
#include "fitting/variable_projection.hpp"

namespace hylas::fitting {
namespace {

enum : int { kL0, kA, kAlpha, kC, kB, kBeta, kMost };
constexpr double kLongest = 1e8;  // steps of a run: more is a column of tokens

struct Annealing {
  static constexpr int kScalars = kMost;
  bool sizes = false;
  // Features: ln S1 less its centre, S2 over its largest, ln N less its centre.
  template <class T>
  [[nodiscard]] T log_loss(const double* f, const T* x) const {
    using std::exp;
    using std::log;
    T loss = exp(x[kL0]) + exp(x[kA] - x[kAlpha] * f[0]) - x[kC] * f[1];
    if (sizes) loss += exp(x[kB] - x[kBeta] * f[2]);
    return log(loss);  // NaN where the annealing term is larger than the rest: outside the domain
  }
};

struct Areas {
  double forward = 0, annealing = 0;
};

// S1 and S2 at every row, run by run.
std::vector<Areas> areas_of(const LossData& rows, double lambda) {
  const auto& step = rows.at("step");
  const auto& lr = rows.at("lr");
  std::map<std::string, std::vector<std::size_t>> runs;
  for (std::size_t i = 0; i < step.size(); ++i) runs[rows.run.empty() ? "" : rows.run[i]].push_back(i);
  std::vector<Areas> areas(step.size());
  for (auto& [name, indices] : runs) {
    std::ranges::stable_sort(indices, {}, [&](std::size_t i) { return step[i]; });
    Areas sum;
    double momentum = 0, at = 0, rate = lr[indices.front()];
    for (const std::size_t i : indices) {
      if (step[i] > kLongest || step[i] != std::floor(step[i]) || step[i] <= at) {
        throw InputError(fmt::format("point {}: step is {}; steps of a run must be whole, ascending, and at most 1e8",
                                     i + 1, step[i]));
      }
      if (lr[i] < 0) throw InputError(fmt::format("point {}: lr is {}; it must not be negative", i + 1, lr[i]));
      const double slope = (lr[i] - rate) / (step[i] - at);
      for (double s = at + 1; s <= step[i]; ++s) {
        momentum = lambda * momentum - slope;
        rate += slope;
        sum.forward += rate;
        sum.annealing += momentum;
      }
      rate = lr[i];
      at = step[i];
      areas[i] = sum;
    }
  }
  return areas;
}

class Model final : public DualLossModel<Annealing> {
 public:
  Model(const LossData& data, double lambda) : DualLossModel(Annealing{data.has("N")}), lambda_(lambda) {
    const std::vector<Areas> areas = areas_of(data, lambda);
    for (const Areas& a : areas) {
      if (!(a.forward > 0)) throw InputError("a run begins with lr 0: give its first row at a positive lr");
      centre_ += std::log(a.forward) / static_cast<double>(areas.size());
      largest_ = std::max(largest_, std::abs(a.annealing));
    }
    if (!(largest_ > 0)) throw InputError("lr never changes: C has nothing to be learned from; add a decayed branch");
    const auto [low, high] = std::ranges::minmax_element(data.loss);
    const double least = std::log(*low) - 12, most = std::log(*high);
    coordinates_ = {{"ln_L0", kL0, least, most},
                    {"a", kA, least, most + 5},
                    {"alpha", kAlpha, 0, 4},
                    {"c", kC, -10 * *high, 10 * *high}};
    parameters_ = {{"L0", false, {kL0}}, {"A", false, {kA, kAlpha}}, {"alpha", true, {kAlpha, kA}}, {"C", false, {kC}}};
    if (law_.sizes) {
      log_n_ = CentredLog("N", data);
      logs_ = {log_n_};
      coordinates_.insert(coordinates_.end(), {{"b", kB, least, most + 5}, {"beta", kBeta, 0, 4}});
      parameters_.insert(parameters_.end(), {{"B", false, {kB, kBeta}}, {"beta", true, {kBeta, kB}}});
    }
  }

  [[nodiscard]] Matrix features(const LossData& rows) const override {
    const std::vector<Areas> areas = areas_of(rows, lambda_);
    Matrix out = Matrix::Zero(static_cast<Eigen::Index>(areas.size()), 3);
    for (std::size_t i = 0; i < areas.size(); ++i) {
      out(i, 0) = std::log(areas[i].forward) - centre_;
      out(i, 1) = areas[i].annealing / largest_;
    }
    if (law_.sizes) out.col(2) = log_n_.of(rows);
    return out;
  }

  // L0, A and B by projection over the exponents, with the annealing term at a few sizes.
  [[nodiscard]] std::vector<Vector> starts(const LossSample& sample, int count) const override {
    std::vector<Vector> starts;
    const Eigen::ArrayXd s1 = sample.features.col(0).array(), s2 = sample.features.col(1).array();
    const Eigen::ArrayXd n = sample.features.col(2).array(), loss = sample.log_loss.array().exp();
    for (const double c : {0.0, 0.05, 0.2, 0.5}) {  // of the mean loss, at the largest S2
      const double size = c * loss.mean();
      ProjectionGrid grid;
      grid.axes = {log_spaced(0.05, 2, 16)};
      if (law_.sizes) grid.axes.push_back(log_spaced(0.05, 1.5, 10));
      grid.basis = [&](const std::vector<int>& cell, Eigen::ArrayXXd& basis) {
        basis.resize(s1.size(), law_.sizes ? 3 : 2);
        basis.col(0).setOnes();
        basis.col(1) = (-grid.axes[0][cell[0]] * s1).exp();
        if (law_.sizes) basis.col(2) = (-grid.axes[1][cell[1]] * n).exp();
      };
      grid.theta = [&](const std::vector<int>& cell, const Vector& sizes) {
        Vector theta(static_cast<Eigen::Index>(coordinates_.size()));
        theta.head(4) << std::log(sizes[0] + 1e-300), std::log(sizes[1] + 1e-300), grid.axes[0][cell[0]], size;
        if (law_.sizes) theta.tail(2) << std::log(sizes[2] + 1e-300), grid.axes[1][cell[1]];
        return theta;
      };
      const Vector target = (loss + size * s2).max(0.1 * loss).log().matrix();
      for (Vector& start : projected_starts(grid, target, sample.weights, box(), std::max(1, count / 4)))
        starts.push_back(std::move(start));
    }
    return starts;
  }

  [[nodiscard]] std::vector<double> reported(const Vector& t) const override {
    std::vector<double> values = {std::exp(t[kL0]), std::exp(t[kA] + t[kAlpha] * centre_), t[kAlpha], t[kC] / largest_};
    if (law_.sizes) values.insert(values.end(), {std::exp(t[kB] + t[kBeta] * log_n_.centre), t[kBeta]});
    return values;
  }
  [[nodiscard]] Vector coordinates_at(const std::vector<double>& v) const override {
    Vector t(static_cast<Eigen::Index>(coordinates_.size()));
    t.head(4) << std::log(v[0]), std::log(v[1]) - v[2] * centre_, v[2], v[3] * largest_;
    if (law_.sizes) t.tail(2) << std::log(v[4]) - v[5] * log_n_.centre, v[5];
    return t;
  }

 private:
  double lambda_, centre_ = 0, largest_ = 0;
  CentredLog log_n_;
};

class AnnealingLaw final : public LossLaw {
 public:
  [[nodiscard]] LossLawText text() const override {
    return {.name = "annealing",
            .summary = "loss at every step of a learning-rate schedule: WSD, cosine, constant",
            .formula =
                "L = L0 + A S1^-alpha - C S2 [+ B N^-beta], S1 = sum of lr, S2 = sum of m, m = lambda m - change "
                "of lr",
            .source = "arXiv 2408.11029",
            .parameters = {"L0", "A", "alpha", "C"},
            .columns = {{"step", "optimizer step of the row, in its run"},
                        {"lr", "learning rate there", true, false},
                        {"N", "parameters; adds B N^-beta", false}},
            .settings = {{"lambda", "how fast the effect of a decay arrives", 0.999, 0.9, 0.99999}},
            .whole_runs = true};
  }
  [[nodiscard]] std::unique_ptr<LossModel> on(const LossData& data, const LossSettings& settings) const override {
    return std::make_unique<Model>(data, settings.at("lambda"));
  }
};

}  // namespace

std::unique_ptr<LossLaw> make_annealing() {
  return std::make_unique<AnnealingLaw>();
}

}  // namespace hylas::fitting
