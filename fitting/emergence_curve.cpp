// F1, the public fit: columns, the likelihood fit, what a plateau may not be claimed from, profile intervals of D50.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fitting/curve_fit.hpp"
#include "fitting/emergence.hpp"
#include "fitting/emergence_checks.hpp"
#include "fitting/parallel.hpp"

namespace hylas::fitting {
namespace {

bool is_level(const std::string& name, const std::string& level) {
  return name == level || name.starts_with(level + ":");
}

std::vector<Reported> reported_of(const std::vector<Coordinate>& coordinates) {
  std::vector<Reported> reported;
  for (int j = 0; j < static_cast<int>(coordinates.size()); ++j) {
    const std::string& name = coordinates[j].name;
    if (coordinates[j].scalar >= 3) {  // ln_k, ln_sigma, ln_phi
      reported.push_back({name.substr(3), j, true, 0, kInfinity});
    } else if (coordinates[j].scalar >= 1) {  // c0 and A
      reported.push_back({name, j, false, 0, 1});
    } else {
      reported.push_back({name, j, false, -kInfinity, kInfinity});
    }
  }
  return reported;
}

// Where F3 puts ln D50 on the same runs, without a cure: the start of mu and sigma. None where F3 cannot be fitted.
std::vector<Vector> means_of(const std::vector<CurveRun>& curves, double threshold,
                             const std::vector<std::string>& terms) {
  std::vector<EmergenceRun> runs;
  for (const CurveRun& run : curves) {
    const Crossing at = crossing_of(run.tokens, run.accuracy, threshold);
    runs.push_back({run.design, run.seed, run.x, at.d_before, at.d_after, at.d_max});
  }
  EmergenceOptions plain;
  plain.terms = terms;
  plain.cure = false;
  plain.intervals = false;
  try {
    const EmergenceFit f3 = fit_emergence_time(runs, plain);
    Vector mean = Eigen::Map<const Vector>(f3.fit.theta.data(), static_cast<Eigen::Index>(f3.fit.theta.size()));
    mean[mean.size() - 1] = std::max(mean[mean.size() - 1], std::log(0.05));
    return {mean};
  } catch (const InputError&) {
    return {};
  }
}

// Hits are whole numbers. Where many are not, by more than printing three digits of an accuracy explains, the curves
// may be averages of seeds, which have a D50 that no run has.
void warn_if_averaged(Fit& fit, const std::vector<CurveRun>& runs) {
  constexpr double kPrinted = 6e-4, kMany = 0.25;
  int broken = 0;
  for (const CurveRun& run : runs) {
    for (std::size_t j = 0; j < run.tokens.size(); ++j) {
      const double hits = run.accuracy[j] * run.count[j];
      broken += std::abs(hits - std::round(hits)) > kPrinted * run.count[j] ? 1 : 0;
    }
  }
  if (broken > kMany * fit.points) {
    fit.warnings.push_back(fmt::format(
        "accuracy times count is no whole number at {} of {} evaluations: give each seed its own run, never an average",
        broken, fit.points));
  }
}

}  // namespace

EmergenceCurveTerms emergence_curve_terms(const std::vector<CurveRun>& runs, const Columns& columns,
                                          const DesignCovariates* origin, const Sharing& plateaus,
                                          const Sharing& floors) {
  EmergenceCurveData data;
  std::vector<DesignCovariates> designs;
  for (const CurveRun& run : runs) {
    std::vector<double> logs, successes;
    for (std::size_t j = 0; j < run.tokens.size(); ++j) {
      logs.push_back(std::log(run.tokens[j]));
      successes.push_back(run.accuracy[j] * run.count[j]);
    }
    data.log_tokens.push_back(std::move(logs));
    data.successes.push_back(std::move(successes));
    data.counts.push_back(run.count);
    designs.push_back(run.x);
  }
  data.mu = rows_of(columns, designs);
  if (origin != nullptr) {
    const std::vector<double> zero = row_of(columns, *origin);
    for (auto& row : data.mu) {
      for (std::size_t j = 0; j < row.size(); ++j) row[j] -= zero[j];
    }
  }
  data.mu_names = columns.names;
  data.plateaus = plateaus;
  data.floors = floors;
  return EmergenceCurveTerms(std::move(data));
}

MultiStart fit_curves(EmergenceFit& result, const EmergenceCurveTerms& law, const std::vector<CurveRun>& runs,
                      const EmergenceOptions& options, std::vector<Vector> starts) {
  Fit& fit = result.fit;
  fit.law = "F1";
  for (const CurveRun& run : runs) {
    fit.points += static_cast<int>(run.tokens.size());
    result.d_max = std::max(result.d_max, run.tokens.back());
  }
  // Only mu and sigma are learned from runs; the shape of the curve is learned from their points.
  std::vector<std::string> between{"intercept"};
  between.insert(between.end(), result.columns.names.begin(), result.columns.names.end());
  between.emplace_back("sigma");
  check_enough(runs.size(), between);

  const LawObjective<EmergenceCurveTerms> objective(law);
  for (Vector& start : law.starts(means_of(runs, law.halfway(), options.terms))) starts.push_back(std::move(start));
  const auto coefficients = static_cast<int>(between.size()) - 1;  // degrees of freedom as for F3: of runs that rose
  MultiStart fits =
      fit_likelihood(fit, objective, box_of(law.coordinates()), std::move(starts), names_of(law.coordinates()),
                     reported_of(law.coordinates()), law.terms(), law.risen() - coefficients,
                     {options.level, options.intervals, options.profile, options.threads, kCurveSolver,
                      std::max(law.risen(), coefficients + 1), options.sandwich});
  report_dropped(fit, result.columns);
  warn_if_averaged(fit, runs);
  for (const CurveRun& run : runs) {
    const double ratio = std::exp(std::log(run.tokens.back()) - log_d50_at(result, run.x, fit.theta));
    result.longest_ratio = std::max(result.longest_ratio, ratio);
  }
  if (result.longest_ratio < kLongEnough) {
    for (Parameter& p : fit.parameters) {
      if (!is_level(p.name, "A")) continue;
      not_identified(p,
                     fmt::format("the longest run is {:.2g} D50, under 3: no plateau was seen", result.longest_ratio));
    }
  }
  return fits;
}

EmergenceFit fit_emergence_curve(const std::vector<CurveRun>& runs, const EmergenceOptions& options) {
  check_curves(runs, options);
  std::vector<DesignCovariates> designs;
  designs.reserve(runs.size());
  for (const CurveRun& run : runs) designs.push_back(run.x);
  EmergenceFit result;
  result.columns = choose_columns(designs, options.terms);
  (void)fit_curves(result, emergence_curve_terms(runs, result.columns), runs, options);
  return result;
}

std::vector<D50> profile_d50(const EmergenceFit& fit, const std::vector<CurveRun>& runs,
                             const std::vector<DesignCovariates>& designs, int threads) {
  if (fit.fit.law != "F1") throw InputError("profile intervals of D50 from curves need an F1 fit");
  const double threshold = profile_threshold(fit.fit.level, fit.fit.informative, fit.fit.degrees);
  std::vector<D50> result(designs.size());
  parallel_for(static_cast<int>(designs.size()), threads, [&](int i) {
    D50& d50 = result[i];
    d50 = predict_d50(fit, designs[i]);
    const EmergenceCurveTerms law = emergence_curve_terms(runs, fit.columns, &designs[i]);
    const LawObjective<EmergenceCurveTerms> objective(law);
    const Box box = box_of(law.coordinates());
    Vector theta = Eigen::Map<const Vector>(fit.fit.theta.data(), objective.size());
    theta[0] = std::log(d50.estimate);
    const Solution best = minimise(objective, box, theta, {}, kCurveSolver);
    const ProfileInterval interval = profile_interval(objective, box, best, 0, threshold, kCurveSolver);
    d50.ci_low = interval.low_open ? 0 : std::exp(interval.low);
    d50.ci_high = interval.high_open ? kInfinity : std::exp(interval.high);
    if (interval.high_open)
      d50.warnings.push_back("the data set no upper limit to D50: this design was not seen to emerge");
  });
  return result;
}

}  // namespace hylas::fitting
