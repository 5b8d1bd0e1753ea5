// What parameter uncertainty does to the advice: how often a design wins, what choosing it costs on average, and which
// run would help most.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "fitting/distributions.hpp"
#include "search/advise/compute_optimal.hpp"
#include "search/advise/score.hpp"

namespace hylas::search {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kMostRegret = 10;  // in ln compute: a design that never emerges in a draw costs e^10, not infinity

bool within_limits(const CandidateAdvice& a, const Request& request) {
  return (!request.cache_limit || a.cache_bytes <= *request.cache_limit) &&
         (!request.memory_limit || a.memory_bytes <= *request.memory_limit);
}

// In one draw: the criterion of a design (ln compute needed, or its loss) and whether the chance constraint holds.
struct InDraw {
  double cost = kInf;
  bool holds = false;
};
InDraw in_draw(const Scored& s, const Evidence& evidence, const Request& request, const std::vector<double>& theta,
               const std::optional<fitting::ChinchillaLaw>& law) {
  const double mu = fitting::log_d50_at(evidence.emergence, s.x, theta),
               pi = fitting::pi_at(evidence.emergence, s.x, theta);
  const double sigma = fitting::sigma_at(evidence.emergence, theta);
  InDraw r;
  r.holds = pi * fitting::normal_cdf((std::log(s.advice.tokens) - mu) / sigma) >= 1 - request.eps;
  r.cost = law ? law->loss(s.advice.parameters, s.advice.tokens)
               : std::log(s.advice.flops_per_token) + mu + sigma * fitting::normal_quantile((1 - request.eps) / pi);
  return r;
}

}  // namespace

void add_draws(std::vector<Scored>& scored, const Evidence& evidence, const Request& request, bool use_loss) {
  if (request.draws == 0) return;
  auto draws = evidence.emergence.fit.draws;  // bootstrap draws where there are any
  if (draws.empty()) draws = fitting::parameter_draws(evidence.emergence.fit, request.draws, request.seed);
  std::vector<InDraw> here(scored.size());
  for (int d = 0; d < request.draws; ++d) {
    const std::vector<double>& theta = draws[static_cast<std::size_t>(d) % draws.size()];
    std::optional<fitting::ChinchillaLaw> law;
    if (use_loss) {
      const auto& fit = *evidence.loss;
      law = fitting::chinchilla_at(fit, fit.fit.draws.empty()
                                            ? fit.fit.theta
                                            : fit.fit.draws[static_cast<std::size_t>(d) % fit.fit.draws.size()]);
    }
    int winner = -1;
    for (std::size_t i = 0; i < scored.size(); ++i) {
      here[i] = in_draw(scored[i], evidence, request, theta, law);
      if (!within_limits(scored[i].advice, request) || (use_loss && !here[i].holds)) continue;
      if (std::isfinite(here[i].cost) && (winner < 0 || here[i].cost < here[winner].cost)) winner = static_cast<int>(i);
    }
    if (winner < 0) continue;  // nothing meets the constraints in this draw
    scored[winner].advice.win_rate += 1.0 / request.draws;
    for (std::size_t i = 0; i < scored.size(); ++i) {
      const double above = std::clamp(here[i].cost - here[winner].cost, 0.0, kMostRegret);
      scored[i].advice.regret += (std::isnan(above) ? kMostRegret : above) / request.draws;
    }
  }
}

OptimalSize optimal_size(const Evidence& evidence, const Request& request, const model::Design& like) {
  OptimalSize size;
  size.identified = loss_is_identified(evidence, size.why);
  size.n_low = size.n_high = std::numeric_limits<double>::quiet_NaN();
  if (!size.identified) {
    size.n = size.d = size.loss = std::numeric_limits<double>::quiet_NaN();
    return size;
  }
  const model::Cost cost = model::cost_of(like);
  const auto n0 = static_cast<double>(cost.parameters_non_embedding);
  const double head = 6.0 * static_cast<double>(like.shape.vocab * like.shape.d_model);
  const double attention = std::max(0.0, cost.flops_train - 6 * n0 - head);
  const auto per_token = [=](double n) {
    return 6 * n + attention * std::pow(n / n0, 2.0 / 3) + head * std::cbrt(n / n0);
  };
  const fitting::LossFit& fit = *evidence.loss;
  const SizeAndTokens best = compute_optimal(fitting::chinchilla_at(fit, fit.fit.theta), request.flops, per_token);
  size.n = best.n;
  size.d = best.d;
  size.loss = best.loss;
  std::vector<double> sizes;
  for (const auto& theta : fit.fit.draws) {
    const fitting::ChinchillaLaw law = fitting::chinchilla_at(fit, theta);
    if (law.alpha > 0 && law.beta > 0) sizes.push_back(compute_optimal(law, request.flops, per_token).n);
  }
  size.n_low = fitting::quantile(sizes, 0.5 - 0.5 * fit.fit.level);
  size.n_high = fitting::quantile(sizes, 0.5 + 0.5 * fit.fit.level);
  return size;
}

// One run of row h observed with variance sigma^2 / p (p: the chance that it emerges at all in its budget) changes the
// covariance S to S - S h h^T S / (sigma^2 / p + h^T S h).
std::optional<NextRun> best_next_run(const std::vector<Scored>& scored, const Scored& target,
                                     const Evidence& evidence) {
  const fitting::EmergenceFit& fit = evidence.emergence;
  const std::size_t p = fit.fit.theta.size();
  const auto row_of = [&](const Scored& s) {
    std::vector<double> row = fitting::row_of(fit.columns, s.x);
    row.insert(row.begin(), 1.0);
    return row;
  };
  const auto product = [&](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      for (std::size_t j = 0; j < b.size(); ++j) sum += a[i] * fit.fit.covariance[i * p + j] * b[j];
    }
    return sum;
  };
  const std::vector<double> goal = row_of(target);
  const double variance = product(goal, goal), sigma = target.advice.d50.sd_seeds;
  NextRun best;
  best.sd_now = best.sd_after = std::sqrt(std::max(0.0, variance));
  for (const Scored& s : scored) {
    if (s.advice.probability < 0.05) continue;  // a run that will not emerge says little
    const std::vector<double> row = row_of(s);
    const double shared = product(goal, row);
    const double after = variance - shared * shared / (sigma * sigma / s.advice.probability + product(row, row));
    const double sd = std::sqrt(std::max(0.0, after));
    if (sd < best.sd_after * (1 - 1e-9)) {
      best.sd_after = sd;
      best.layout = s.advice.layout;
      best.label = s.advice.label;
    }
  }
  if (best.layout.empty()) return std::nullopt;
  best.text = fmt::format("one more run of {} would shrink the standard error of ln D50 of {} from {:.3f} to {:.3f}",
                          best.label, target.advice.label, best.sd_now, best.sd_after);
  return best;
}

}  // namespace hylas::search
