// Where a run may have risen, the panels, and the sums over their nodes.
#include "fitting/laws/run_integral.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <limits>

namespace hylas::fitting {
namespace {

constexpr double kEdge = 1e-6;             // means are kept inside (0, 1)
constexpr double kInside = 1 - 2 * kEdge;  // what is left of a mean
constexpr double kDrop = 25;               // the integrand is left out where it is below exp(-kDrop) of its top
constexpr double kResolved = 3e-6;         // of the last Legendre coefficients, over the integral
constexpr double kSmooth = 1e-5;           // two halves of equal steps differ by less
constexpr double kStep = 0.7;             // the longest mean distance of nodes among the evaluations, in units of 1 / k
constexpr std::size_t kMostPanels = 400;  // a bound on the work where nothing resolves: values that are not finite
constexpr double kLogSqrt2Pi = 0.91893853320467274178;

double log_binomial(double n, double s) {
  return log_gamma(n + 1) - log_gamma(s + 1) - log_gamma(n - s + 1);
}

Batch sigmoid_of(const Batch& t) {
  return (1 + (-t).exp()).inverse();
}

std::vector<Batch> lanes_of(const std::vector<double>& values, double beyond) {
  std::vector<Batch> lanes((values.size() + kBatch - 1) / kBatch, Batch::Constant(beyond));
  for (std::size_t j = 0; j < values.size(); ++j) lanes[j / kBatch][static_cast<Eigen::Index>(j % kBatch)] = values[j];
  return lanes;
}

}  // namespace

QuadratureRule gauss_legendre(int n) {
  Eigen::MatrixXd jacobi = Eigen::MatrixXd::Zero(n, n);
  for (int i = 1; i < n; ++i) jacobi(i, i - 1) = jacobi(i - 1, i) = i / std::sqrt(4.0 * i * i - 1);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(jacobi);
  QuadratureRule rule;
  for (int i = 0; i < n; ++i) {
    rule.nodes.push_back(eigen.eigenvalues()[i]);
    rule.weights.push_back(2 * eigen.eigenvectors()(0, i) * eigen.eigenvectors()(0, i));
  }
  return rule;
}

PanelRule::PanelRule() {
  const QuadratureRule rule = gauss_legendre(kBatch);
  for (int q = 0; q < kBatch; ++q) {
    const double z = rule.nodes[q];
    steps[q] = q;
    alternate[q] = q % 2 == 0 ? 1 : -1;
    nodes[q] = z;
    weights[q] = rule.weights[q];
    double before = 1, legendre = z;  // P_0, P_1
    for (int degree = 1; degree < kBatch; ++degree) {
      if (degree >= kBatch - 3) last[degree - (kBatch - 3)][q] = 0.5 * (2 * degree + 1) * rule.weights[q] * legendre;
      const double next = ((2 * degree + 1) * z * legendre - degree * before) / (degree + 1);
      before = legendre;
      legendre = next;
    }
  }
}

RunPoints::RunPoints(const std::vector<double>& log_tokens, const std::vector<double>& hits,
                     const std::vector<double>& scored)
    : log_d(log_tokens), successes(hits), counts(scored) {
  for (std::size_t j = 0; j < log_d.size(); ++j) {
    // accuracy * count of a whole number of hits is whole but for rounding
    if (std::abs(successes[j] - std::round(successes[j])) < 1e-9 * counts[j]) successes[j] = std::round(successes[j]);
    misses.push_back(counts[j] - successes[j]);
    log_choose.push_back(log_binomial(counts[j], successes[j]));
  }
  log_d_lanes = lanes_of(log_d, log_d.back());
  successes_lanes = lanes_of(successes, 0);
  misses_lanes = lanes_of(misses, 0);
}

RunIntegral::RunIntegral(const RunPoints& points, const PanelRule& rule, const double* x)
    : points_(points),
      rule_(rule),
      mu_(x[0]),
      c0_(x[1]),
      span_(x[2] - x[1]),
      k_(std::exp(x[3])),
      sigma_(std::exp(x[4])),
      phi_(std::exp(x[5])),
      log_sigma_(x[4]) {
  constant_ = -log_sigma_ - kLogSqrt2Pi;
  for (std::size_t j = 0; j < points.counts.size(); ++j) {
    const bool known = j > 0 && points.counts[j] == points.counts[j - 1];
    totals_.push_back(known ? totals_.back() : total_of(points.counts[j], phi_));
    offsets_.push_back(points.log_choose[j] - totals_[j].value);
  }
  offset_lanes_ = lanes_of(offsets_, 0);
  const std::vector<Gap> all = gaps();
  find_mode(all);
  const double low = mode_ - reach(-1), high = mode_ + reach(+1);
  double first = low, last = high;
  extend(all, first, last);
  if (first == low && last == high) {
    if (!equal_steps(low, high)) place_panels({low, mode_, high});
    return;
  }
  std::vector<double> ends{first, low, mode_, high, last};
  for (const double log_d : points.log_d) {
    if ((log_d > first && log_d < low) || (log_d > high && log_d < last)) ends.push_back(log_d);
  }
  std::sort(ends.begin(), ends.end());
  place_panels(ends);
}

Batch RunIntegral::mean(const Batch& rise) const {
  return kEdge + kInside * (c0_ + span_ * rise);
}

Batch RunIntegral::log_integrand(const Batch& v) const {
  Batch sum = constant_ - 0.5 * ((v - mu_) / sigma_).square();
  for (std::size_t j = 0; j < points_.log_d.size(); ++j) {
    const Batch m = mean(sigmoid_of(k_ * (points_.log_d[j] - v)));
    sum += log_beta_binomial(points_.successes[j], points_.misses[j], m, phi_, offsets_[j]);
  }
  return sum;
}

double RunIntegral::log_integrand(double v) const {
  const double z = (v - mu_) / sigma_;
  double sum = constant_ - 0.5 * z * z;
  for (std::size_t b = 0; b < points_.log_d_lanes.size(); ++b) {
    const Batch m = mean(sigmoid_of(k_ * (points_.log_d_lanes[b] - v)));
    sum += log_beta_binomial(points_.successes_lanes[b], points_.misses_lanes[b], m, phi_, offset_lanes_[b]).sum();
  }
  return sum;
}

Dual2<1> RunIntegral::log_integrand_in_v(double v) const {
  const double z = (v - mu_) / sigma_;
  Dual2<1> sum(constant_ - 0.5 * z * z);
  sum.g[0] = -z / sigma_;
  sum.h[0] = -1 / (sigma_ * sigma_);
  MeanTerm term;
  for (std::size_t b = 0; b < points_.log_d_lanes.size(); ++b) {
    const Batch rise = sigmoid_of(k_ * (points_.log_d_lanes[b] - v)), slope = rise * (1 - rise);
    mean_term(points_.successes_lanes[b], points_.misses_lanes[b], mean(rise), phi_, offset_lanes_[b], term);
    const Batch m_v = -kInside * span_ * k_ * slope, m_vv = -k_ * (1 - 2 * rise) * m_v;
    sum.v += term.value.sum();
    sum.g[0] += (term.m * m_v).sum();
    sum.h[0] += (term.mm * m_v.square() + term.m * m_vv).sum();
  }
  return sum;
}

// Where the curve may rise: between two evaluations, before the first or after the last. Each is scored as if the curve
// were a step there, so that all of them cost as much as two nodes.
std::vector<RunIntegral::Gap> RunIntegral::gaps() const {
  const std::vector<double>& log_d = points_.log_d;
  const std::size_t n = log_d.size();
  const double width = 1 / k_;
  const Batch low = mean(Batch::Zero()), high = mean(Batch::Ones());
  std::vector<Gap> result;
  Batch gain;  // of an evaluation before the rise over one after it
  double score = 0;
  for (std::size_t e = 0; e <= n; ++e) {
    double v = std::min(mu_, log_d.front() - 2 * width);
    if (e > 0) {
      const std::size_t lane = (e - 1) % kBatch, b = (e - 1) / kBatch;
      if (lane == 0) {
        const Batch &s = points_.successes_lanes[b], &f = points_.misses_lanes[b];
        const Batch none = Batch::Zero();
        gain = log_beta_binomial(s, f, low, phi_, none) - log_beta_binomial(s, f, high, phi_, none);
      }
      score += gain[static_cast<Eigen::Index>(lane)];
      v = e == n ? std::max(mu_, log_d.back() + 3 * width) : 0.5 * (log_d[e - 1] + log_d[e]);
    }
    const double z = (v - mu_) / sigma_;
    result.push_back({v, score - 0.5 * z * z, e});
  }
  std::stable_sort(result.begin(), result.end(), [](const Gap& a, const Gap& b) { return a.score > b.score; });
  return result;
}

double RunIntegral::passing(std::size_t point) const {
  const double rise = (points_.successes[point] / points_.counts[point] - c0_) / span_;
  const double inside = rise > 0 ? std::clamp(rise, 1e-3, 1 - 1e-3) : 1e-3;  // also where the span is zero
  return points_.log_d[point] - std::log(inside / (1 - inside)) / k_;
}

// Newton, safeguarded by halving, from the best of the likeliest places. It need not be exact: it only divides the
// integral.
void RunIntegral::find_mode(const std::vector<Gap>& gaps) {
  std::vector<double> tries;
  for (std::size_t g = 0; g < std::min<std::size_t>(2, gaps.size()); ++g) tries.push_back(gaps[g].v);
  const std::size_t e = gaps.front().index;
  if (e > 0) tries.push_back(passing(e - 1));
  if (e < points_.log_d.size()) tries.push_back(passing(e));
  top_ = -std::numeric_limits<double>::infinity();
  for (const double v : tries) {
    if (const double value = log_integrand(v); value > top_) {
      top_ = value;
      mode_ = v;
    }
  }
  const double precision = 1 / (sigma_ * sigma_);
  for (int iteration = 0; iteration < 20; ++iteration) {
    const Dual2<1> at = log_integrand_in_v(mode_);
    const double curvature = std::max(std::abs(at.h[0]), precision);
    sd_ = 1 / std::sqrt(curvature);
    double step = at.g[0] / curvature;
    if (!(std::abs(step) > 0.05 * sd_)) break;
    double next = log_integrand(mode_ + step);
    for (int halving = 0; !(next >= top_) && halving < 30; ++halving) next = log_integrand(mode_ + (step *= 0.5));
    if (!(next > top_)) break;
    mode_ += step;
    top_ = next;
  }
}

// The distance from the mode at which the integrand has fallen by kDrop or a little more, on one side (+1, -1).
double RunIntegral::reach(int side) const {
  double distance = std::sqrt(2.2 * kDrop) * sd_, inner = 0, outer = 0;  // outer 0: not found yet
  for (int iteration = 0; iteration < 60; ++iteration) {
    const double drop = top_ - log_integrand(mode_ + side * distance);
    if (drop >= kDrop && drop <= 1.5 * kDrop) return distance;
    (drop < kDrop ? inner : outer) = distance;
    if (outer > 0 && outer - inner < 0.02 * outer) return outer;  // a cliff
    const double factor = std::sqrt(1.2 * kDrop / std::max(drop, 1e-3));
    if (outer > 0 && inner > 0) {
      distance = 0.5 * (inner + outer);
    } else {
      distance *= drop < kDrop ? std::clamp(factor, 1.1, 4.0) : std::clamp(factor, 0.25, 0.9);
    }
  }
  return std::max(outer, distance);
}

// Widens [first, last] by every gap in which the run may also have risen: it never rose in view, and an unlucky last
// evaluation is no rise.
void RunIntegral::extend(const std::vector<Gap>& gaps, double& first, double& last) const {
  const double low = first, high = last;
  const auto alive = [&](double v) { return log_integrand(v) > top_ - kDrop; };
  for (const Gap& gap : gaps) {
    if (gap.score < gaps.front().score - 1.5 * kDrop) break;
    const double before = gap.index > 0 ? passing(gap.index - 1) : gap.v;
    const double after = gap.index < points_.log_d.size() ? passing(gap.index) : gap.v;
    for (const double v : {gap.v, before, after}) {
      if ((v < first || v > last) && alive(v)) {
        first = std::min(first, v);
        last = std::max(last, v);
      }
    }
  }
  for (double step = mode_ - low; first < low && alive(first); step *= 1.5) first -= step;
  for (double step = high - mode_; last > high && alive(last); step *= 1.5) last += step;
}

// Whether [low, high] reaches into the evaluations and is longer than `widths` of the curve's rise, 1 / k: a second
// peak could hide between its nodes.
bool RunIntegral::coarse(double low, double high, double widths) const {
  const double margin = 5 / k_;
  return (high - low) * k_ > widths && low < points_.log_d.back() + margin && high > points_.log_d.front() - margin;
}

// The trapezoidal rule over the whole of a single peak; both ends are dead, so that they need no half weights.
bool RunIntegral::equal_steps(double low, double high) {
  const double h = (high - low) / kBatch;
  if (coarse(low, high, kBatch * kStep)) return false;
  const Nodes all{low + h * (rule_.steps + 0.5), Batch::Constant(h)};
  const Batch f = (log_integrand(all.v) - top_).exp();
  const double sum = f.sum(), other = (rule_.alternate * f).sum();
  if (!(std::abs(other) <= kSmooth * sum)) return false;
  integral_ = h * sum;
  nodes_.push_back(all);
  return true;
}

RunIntegral::Panel RunIntegral::panel(double low, double high) const {
  Panel p{0.5 * (low + high), 0.5 * (high - low), 0, 0};
  const Batch f = (log_integrand(Batch(p.middle + p.half * rule_.nodes)) - top_).exp();
  p.sum = p.half * (rule_.weights * f).sum();
  for (const Batch& last : rule_.last) p.rough = std::max(p.rough, p.half * std::abs((last * f).sum()));
  return p;
}

// Halves what is not resolved. `integral_` is the best guess all along.
void RunIntegral::place_panels(const std::vector<double>& ends) {
  std::vector<Panel> open;
  double integral = 0;
  for (std::size_t e = ends.size() - 1; e > 0; --e) {
    if (!(ends[e] > ends[e - 1])) continue;
    open.push_back(panel(ends[e - 1], ends[e]));
    integral_ += open.back().sum;
  }
  while (!open.empty()) {
    const Panel p = open.back();
    open.pop_back();
    const bool seen = !coarse(p.middle - p.half, p.middle + p.half, kBatch * kStep);
    const bool smallest = p.half < 1e-13 * std::max(1.0, std::abs(p.middle));
    if ((seen && p.rough <= kResolved * integral_) || smallest || nodes_.size() + open.size() > kMostPanels) {
      nodes_.push_back({p.middle + p.half * rule_.nodes, p.half * rule_.weights});
      integral += p.sum;
      continue;
    }
    for (const int side : {+1, -1}) {
      open.push_back(panel(side > 0 ? p.middle : p.middle - p.half, side > 0 ? p.middle + p.half : p.middle));
      integral_ += open.back().sum;
    }
    integral_ -= p.sum;
  }
  integral_ = integral;
}

double RunIntegral::negative_log() const {
  return -(std::log(integral_) + top_);
}

// ln f at the nodes of a panel with its derivatives: g in (c0, A, ln k, ln phi), h their lower triangle.
void RunIntegral::nodes_in_shape(const Batch& v, Batch& value, std::array<Batch, 4>& g,
                                 std::array<Batch, 10>& h) const {
  value = constant_ - 0.5 * ((v - mu_) / sigma_).square();
  for (Batch& x : g) x.setZero();
  for (Batch& x : h) x.setZero();
  PointTerm p;
  for (std::size_t j = 0; j < points_.log_d.size(); ++j) {
    const Batch t = k_ * (points_.log_d[j] - v), s = sigmoid_of(t), s1 = s * (1 - s);
    point_term(points_.successes[j], points_.misses[j], mean(s), phi_, offsets_[j], totals_[j], p);
    const Batch m_c = kInside * (1 - s), m_a = kInside * s, rise = kInside * s1 * t, m_k = span_ * rise;
    const Batch m_kk = kInside * span_ * s1 * t * ((1 - 2 * s) * t + 1);
    value += p.value;
    g[0] += p.m * m_c;
    g[1] += p.m * m_a;
    g[2] += p.m * m_k;
    g[3] += p.phi;
    h[0] += p.mm * m_c.square();
    h[1] += p.mm * m_c * m_a;
    h[2] += p.mm * m_a.square();
    h[3] += p.mm * m_c * m_k - p.m * rise;
    h[4] += p.mm * m_a * m_k + p.m * rise;
    h[5] += p.mm * m_k.square() + p.m * m_kk;
    h[6] += p.m_phi * m_c;
    h[7] += p.m_phi * m_a;
    h[8] += p.m_phi * m_k;
    h[9] += p.phi_phi;
  }
}

// With weights w = f / integral: gradient of ln I = E[g], Hessian = E[h + g g^T] - E[g] E[g]^T.
Dual2<RunIntegral::kScalars> RunIntegral::negative_log_with_derivatives() const {
  constexpr std::array<int, 4> at{1, 2, 3, 5};  // of c0, A, ln k, ln phi among the scalars
  const auto pair = [](int a, int b) { return a >= b ? a * (a + 1) / 2 + b : b * (b + 1) / 2 + a; };
  Dual2<kScalars> out(negative_log());
  std::array<Batch, 4> shape;
  std::array<Batch, 10> second;
  std::array<Batch, kScalars> g;
  for (const Nodes& at_nodes : nodes_) {
    const Batch z = (at_nodes.v - mu_) / sigma_;
    Batch value;
    nodes_in_shape(at_nodes.v, value, shape, second);
    const Batch w = (value - top_).exp() * at_nodes.weights / integral_;
    g[0] = z / sigma_;
    g[4] = z.square() - 1;
    for (int a = 0; a < 4; ++a) g[at[a]] = shape[a];
    for (int a = 0, n = 0; a < kScalars; ++a) {
      out.g[a] += (w * g[a]).sum();
      for (int b = 0; b <= a; ++b, ++n) out.h[n] += (w * g[a] * g[b]).sum();
    }
    for (int a = 0, n = 0; a < 4; ++a) {
      for (int b = 0; b <= a; ++b, ++n) out.h[pair(at[a], at[b])] += (w * second[n]).sum();
    }
    out.h[pair(0, 0)] -= w.sum() / (sigma_ * sigma_);
    out.h[pair(4, 0)] -= 2 * (w * z).sum() / sigma_;
    out.h[pair(4, 4)] -= 2 * (w * z.square()).sum();
  }
  for (int a = 0, n = 0; a < kScalars; ++a) {
    for (int b = 0; b <= a; ++b, ++n) out.h[n] = out.g[a] * out.g[b] - out.h[n];
  }
  for (double& x : out.g) x = -x;
  return out;
}

}  // namespace hylas::fitting
