// F1, the public fit: columns, the likelihood fit, and what a plateau may not be claimed from.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fitting/emergence.hpp"
#include "fitting/emergence_checks.hpp"
#include "fitting/laws/emergence_curve.hpp"
#include "fitting/likelihood.hpp"

namespace hylas::fitting {
namespace {

constexpr int kMaxEvaluations = 300;  // of one solve: Newton needs 10 to 40
constexpr double kLongEnough = 3;     // a plateau needs a run of about 3 D50 (MATHS 3)

std::vector<Reported> reported_of(const std::vector<Coordinate>& coordinates) {
  std::vector<Reported> reported;
  for (int j = 0; j < static_cast<int>(coordinates.size()); ++j) {
    const std::string& name = coordinates[j].name;
    if (name == "ln_k" || name == "ln_sigma" || name == "ln_phi") {
      reported.push_back({name.substr(3), j, true, 0, kInfinity});
    } else if (name == "c0" || name == "A") {
      reported.push_back({name, j, false, 0, 1});
    } else {
      reported.push_back({name, j, false, -kInfinity, kInfinity});
    }
  }
  return reported;
}

EmergenceCurveTerms terms_of(const std::vector<CurveRun>& runs, const Columns& columns,
                             const std::vector<DesignCovariates>& designs) {
  EmergenceCurveData data;
  for (const CurveRun& run : runs) {
    std::vector<double> logs, successes;
    for (std::size_t j = 0; j < run.tokens.size(); ++j) {
      logs.push_back(std::log(run.tokens[j]));
      successes.push_back(run.accuracy[j] * run.count[j]);
    }
    data.log_tokens.push_back(std::move(logs));
    data.successes.push_back(std::move(successes));
    data.counts.push_back(run.count);
  }
  data.mu = rows_of(columns, designs);
  data.mu_names = columns.names;
  return EmergenceCurveTerms(std::move(data));
}

// Where F3 puts ln D50 on the same runs, without a cure: the start of mu and sigma. None where F3 cannot be fitted.
std::vector<Vector> means_of(const std::vector<CurveRun>& curves, double threshold, const EmergenceOptions& options) {
  std::vector<EmergenceRun> runs;
  for (const CurveRun& run : curves) {
    const Crossing at = crossing_of(run.tokens, run.accuracy, threshold);
    runs.push_back({run.design, run.seed, run.x, at.d_before, at.d_after, at.d_max});
  }
  EmergenceOptions plain;
  plain.terms = options.terms;
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

}  // namespace

EmergenceFit fit_emergence_curve(const std::vector<CurveRun>& runs, const EmergenceOptions& options) {
  check_curves(runs, options);
  std::vector<DesignCovariates> designs;
  EmergenceFit result;
  Fit& fit = result.fit;
  fit.law = "F1";
  for (const CurveRun& run : runs) {
    designs.push_back(run.x);
    fit.points += static_cast<int>(run.tokens.size());
    result.d_max = std::max(result.d_max, run.tokens.back());
  }
  result.columns = choose_columns(designs, options.terms);
  const EmergenceCurveTerms law = terms_of(runs, result.columns, designs);
  const std::vector<std::string> names = names_of(law.coordinates());
  // Only mu and sigma are learned from runs; the shape of the curve is learned from their points.
  std::vector<std::string> between(names.begin(), names.end() - 5);
  between.push_back("sigma");
  check_enough(runs.size(), between);

  const LawObjective<EmergenceCurveTerms> objective(law);
  (void)fit_likelihood(
      fit, objective, box_of(law.coordinates()), law.starts(means_of(runs, law.halfway(), options)), names,
      reported_of(law.coordinates()), law.terms(), law.terms() - static_cast<int>(between.size()),
      {options.level, options.intervals, options.profile, options.threads, {.max_evaluations = kMaxEvaluations}});
  report_dropped(fit, result.columns);
  for (const CurveRun& run : runs) {
    const double ratio = std::exp(std::log(run.tokens.back()) - log_d50_at(result, run.x, fit.theta));
    result.longest_ratio = std::max(result.longest_ratio, ratio);
  }
  if (result.longest_ratio < kLongEnough) {
    for (Parameter& p : fit.parameters) {
      if (p.name != "A") continue;
      not_identified(p,
                     fmt::format("the longest run is {:.2g} D50, under 3: no plateau was seen", result.longest_ratio));
    }
  }
  return result;
}

}  // namespace hylas::fitting
