// Intervals of loss laws: the bootstrap (rows, runs, or drawn residuals), flat profiles, and the flags they raise.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fitting/distributions.hpp"
#include "fitting/identify.hpp"
#include "fitting/loss_fit.hpp"
#include "fitting/parallel.hpp"
#include "fitting/profile.hpp"
#include "fitting/random.hpp"
#include "fitting/sandwich.hpp"

namespace hylas::fitting {
namespace {

constexpr double kWideRatio = 2;         // an exponent known to no better than this factor decides nothing
constexpr double kOftenOnBound = 0.05;   // share of bootstrap fits
constexpr std::uint64_t kResiduals = 1;  // which half of a replicate's random numbers: rows, or residuals

// Where a replicate starts: the fit, and every basin that explains the data as well.
std::vector<Vector> replicate_starts(const MultiStart& fits) {
  std::vector<Vector> starts{fits.best.theta};
  for (const int i : rival_basins(fits, 0.05, 0)) {
    const Vector& theta = fits.all[i].theta;
    const bool known =
        std::ranges::any_of(starts, [&](const Vector& other) { return (theta - other).cwiseAbs().maxCoeff() < 0.02; });
    if (!known && starts.size() < 3) starts.push_back(theta);
  }
  return starts;
}

Solution refit(const LossProblem& problem, const LossSample& sample, const std::vector<Vector>& starts) {
  Solution best = solve_loss(problem, sample, starts[0], true);
  for (std::size_t i = 1; i < starts.size(); ++i) {
    Solution other = solve_loss(problem, sample, starts[i], true);
    if (other.converged && (!best.converged || other.objective < best.objective)) best = std::move(other);
  }
  return best;
}

std::vector<Solution> resampled(const LossProblem& problem, const MultiStart& fits, const LossOptions& options) {
  const std::vector<Vector> starts = replicate_starts(fits);
  return bootstrap(problem.units, options.bootstrap, options.seed, options.threads, [&](const auto& weights) {
    LossSample sample = problem.sample;
    sample.weights.array() *= Eigen::Map<const Eigen::ArrayXd>(weights.data(), sample.weights.size());
    return refit(problem, sample, starts);
  });
}

// The same rows with residuals from the fitted density.
std::vector<Solution> simulated(const LossProblem& problem, const MultiStart& fits, double scale,
                                const LossOptions& options) {
  const std::vector<Vector> starts = replicate_starts(fits);
  const Vector curve = problem.model.log_losses(problem.sample.features, fits.best.theta);
  std::vector<Solution> solutions(static_cast<std::size_t>(options.bootstrap));
  parallel_for(options.bootstrap, options.threads, [&](int r) {
    LossSample sample = problem.sample;
    Stream stream(options.seed, (kResiduals << 32) + static_cast<std::uint64_t>(r));
    for (Eigen::Index i = 0; i < curve.size(); ++i) sample.log_loss[i] = curve[i] + sample.residual.draw(scale, stream);
    solutions[r] = refit(problem, sample, starts);
  });
  return solutions;
}

void flag_wide(Parameter& p, const LossParameter& law, double level) {
  if (!law.ratio || p.ci_high <= kWideRatio * p.ci_low) return;
  not_identified(p, fmt::format("its {:g}% interval, {:.3g} to {:.3g}, spans more than a factor of two", 100 * level,
                                p.ci_low, p.ci_high));
}

std::string method_text(const LossOptions& options, bool by_run, std::size_t used) {
  if (options.intervals == LossIntervals::parametric)
    return fmt::format("parametric bootstrap, {} replicates, percentiles", used);
  return fmt::format("bootstrap {}, {} replicates, percentiles", by_run ? "by run" : "of points", used);
}

}  // namespace

void add_loss_bootstrap(LossFit& result, const LossProblem& problem, const MultiStart& fits,
                        const LossOptions& options) {
  Fit& fit = result.fit;
  const bool by_run = problem.units.count < problem.sample.log_loss.size();
  const bool parametric = options.intervals == LossIntervals::parametric;
  if (!parametric && problem.units.count < 3) {
    fit.warnings.push_back(fmt::format("{} runs are too few to resample: no intervals", problem.units.count));
    return;
  }
  const auto solutions =
      parametric ? simulated(problem, fits, result.scale, options) : resampled(problem, fits, options);
  const auto& parameters = problem.model.parameters();
  std::vector<std::vector<double>> columns(parameters.size());
  std::vector<int> on_bound(parameters.size(), 0);
  for (const Solution& s : solutions) {
    if (!s.converged) continue;
    fit.draws.emplace_back(s.theta.begin(), s.theta.end());
    const std::vector<double> values = problem.model.reported(s.theta);
    for (std::size_t j = 0; j < values.size(); ++j) {
      columns[j].push_back(values[j]);
      on_bound[j] += s.edge[parameters[j].coordinates[0]] != Edge::none;
    }
  }
  const auto used = static_cast<double>(fit.draws.size());
  if (used < 0.9 * options.bootstrap) {
    fit.warnings.push_back(fmt::format("{} of {} bootstrap fits did not converge and were left out",
                                       options.bootstrap - static_cast<int>(used), options.bootstrap));
  }
  for (std::size_t j = 0; j < parameters.size() && used > 0; ++j) {
    Parameter& p = fit.parameters[j];
    if (problem.fixed[parameters[j].coordinates[0]]) continue;
    p.ci_low = quantile(columns[j], 0.5 - 0.5 * options.level);
    p.ci_high = quantile(columns[j], 0.5 + 0.5 * options.level);
    if (on_bound[j] > kOftenOnBound * used)
      not_identified(p, fmt::format("{:.0f}% of the bootstrap fits put it on its bound", 100 * on_bound[j] / used));
    flag_wide(p, parameters[j], options.level);
  }
  fit.interval_method = method_text(options, by_run, fit.draws.size());
}

// The delta method on the parameters' own derivatives, by central differences: reported() is smooth and cheap.
void add_sandwich(LossFit& result, const LossProblem& problem, const MultiStart& fits, const LossOptions& options) {
  const Matrix covariance = sandwich(*problem.model.objective(problem.sample), fits.best, problem.units);
  const auto& parameters = problem.model.parameters();
  Matrix jacobian(static_cast<Eigen::Index>(parameters.size()), covariance.cols());
  for (Eigen::Index c = 0; c < covariance.cols(); ++c) {
    Vector high = fits.best.theta, low = high;
    const double step = 1e-6 * std::max(1.0, std::abs(high[c]));
    high[c] += step;
    low[c] -= step;
    const std::vector<double> up = problem.model.reported(high), down = problem.model.reported(low);
    for (std::size_t j = 0; j < up.size(); ++j)
      jacobian(static_cast<Eigen::Index>(j), c) = (up[j] - down[j]) / (2 * step);
  }
  const double t = student_t_quantile(0.5 + 0.5 * options.level, std::max(1, problem.units.count - 1));
  for (std::size_t j = 0; j < parameters.size(); ++j) {
    if (problem.fixed[parameters[j].coordinates[0]]) continue;
    const auto row = jacobian.row(static_cast<Eigen::Index>(j));
    Parameter& p = result.fit.parameters[j];
    const double variance = row * covariance * row.transpose();
    if (!(variance > 0)) continue;
    p.standard_error = std::sqrt(variance);
    if (options.intervals != LossIntervals::sandwich) continue;
    p.ci_low = p.estimate - t * p.standard_error;
    p.ci_high = p.estimate + t * p.standard_error;
    flag_wide(p, parameters[j], options.level);
  }
  if (options.intervals != LossIntervals::sandwich) return;
  result.fit.warnings.emplace_back(
      "sandwich intervals are quick, symmetric and too narrow where an exponent is poorly known: bootstrap before "
      "relying "
      "on them");
  result.fit.interval_method =
      fmt::format("sandwich, t with {} degrees of freedom", std::max(1, problem.units.count - 1));
}

// The objective over s^2 is a negative log-likelihood (over s for L1): it must rise by t^2 / 2 before a bound.
void flag_flat_profiles(LossFit& result, const LossProblem& problem, const MultiStart& fits,
                        const LossOptions& options) {
  const ResidualLoss& residual = problem.sample.residual;
  if (residual.kind == ResidualLoss::Kind::l1) return;  // its smooth stand-in has no profile worth the name
  const auto free = static_cast<int>(std::ranges::count(problem.fixed, false));
  const double t = student_t_quantile(0.5 + 0.5 * options.level, std::max(1, result.fit.runs - free));
  const double threshold = t * result.scale * std::sqrt(residual.scale());
  const auto objective = problem.model.objective(problem.sample);
  const auto& parameters = problem.model.parameters();
  std::vector<ProfileInterval> profiles(parameters.size());
  const auto wanted = [&](int c) { return !problem.fixed[c] && fits.best.edge[c] == Edge::none; };
  parallel_for(static_cast<int>(parameters.size()), options.threads, [&](int j) {
    const int own = parameters[j].coordinates[0];
    if (wanted(own)) profiles[j] = profile_interval(*objective, problem.box, fits.best, own, threshold, {.near = true});
  });
  for (std::size_t j = 0; j < parameters.size(); ++j) {
    if (!wanted(parameters[j].coordinates[0])) continue;
    if (profiles[j].low_open) not_identified(result.fit.parameters[j], "its profile is flat below");
    if (profiles[j].high_open) not_identified(result.fit.parameters[j], "its profile is flat above");
  }
}

}  // namespace hylas::fitting
