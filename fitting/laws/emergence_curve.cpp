// F1: beta-binomial terms, the integral over a run's random effect, starts.
#include "fitting/laws/emergence_curve.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "fitting/distributions.hpp"
#include "fitting/laws/emergence_time.hpp"

namespace hylas::fitting {
namespace {

constexpr double kEdge = 1e-6;  // means are kept inside (0, 1)
constexpr double kDrop = 15;    // the integrand is left out where it is below exp(-kDrop) of its top
constexpr double kLogSqrt2Pi = 0.91893853320467274178;

double log_choose(double n, double s) {
  return log_gamma(n + 1) - log_gamma(s + 1) - log_gamma(n - s + 1);
}

GammaFamily minus(const GammaFamily& a, const GammaFamily& b) {
  return {a.log_gamma - b.log_gamma, a.digamma - b.digamma, a.trigamma - b.trigamma};
}

// lgamma(s + a) - lgamma(a) and its derivatives in a.
GammaFamily rising(double s, double a) {
  return s == 0 ? GammaFamily{} : minus(gamma_family(s + a), gamma_family(a));
}

// The beta-binomial's logarithm l(m, ln phi) with all first and second derivatives. `total` is rising(n, phi), which
// the points of a run share. With a = m phi, b = (1 - m) phi: l = rising(s, a) + rising(n - s, b) - rising(n, phi).
struct PointTerm {
  double value, m, phi, mm, m_phi, phi_phi;
};
PointTerm point_term(double s, double n, double m, double phi, const GammaFamily& total) {
  const GammaFamily p = rising(s, m * phi), q = rising(n - s, (1 - m) * phi);
  PointTerm t{};
  t.value = p.log_gamma + q.log_gamma - total.log_gamma;
  t.m = phi * (p.digamma - q.digamma);
  t.phi = phi * (m * p.digamma + (1 - m) * q.digamma - total.digamma);
  t.mm = phi * phi * (p.trigamma + q.trigamma);
  t.m_phi = t.m + phi * phi * (m * p.trigamma - (1 - m) * q.trigamma);
  t.phi_phi = t.phi + phi * phi * (m * m * p.trigamma + (1 - m) * (1 - m) * q.trigamma - total.trigamma);
  return t;
}

// rising(n, phi), remembered while n stays the same.
class Totals {
 public:
  explicit Totals(double phi) : phi_(phi) {}
  const GammaFamily& of(double n) {
    if (n != n_) {
      n_ = n;
      total_ = rising(n, phi_);
    }
    return total_;
  }

