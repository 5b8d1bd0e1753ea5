// F3, the public fit: columns, the likelihood fit, what may not be claimed, profile intervals of D50, the bootstrap.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "fitting/bootstrap.hpp"
#include "fitting/distributions.hpp"
#include "fitting/emergence.hpp"
#include "fitting/emergence_checks.hpp"
#include "fitting/likelihood.hpp"
#include "fitting/parallel.hpp"

namespace hylas::fitting {
namespace {

constexpr double kLongEnough = 3;  // a plateau needs a run of about 3 D50 (MATHS 3)

std::vector<Reported> reported_of(const std::vector<Coordinate>& coordinates) {
  std::vector<Reported> reported;
  for (int j = 0; j < static_cast<int>(coordinates.size()); ++j) {
    const std::string& name = coordinates[j].name;
    if (name == "ln_sigma") {
      reported.push_back({"sigma", j, true, 0, kInfinity});
    } else if (name == "pi") {
      reported.push_back({"pi", j, false, 0, 1});
    } else {
      reported.push_back({name, j, false, -kInfinity, kInfinity});
    }
  }
  return reported;
}

bool is_cure(const std::string& name) {
  return name == "pi" || name.starts_with("pi:");
}

// Late or never: only unfinished runs well beyond their D50 can tell.
void flag_cure(EmergenceFit& result, const std::vector<EmergenceRun>& runs) {
  int censored = 0;
  result.longest_ratio = 0;
  for (const EmergenceRun& run : runs) {
    result.d_max = std::max({result.d_max, run.d_max, run.d_before, run.emerged() ? run.d_after : 0});
    if (run.emerged()) continue;
    ++censored;
    const double ratio = std::exp(std::log(run.d_before) - log_d50_at(result, run.x, result.fit.theta));
    result.longest_ratio = std::max(result.longest_ratio, ratio);
  }
  for (Parameter& p : result.fit.parameters) {
    if (!is_cure(p.name)) continue;
    if (censored == 0) {
      not_identified(p, "every run emerged, so nothing tells how often one never would");
    } else if (result.longest_ratio < kLongEnough) {
      not_identified(p, fmt::format("the longest unfinished run is {:.2g} D50, under 3: late and never look alike",
                                    result.longest_ratio));
    }
  }
}

// Designs (rows of mu) that were run and never seen to emerge: their D50 rests on the law alone.
void note_never(EmergenceFit& result, const std::vector<EmergenceRun>& runs) {
  std::map<std::vector<double>, bool> emerged;
  for (const EmergenceRun& run : runs) {
    bool& any = emerged[row_of(result.columns, run.x)];
    any = any || run.emerged();
  }
  for (const auto& [row, any] : emerged) {
    if (!any) result.never.push_back(row);
  }
}

void flag_spread(EmergenceFit& result, const MultiStart& fits) {
  const int sigma = index_of(result.fit, "ln_sigma");
  if (sigma >= 0 && fits.best.edge[sigma] == Edge::lower) {
    result.fit.warnings.push_back(
        "sigma is on its lower bound: seeds differ by less than the evaluation grid; evaluate more often or add seeds");
  }
}

}  // namespace

EmergenceFit fit_emergence_time(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options) {
  check_runs(runs, options);
  std::vector<DesignCovariates> designs;
  designs.reserve(runs.size());
  for (const EmergenceRun& run : runs) designs.push_back(run.x);
  EmergenceFit result;
  result.columns = choose_columns(designs, options.terms);
  result.cure_columns = choose_columns(designs, options.cure_terms);
  result.cure_logit = !options.cure_terms.empty();
  const EmergenceTimeTerms law =
      emergence_time_terms(runs, result.columns, result.cure_columns, options.cure, result.cure_logit);
  check_enough(runs.size(), names_of(law.coordinates()));

  const auto emerged = static_cast<int>(std::ranges::count_if(runs, &EmergenceRun::emerged));
  const auto coefficients = 1 + static_cast<int>(result.columns.names.size());
  Fit& fit = result.fit;
  fit.law = "F3";
  fit.points = law.terms();
  const LawObjective<EmergenceTimeTerms> objective(law);
  const MultiStart fits =
      fit_likelihood(fit, objective, box_of(law.coordinates()), law.starts(), names_of(law.coordinates()),
                     reported_of(law.coordinates()), law.terms(), emerged - coefficients,
                     {options.level,
                      options.intervals,
                      options.profile,
                      options.threads,
                      {.near = true},
                      std::max(emerged, coefficients + 1),
                      options.sandwich});
  report_dropped(fit, result.columns);
  report_dropped(fit, result.cure_columns);
  flag_cure(result, runs);
  note_never(result, runs);
  flag_spread(result, fits);
  return result;
}

std::vector<D50> profile_d50(const EmergenceFit& fit, const std::vector<EmergenceRun>& runs,
                             const std::vector<DesignCovariates>& designs, int threads) {
  if (fit.fit.law != "F3") throw InputError("profile intervals of D50 need an F3 fit");
  const bool cure_free = fit.cure_logit || index_of(fit.fit, "pi") >= 0;
  const double threshold = profile_threshold(fit.fit.level, fit.fit.informative, fit.fit.degrees);
  std::vector<D50> result(designs.size());
  parallel_for(static_cast<int>(designs.size()), threads, [&](int i) {
    D50& d50 = result[i];
    d50 = predict_d50(fit, designs[i]);
    const EmergenceTimeTerms law =
        emergence_time_terms(runs, fit.columns, fit.cure_columns, cure_free, fit.cure_logit, &designs[i]);
    const LawObjective<EmergenceTimeTerms> objective(law);
    const Box box = box_of(law.coordinates());
    Vector theta = Eigen::Map<const Vector>(fit.fit.theta.data(), objective.size());
    theta[0] = std::log(d50.estimate);
    const ProfileInterval interval =
        profile_interval(objective, box, minimise(objective, box, theta, {}, {.near = true}), 0, threshold);
    d50.ci_low = interval.low_open ? 0 : std::exp(interval.low);
    d50.ci_high = interval.high_open ? kInfinity : std::exp(interval.high);
    if (interval.high_open)
      d50.warnings.push_back("the data set no upper limit to D50: this design was not seen to emerge");
  });
  return result;
}

Fit bootstrap_emergence_time(const EmergenceFit& fit, const std::vector<EmergenceRun>& runs, int replicates,
                             std::uint64_t seed, int threads) {
  if (fit.fit.law != "F3") throw InputError("this bootstrap needs an F3 fit");
  const bool cure_free = fit.cure_logit || index_of(fit.fit, "pi") >= 0;
  const EmergenceTimeTerms law = emergence_time_terms(runs, fit.columns, fit.cure_columns, cure_free, fit.cure_logit);
  const Box box = box_of(law.coordinates());
  const Vector start = Eigen::Map<const Vector>(fit.fit.theta.data(), static_cast<Eigen::Index>(fit.fit.theta.size()));
  const auto solutions = bootstrap(each_its_own(law.terms()), replicates, seed, threads, [&](const auto& weights) {
    return minimise(LawObjective<EmergenceTimeTerms>(law, weights), box, start, {}, {.near = true});
  });
  Fit out = fit.fit;
  out.draws.clear();
  for (const Solution& s : solutions) {
    if (s.converged) out.draws.emplace_back(s.theta.begin(), s.theta.end());
  }
  const std::vector<Reported> reported = reported_of(law.coordinates());
  for (std::size_t j = 0; j < reported.size(); ++j) {
    std::vector<double> values;
    for (const auto& draw : out.draws) values.push_back(reported[j].value(draw[reported[j].coordinate]));
    out.parameters[j].ci_low = quantile(values, 0.5 - 0.5 * out.level);
    out.parameters[j].ci_high = quantile(values, 0.5 + 0.5 * out.level);
  }
  out.interval_method = fmt::format("bootstrap of runs, {} replicates, percentiles", out.draws.size());
  return out;
}

}  // namespace hylas::fitting
