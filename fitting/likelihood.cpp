// Likelihood fits; contract in the header.
#include "fitting/likelihood.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "fitting/distributions.hpp"
#include "fitting/parallel.hpp"
#include "fitting/sandwich.hpp"

namespace hylas::fitting {
namespace {

constexpr double kRivalSlack = 0.05;  // log-likelihoods closer than this cannot be told apart by any data of this size

void flag_open_ends(Parameter& p, const Reported& r, const ProfileInterval& interval, Edge edge) {
  p.ci_low = interval.low_open ? r.natural_low : r.value(interval.low);
  p.ci_high = interval.high_open ? r.natural_high : r.value(interval.high);
  if (edge != Edge::none) return;  // said already
  if (interval.low_open && interval.high_open) {
    not_identified(p, "its profile is flat: the data do not limit it");
  } else if (interval.low_open) {
    not_identified(p, "its profile is flat below: the data set no lower limit");
  } else if (interval.high_open) {
    not_identified(p, "its profile is flat above: the data set no upper limit");
  }
}

// Standard errors by the delta method; where asked for, intervals of them with a t quantile.
void use_sandwich(Fit& fit, const Objective& objective, const Box& box, const Solution& best,
                  const std::vector<Reported>& reported, bool intervals) {
  const Matrix covariance = sandwich(objective, best, each_its_own(fit.runs)), curvature = best.covariance();
  const double t = student_t_quantile(0.5 + 0.5 * fit.level, fit.degrees);
  for (std::size_t j = 0; j < reported.size(); ++j) {
    const Reported& r = reported[j];
    const int c = r.coordinate;
    if (best.edge[c] != Edge::none) continue;
    Parameter& p = fit.parameters[j];
    // Where the likelihood is flat the gradients vanish with its curvature, and their ratio says nothing.
    const bool flat = t * std::sqrt(curvature(c, c)) > 0.5 * (box.upper[c] - box.lower[c]);
    if (flat && intervals) {
      not_identified(p, "the likelihood has no curvature there: the data do not limit it");
      p.ci_low = r.natural_low;
      p.ci_high = r.natural_high;
    }
    if (flat) continue;
    const double sd = std::sqrt(covariance(c, c)), low = best.theta[c] - t * sd, high = best.theta[c] + t * sd;
    p.standard_error = r.exponential ? p.estimate * sd : sd;
    if (!intervals || std::isnan(sd)) continue;
    p.ci_low = low > box.lower[c] ? r.value(low) : r.natural_low;
    p.ci_high = high < box.upper[c] ? r.value(high) : r.natural_high;
    if (low <= box.lower[c]) not_identified(p, "its interval reaches its lower bound: the data set no lower limit");
    if (high >= box.upper[c]) not_identified(p, "its interval reaches its upper bound: the data set no upper limit");
  }
  if (intervals) fit.interval_method = fmt::format("sandwich, t with {} degrees of freedom", fit.degrees);
}

void flag_bounds_and_rivals(Fit& fit, const MultiStart& fits, const std::vector<Reported>& reported) {
  const Matrix covariance = fits.best.covariance();
  for (std::size_t j = 0; j < reported.size(); ++j) {
    const int c = reported[j].coordinate;
    const Edge edge = fits.best.edge[c];
    if (edge != Edge::none) {
      not_identified(fit.parameters[j], edge == Edge::lower ? "on its lower bound" : "on its upper bound");
    }
    const double sd = std::sqrt(covariance(c, c));
    for (int i : rival_basins(fits, 0, kRivalSlack)) {
      const double other = fits.all[i].theta[c];
      if (std::abs(other - fits.best.theta[c]) > std::max(0.05 * std::abs(fits.best.theta[c]), 0.5 * sd)) {
        not_identified(fit.parameters[j],
                       fmt::format("another basin of equal likelihood has {:.4g}", reported[j].value(other)));
        break;
      }
    }
  }
}

bool wanted(const LikelihoodOptions& options, const std::string& name) {
  return options.profile.empty() || std::ranges::find(options.profile, name) != options.profile.end();
}

}  // namespace

double profile_threshold(double level, int informative, int degrees) {
  const double t = student_t_quantile(0.5 + 0.5 * level, std::max(1, degrees));
  return std::sqrt(std::max(informative, degrees) * std::log1p(t * t / std::max(1, degrees)));
}

double wald_quantile(double level, int informative, int degrees) {
  const double t = student_t_quantile(0.5 + 0.5 * level, std::max(1, degrees));
  return t * std::sqrt(static_cast<double>(std::max(informative, degrees)) / std::max(1, degrees));
}

MultiStart fit_likelihood(Fit& fit, const Objective& objective, const Box& box, std::vector<Vector> starts,
                          const std::vector<std::string>& coordinates, const std::vector<Reported>& reported, int runs,
                          int degrees, const LikelihoodOptions& options) {
  fit.degrees = std::max(1, degrees);
  fit.informative = std::max(fit.degrees, options.informative > 0 ? options.informative : runs);
  const double threshold = profile_threshold(options.level, fit.informative, fit.degrees);
  std::vector<ProfileInterval> intervals(reported.size());
  MultiStart fits;
  for (int attempt = 0; attempt < 3; ++attempt) {
    fits = minimise_from(objective, box, starts, options.solver, options.threads);
    if (!options.intervals || options.sandwich || !fits.best.converged) break;
    parallel_for(static_cast<int>(reported.size()), options.threads, [&](int j) {
      if (!wanted(options, reported[j].name)) return;
      intervals[j] = profile_interval(objective, box, fits.best, reported[j].coordinate, threshold, options.solver);
    });
    const auto better = std::ranges::find_if(intervals, [](const ProfileInterval& i) { return i.better.has_value(); });
    if (better == intervals.end()) break;
    starts.insert(starts.begin(), *better->better);  // a profile found a lower valley: start there too
  }
  fit.level = options.level;
  fit.runs = runs;
  describe_solution(fit, fits, coordinates);
  fit.objective = fits.best.objective;
  fit.log_likelihood = -fits.best.objective;
  const auto free = static_cast<double>(std::ranges::count(fits.best.edge, Edge::none));
  fit.aic = 2 * (free - fit.log_likelihood);
  fit.bic = std::log(static_cast<double>(runs)) * free - 2 * fit.log_likelihood;
  for (const Reported& r : reported) {
    Parameter& p = fit.parameters.emplace_back();
    p.name = r.name;
    p.estimate = r.value(fits.best.theta[r.coordinate]);
    p.ci_low = p.ci_high = kNaN;
  }
  flag_bounds_and_rivals(fit, fits, reported);
  fit.interval_method = "none";
  if (!fit.converged) {
    for (Parameter& p : fit.parameters) not_identified(p, "the fit did not converge");
    return fits;
  }
  use_sandwich(fit, objective, box, fits.best, reported, options.intervals && options.sandwich);
  if (!options.intervals || options.sandwich) return fits;
  for (std::size_t j = 0; j < reported.size(); ++j) {
    if (!wanted(options, reported[j].name)) continue;
    flag_open_ends(fit.parameters[j], reported[j], intervals[j], fits.best.edge[reported[j].coordinate]);
  }
  fit.interval_method = fmt::format("profile likelihood, t with {} degrees of freedom", fit.degrees);
  return fits;
}

}  // namespace hylas::fitting