 private:
  double phi_, n_ = -1;
  GammaFamily total_;
};

}  // namespace

double log_beta_binomial(double s, double n, double m, double phi) {
  return rising(s, m * phi).log_gamma + rising(n - s, (1 - m) * phi).log_gamma - rising(n, phi).log_gamma;
}

QuadratureRule gauss_legendre(int n) {
  Matrix jacobi = Matrix::Zero(n, n);
  for (int i = 1; i < n; ++i) jacobi(i, i - 1) = jacobi(i - 1, i) = i / std::sqrt(4.0 * i * i - 1);
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(jacobi);
  QuadratureRule rule;
  for (int i = 0; i < n; ++i) {
    rule.nodes.push_back(eigen.eigenvalues()[i]);
    rule.weights.push_back(2 * eigen.eigenvectors()(0, i) * eigen.eigenvectors()(0, i));
  }
  return rule;
}

EmergenceCurveTerms::EmergenceCurveTerms(EmergenceCurveData data)
    : data_(std::move(data)), rule_(gauss_legendre(kNodes)) {
  std::vector<double> all;
  double first = std::numeric_limits<double>::infinity(), last = -first;
  for (std::size_t i = 0; i < data_.log_tokens.size(); ++i) {
    for (std::size_t j = 0; j < data_.log_tokens[i].size(); ++j) {
      all.push_back(data_.successes[i][j] / data_.counts[i][j]);
    }
    first = std::min(first, data_.log_tokens[i].front());
    last = std::max(last, data_.log_tokens[i].back());
  }
  std::sort(all.begin(), all.end());
  lowest_ = all[all.size() / 20];
  highest_ = all[all.size() - 1 - all.size() / 20];
  const double middle = 0.5 * (lowest_ + highest_);
  const auto split = static_cast<std::size_t>(std::lower_bound(all.begin(), all.end(), middle) - all.begin());
  floor_ = all[split / 2];  // the median of what lies below the middle, and of what lies above
  plateau_ = all[std::min(all.size() - 1, (split + all.size()) / 2)];
  for (std::size_t i = 0; i < data_.log_tokens.size(); ++i) {
    std::size_t j = 0;
    while (j < data_.counts[i].size() && data_.successes[i][j] < middle * data_.counts[i][j]) ++j;
    double choose = 0;
    for (std::size_t e = 0; e < data_.counts[i].size(); ++e)
      choose += log_choose(data_.counts[i][e], data_.successes[i][e]);
    log_choose_.push_back(choose);
    passed_.push_back(j < data_.counts[i].size());
    halfway_.push_back(data_.log_tokens[i][std::min(j, data_.counts[i].size() - 1)]);
  }
  add_linear(coordinates_, 0, "", data_.mu_names, data_.mu, 0.5 * (first + last), 20 + 0.5 * (last - first));
  coordinates_.push_back({"c0", 1, 0, 0.95, {}});
  coordinates_.push_back({"A", 2, 0.05, 1, {}});
  coordinates_.push_back({"ln_k", 3, std::log(0.2), std::log(200.0), {}});
  coordinates_.push_back({"ln_sigma", 4, std::log(5e-3), std::log(10.0), {}});
  coordinates_.push_back({"ln_phi", 5, std::log(0.3), std::log(1e5), {}});
}

double EmergenceCurveTerms::log_points(int i, double u, const double* x) const {
  const double k = std::exp(x[3]), phi = std::exp(x[5]);
  Totals totals(phi);
  double sum = log_choose_[i];
  for (std::size_t j = 0; j < data_.counts[i].size(); ++j) {
    const double s = data_.successes[i][j], n = data_.counts[i][j];
    const double rise = sigmoid(k * (data_.log_tokens[i][j] - u - x[0]));
    const double mean = kEdge + (1 - 2 * kEdge) * (x[1] + (x[2] - x[1]) * rise);
    sum += rising(s, mean * phi).log_gamma + rising(n - s, (1 - mean) * phi).log_gamma - totals.of(n).log_gamma;
  }
  return sum;
}

Dual2<1> EmergenceCurveTerms::log_points_in_u(int i, double u, const double* x) const {
  const double k = std::exp(x[3]), phi = std::exp(x[5]), span = (1 - 2 * kEdge) * (x[2] - x[1]);
  Totals totals(phi);
  Dual2<1> sum(log_choose_[i]);
  for (std::size_t j = 0; j < data_.counts[i].size(); ++j) {
    const double rise = sigmoid(k * (data_.log_tokens[i][j] - u - x[0])), slope = rise * (1 - rise);
    const double mean = kEdge + (1 - 2 * kEdge) * x[1] + span * rise;
    const double m_u = -span * slope * k, m_uu = span * slope * (1 - 2 * rise) * k * k;
    const double n = data_.counts[i][j];
    const PointTerm t = point_term(data_.successes[i][j], n, mean, phi, totals.of(n));
    sum.v += t.value;
    sum.g[0] += t.m * m_u;
    sum.h[0] += t.mm * m_u * m_u + t.m * m_uu;
  }
  return sum;
}

// m = c0 + (A - c0) s(t), t = k (ln D - u - mu): its derivatives in (mu, c0, A, ln k), then the chain to (m, ln phi).
Dual2<6> EmergenceCurveTerms::log_points_in_scalars(int i, double u, const double* x) const {
  constexpr double inside = 1 - 2 * kEdge;
  const double k = std::exp(x[3]), phi = std::exp(x[5]), span = inside * (x[2] - x[1]);
  Totals totals(phi);
  Dual2<6> sum(log_choose_[i]);
  for (std::size_t j = 0; j < data_.counts[i].size(); ++j) {
    const double t = k * (data_.log_tokens[i][j] - u - x[0]), s = sigmoid(t);
    const double s1 = s * (1 - s), s2 = s1 * (1 - 2 * s);
    const double m[4] = {-span * s1 * k, inside * (1 - s), inside * s, span * s1 * t};
    const double mm[10] = {span * s2 * k * k,  // mu mu
                           inside * s1 * k,
                           0,  // c0 mu, c0 c0
                           -inside * s1 * k,
                           0,
                           0,  // A mu, A c0, A A
                           -span * (s2 * t + s1) * k,
                           -inside * s1 * t,
                           inside * s1 * t,
                           span * (s2 * t + s1) * t};
    const double n = data_.counts[i][j];
    const PointTerm p = point_term(data_.successes[i][j], n, kEdge + inside * x[1] + span * s, phi, totals.of(n));
    sum.v += p.value;
    for (int a = 0, e = 0; a < 4; ++a) {
      sum.g[a] += p.m * m[a];
      for (int b = 0; b <= a; ++b, ++e) sum.h[e] += p.mm * m[a] * m[b] + p.m * mm[e];
      sum.h[15 + a] += p.m_phi * m[a];
    }
    sum.g[5] += p.phi;
    sum.h[20] += p.phi_phi;
  }
  return sum;
}

// Where the curve may rise, as u: between two evaluations, before the first or after the last, best first. Each is
// scored as if the curve were a step there, so that all of them cost as much as two nodes.
std::vector<double> EmergenceCurveTerms::candidates(int i, const double* x) const {
  const std::vector<double>& log_d = data_.log_tokens[i];
  const std::size_t n = log_d.size();
  const double phi = std::exp(x[5]), width = std::exp(-x[3]), precision = std::exp(-2 * x[4]);
  const double low = kEdge + (1 - 2 * kEdge) * x[1], high = kEdge + (1 - 2 * kEdge) * x[2];
  std::vector<std::pair<double, double>> scored;  // (-score, u)
  double score = 0;
  for (std::size_t e = 0; e <= n; ++e) {
    double u = 0;
    if (e == 0) {
      u = std::min(0.0, log_d.front() - 2 * width - x[0]);
    } else {
      const double s = data_.successes[i][e - 1], count = data_.counts[i][e - 1];
      score += log_beta_binomial(s, count, low, phi) - log_beta_binomial(s, count, high, phi);
      u = e == n ? std::max(0.0, log_d.back() + 3 * width - x[0]) : 0.5 * (log_d[e - 1] + log_d[e]) - x[0];
    }
    scored.emplace_back(0.5 * precision * u * u - score, u);
  }
  std::sort(scored.begin(), scored.end());
  std::vector<double> result;
  for (const auto& [negative, u] : scored) {
    if (negative < scored.front().first + 1.5 * kDrop) result.push_back(u);
  }
  return result;
}

// Newton from the best of the likeliest candidates, safeguarded by halving. It need not be exact: it only divides the
// integral.
EmergenceCurveTerms::Mode EmergenceCurveTerms::mode(int i, const double* x,
                                                    const std::vector<double>& candidates) const {
  const double precision = std::exp(-2 * x[4]);
  const auto value = [&](double u) { return log_points(i, u, x) - 0.5 * precision * u * u; };
  Mode best{0, 0, -std::numeric_limits<double>::infinity()};
  for (std::size_t c = 0; c < std::min<std::size_t>(3, candidates.size()); ++c) {
    if (const double v = value(candidates[c]); v > best.top) best = {candidates[c], 0, v};
  }
  for (int iteration = 0; iteration < 20; ++iteration) {
    const Dual2<1> at = log_points_in_u(i, best.u, x);
    const double slope = at.g[0] - precision * best.u;
    const double curvature = std::max(std::abs(precision - at.h[0]), precision);
    best.sd = 1 / std::sqrt(curvature);
    double step = slope / curvature;
    if (!(std::abs(step) > 0.02 * best.sd)) break;
    double next = value(best.u + step);
    for (int halving = 0; !(next >= best.top) && halving < 30; ++halving) next = value(best.u + (step *= 0.5));
    if (!(next > best.top)) break;
    best.u += step;
    best.top = next;
  }
  return best;
}

// How far from the mode the integrand has fallen by kDrop or a little more, on one side.
double EmergenceCurveTerms::reach(int i, const double* x, const Mode& mode, int side) const {
  const double precision = std::exp(-2 * x[4]);
  double distance = std::sqrt(2.4 * kDrop) * mode.sd, inner = 0, outer = 0;  // outer 0: not found yet
  for (int iteration = 0; iteration < 40; ++iteration) {
    const double u = mode.u + side * distance;
    const double drop = mode.top - (log_points(i, u, x) - 0.5 * precision * u * u);
    if (drop >= kDrop && drop <= 2 * kDrop) return distance;
    (drop < kDrop ? inner : outer) = distance;
    if (outer > 0 && outer - inner < 0.02 * outer) return outer;  // a cliff
    const double factor = std::sqrt(1.4 * kDrop / std::max(drop, 1e-3));
    if (outer > 0 && inner > 0) {
      distance = 0.5 * (inner + outer);
    } else {
      distance *= drop < kDrop ? std::clamp(factor, 1.2, 4.0) : std::clamp(factor, 0.25, 0.85);
    }
  }
  return std::max(outer, distance);
}

// The ends of the panels. One mode: its reaches, the mode, and where an unfinished curve's evidence ends. Where the run
// may also have risen elsewhere (it never rose in view, and an unlucky last evaluation is no rise), every gap between
// evaluations is a panel, out to where nothing is left.
std::vector<double> EmergenceCurveTerms::panels(int i, const double* x) const {
  const double precision = std::exp(-2 * x[4]), sigma = std::exp(x[4]), width = std::exp(-x[3]);
  const std::vector<double> rises = candidates(i, x);
  const Mode centre = mode(i, x, rises);
  const double left = reach(i, x, centre, -1), right = reach(i, x, centre, +1);
  double low = centre.u - left, high = centre.u + right;
  const auto alive = [&](double u) { return log_points(i, u, x) - 0.5 * precision * u * u > centre.top - kDrop; };
  double first = low, last = high;
  for (const double u : rises) {
    if ((u < first || u > last) && alive(u)) {
      first = std::min(first, u);
      last = std::max(last, u);
    }
  }
  const double cut = data_.log_tokens[i].back() + 4 * width - x[0];
  std::vector<double> inner{centre.u, cut};
  double least = 0.02 * (high - low);
  if (first < low || last > high) {
    for (double step = left; first < low && alive(first); step *= 1.5) first -= step;
    for (double step = right; last > high && alive(last); step *= 1.5) last += step;
    inner.insert(inner.end(), {low, high});
    for (const double log_d : data_.log_tokens[i]) inner.push_back(log_d - x[0]);
    const double tail = std::max(cut, first);
    for (double u = tail + 2 * sigma; u < last && inner.size() < 200; u += 2 * sigma) inner.push_back(u);
    low = std::min(low, first);
    high = std::max(high, last);
    least = std::min(width, 0.02 * (high - low));
  }
  std::sort(inner.begin(), inner.end());
  std::vector<double> ends{low};
  for (const double end : inner) {
    if (end > ends.back() + least && end < high - least) ends.push_back(end);
  }
  ends.push_back(high);
  return ends;
}

template <class T, class At>
T EmergenceCurveTerms::integrate(int i, const double* x, const At& log_integrand) const {
  using std::exp;
  using std::log;
  const std::vector<double> ends = panels(i, x);
  std::vector<T> logs;
  logs.reserve((ends.size() - 1) * kNodes);
  double top = -std::numeric_limits<double>::infinity();
  for (std::size_t panel = 0; panel + 1 < ends.size(); ++panel) {
    const double half = 0.5 * (ends[panel + 1] - ends[panel]), middle = 0.5 * (ends[panel + 1] + ends[panel]);
    for (int q = 0; q < kNodes; ++q) {
      logs.push_back(log_integrand(middle + half * rule_.nodes[q]) + (std::log(rule_.weights[q] * half) - kLogSqrt2Pi));
      top = std::max(top, value_of(logs.back()));
    }
  }
  T total(0.0);
  for (const T& value : logs) total += exp(value - top);
  return -(log(total) + top);
}

double EmergenceCurveTerms::term(int i, const double* x) const {
  const double precision = std::exp(-2 * x[4]);
  return integrate<double>(i, x, [&](double u) { return log_points(i, u, x) - 0.5 * u * u * precision - x[4]; });
}

Dual2<6> EmergenceCurveTerms::term(int i, const Dual2<6>* scalars) const {
  double x[kScalars];
  for (int k = 0; k < kScalars; ++k) x[k] = scalars[k].v;  // the scalars are the variables themselves
  const double precision = std::exp(-2 * x[4]);
  return integrate<Dual2<6>>(i, x, [&](double u) {
    Dual2<6> value = log_points_in_scalars(i, u, x);
    value.v -= 0.5 * u * u * precision + x[4];
    value.g[4] += u * u * precision - 1;
    value.h[14] -= 2 * u * u * precision;
    return value;
  });
}

std::vector<Vector> EmergenceCurveTerms::starts(const std::vector<Vector>& means) const {
  std::vector<double> y;
  for (std::size_t i = 0; i < halfway_.size(); ++i) y.push_back(halfway_[i] + (passed_[i] ? 0 : 0.7));
  const LeastSquares ols = least_squares(data_.mu, y);
  Vector plain(ols.coefficients.size() + 1);
  plain << ols.coefficients, std::log(std::clamp(ols.sd, 0.1, 2.0));
  std::vector<Vector> all = means;
  all.push_back(plain);
  const Box box = box_of(coordinates_);
  const LawObjective<EmergenceCurveTerms> objective(*this);
  std::vector<Vector> result;
  for (const Vector& mean : all) {
    std::vector<std::pair<double, Vector>> grid;
    for (const double k : {4.0, 10.0, 25.0, 60.0}) {
      for (const double phi : {5.0, 30.0, 200.0}) {
        Vector theta(static_cast<Eigen::Index>(coordinates_.size()));
        theta << mean.head(mean.size() - 1), std::clamp(floor_, 0.01, 0.9),
            std::clamp(plateau_, std::min(0.9, floor_ + 0.05), 0.995), std::log(k), mean[mean.size() - 1],
            std::log(phi);
        theta = box.clamp(theta);
        grid.emplace_back(objective.value(theta), theta);
      }
    }
    std::stable_sort(grid.begin(), grid.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    result.push_back(grid[0].second);
    if (&mean != &all.front()) continue;
    const Eigen::Index k = static_cast<Eigen::Index>(coordinates_.size()) - 3;
    const auto other =
        std::find_if(grid.begin(), grid.end(), [&](const auto& g) { return g.second[k] != grid[0].second[k]; });
    result.push_back(other->second);  // the best of another steepness
  }
  return result;
}

}  // namespace hylas::fitting
