// F1: coordinates, terms, starts.
#include "fitting/laws/emergence_curve.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "fitting/distributions.hpp"
#include "fitting/laws/emergence_time.hpp"

namespace hylas::fitting {

double log_beta_binomial(double s, double n, double m, double phi) {
  const auto rise = [](double by, double from) { return log_gamma(by + from) - log_gamma(from); };
  return rise(s, m * phi) + rise(n - s, (1 - m) * phi) - rise(n, phi);
}

EmergenceCurveTerms::EmergenceCurveTerms(EmergenceCurveData data) : mu_(std::move(data.mu)) {
  double first = std::numeric_limits<double>::infinity(), last = -first;
  for (std::size_t i = 0; i < data.log_tokens.size(); ++i) {
    points_.emplace_back(data.log_tokens[i], data.successes[i], data.counts[i]);
    first = std::min(first, data.log_tokens[i].front());
    last = std::max(last, data.log_tokens[i].back());
  }
  learn_levels();
  find_halfways();
  add_linear(coordinates_, 0, "", data.mu_names, mu_, 0.5 * (first + last), 20 + 0.5 * (last - first));
  add_shared("c0", 1, 0, 0.95, data.floors);
  add_shared("A", 2, 0.05, 1, data.plateaus);
  coordinates_.push_back({"ln_k", 3, std::log(0.2), std::log(200.0), {}});
  coordinates_.push_back({"ln_sigma", 4, std::log(5e-3), std::log(10.0), {}});
  coordinates_.push_back({"ln_phi", 5, std::log(0.3), std::log(1e5), {}});
}

void EmergenceCurveTerms::add_shared(const std::string& name, int scalar, double lower, double upper,
                                     const Sharing& sharing) {
  if (sharing.names.empty()) coordinates_.push_back({name, scalar, lower, upper, {}});
  for (std::size_t g = 0; g < sharing.names.size(); ++g) {
    std::vector<double> belongs;
    for (const int group : sharing.of) belongs.push_back(group == static_cast<int>(g) ? 1 : 0);
    coordinates_.push_back({name + ":" + sharing.names[g], scalar, lower, upper, std::move(belongs)});
  }
}

// A floor and a plateau for the starts: the medians of the accuracies below and above the middle of nearly all.
void EmergenceCurveTerms::learn_levels() {
  std::vector<double> all;
  for (const RunPoints& run : points_) {
    for (std::size_t j = 0; j < run.log_d.size(); ++j) all.push_back(run.successes[j] / run.counts[j]);
  }
  std::sort(all.begin(), all.end());
  lowest_ = all[all.size() / 20];
  highest_ = all[all.size() - 1 - all.size() / 20];
  const auto split = static_cast<std::size_t>(std::lower_bound(all.begin(), all.end(), halfway()) - all.begin());
  floor_ = all[split / 2];
  plateau_ = all[std::min(all.size() - 1, (split + all.size()) / 2)];
}

void EmergenceCurveTerms::find_halfways() {
  for (const RunPoints& run : points_) {
    std::size_t j = 0;
    while (j < run.log_d.size() && run.successes[j] < halfway() * run.counts[j]) ++j;
    passed_.push_back(j < run.log_d.size());
    halfway_.push_back(run.log_d[std::min(j, run.log_d.size() - 1)]);
  }
}

int EmergenceCurveTerms::risen() const {
  return static_cast<int>(std::count(passed_.begin(), passed_.end(), true));
}

double EmergenceCurveTerms::term(int i, const double* x) const {
  return RunIntegral(points_[i], rule_, x).negative_log();
}

Dual2<6> EmergenceCurveTerms::term(int i, const Dual2<6>* scalars) const {
  double x[kScalars];
  for (int k = 0; k < kScalars; ++k) x[k] = scalars[k].v;  // the scalars are the variables themselves
  return RunIntegral(points_[i], rule_, x).negative_log_with_derivatives();
}

std::vector<Vector> EmergenceCurveTerms::starts(const std::vector<Vector>& means) const {
  std::vector<double> y;
  for (std::size_t i = 0; i < halfway_.size(); ++i) y.push_back(halfway_[i] + (passed_[i] ? 0 : 0.7));
  const LeastSquares ols = least_squares(mu_, y);
  Vector plain(ols.coefficients.size() + 1);
  plain << ols.coefficients, std::log(std::clamp(ols.sd, 0.1, 2.0));
  std::vector<Vector> all = means;
  all.push_back(plain);
  const Box box = box_of(coordinates_);
  const LawObjective<EmergenceCurveTerms> objective(*this);
  const auto p = static_cast<Eigen::Index>(coordinates_.size());
  std::vector<Vector> result;
  for (const Vector& mean : all) {
    const Eigen::Index q = mean.size() - 1;
    std::vector<std::pair<double, Vector>> grid;
    for (const double k : {4.0, 10.0, 25.0, 60.0}) {
      for (const double phi : {5.0, 30.0, 200.0}) {
        Vector theta(p);
        theta.head(q) = mean.head(q);
        for (Eigen::Index j = q; j < p - 3; ++j) {
          theta[j] = coordinates_[j].scalar == 1 ? std::clamp(floor_, 0.01, 0.9)
                                                 : std::clamp(plateau_, std::min(0.9, floor_ + 0.05), 0.995);
        }
        theta.tail(3) << std::log(k), mean[q], std::log(phi);
        theta = box.clamp(theta);
        grid.emplace_back(objective.value(theta), theta);
      }
    }
    std::stable_sort(grid.begin(), grid.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    result.push_back(grid[0].second);
    if (&mean != &all.front()) continue;
    const auto other =
        std::find_if(grid.begin(), grid.end(), [&](const auto& g) { return g.second[p - 3] != grid[0].second[p - 3]; });
    result.push_back(other->second);  // the best of another steepness
  }
  return result;
}

}  // namespace hylas::fitting
