// Likelihood ratios of F3, their parametric bootstrap, and tables of candidates; contract in the header.
#include "fitting/compare.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fitting/compare_parts.hpp"
#include "fitting/distributions.hpp"
#include "fitting/emergence_checks.hpp"
#include "fitting/parallel.hpp"
#include "fitting/simulate.hpp"

namespace hylas::fitting {
namespace {

constexpr double kSureLogit = 15;  // of pi = 1: the bound of pi:intercept

// F3 with the columns of a fit, refitted to other runs of the same designs: from the given start and one of its own.
Solution refit(const EmergenceFit& fit, const std::vector<EmergenceRun>& runs, const Vector& start) {
  const bool cure_free = fit.cure_logit || index_of(fit.fit, "pi") >= 0;
  const EmergenceTimeTerms law = emergence_time_terms(runs, fit.columns, fit.cure_columns, cure_free, fit.cure_logit);
  const LawObjective<EmergenceTimeTerms> objective(law);
  return minimise_from(objective, box_of(law.coordinates()), {start, law.starts().back()}, {.near = true}).best;
}

// 2 (ln L larger - ln L smaller) of other runs; NaN where they cannot be fitted.
double statistic_of(const EmergenceFit& smaller, const EmergenceFit& larger, const std::vector<EmergenceRun>& runs) {
  if (std::ranges::none_of(runs, &EmergenceRun::emerged)) return kNaN;
  const Solution small = refit(smaller, runs, theta_of(smaller.fit));
  const Solution large = refit(larger, runs, embed(small.theta, smaller.fit, larger.fit));
  if (!small.converged || !large.converged) return kNaN;
  return std::max(0.0, 2 * (small.objective - large.objective));
}

LikelihoodRatio compare_fits(const EmergenceFit& smaller, EmergenceFit larger, const std::vector<EmergenceRun>& runs,
                             const CompareOptions& options) {
  (void)added_by(smaller.fit, larger.fit);  // refuses what is not nested before embed() relies on it
  use_if_better(larger.fit, refit(larger, runs, embed(theta_of(smaller.fit), smaller.fit, larger.fit)));
  LikelihoodRatio ratio = likelihood_ratio(smaller.fit, larger.fit);
  if (options.simulations == 0 || std::isnan(ratio.p)) return ratio;
  const auto grids = evaluation_grids(runs);
  bootstrap_ratio(ratio, options, [&](int r) {
    return statistic_of(smaller, larger,
                        simulate_runs(smaller, runs, grids, options.seed, static_cast<std::uint64_t>(r)));
  });
  return ratio;
}

std::string preference(const char* name, double gain) {
  return fmt::format("{} prefers the {} model by {:.3g}", name, gain > 0 ? "larger" : "smaller", std::abs(gain));
}

}  // namespace

Vector theta_of(const Fit& fit) {
  return Eigen::Map<const Vector>(fit.theta.data(), static_cast<Eigen::Index>(fit.theta.size()));
}

Vector embed(const Vector& theta, const Fit& smaller, const Fit& larger) {
  Vector out = Vector::Zero(static_cast<Eigen::Index>(larger.theta.size()));
  const int pi = index_of(smaller, "pi");
  for (std::size_t j = 0; j < larger.coordinates.size(); ++j) {
    const std::string& name = larger.coordinates[j];
    const int from = index_of(smaller, name);
    if (from >= 0) {
      out[j] = theta[from];
    } else if (name == "pi") {
      out[j] = 1;
    } else if (name == "pi:intercept") {
      const double p = pi >= 0 ? std::min(theta[pi], 1.0) : 1.0;
      out[j] = std::min(kSureLogit, std::log(p / (1 - p)));
    }
  }
  return out;
}

std::vector<std::string> added_by(const Fit& smaller, const Fit& larger) {
  std::vector<std::string> added;
  for (const std::string& name : smaller.coordinates) {
    const bool logit = name == "pi" && index_of(larger, "pi:intercept") >= 0;
    if (!logit && index_of(larger, name) < 0) {
      throw InputError(fmt::format("the models are not nested: '{}' is in the smaller and not in the larger", name));
    }
  }
  const bool constant = index_of(smaller, "pi") >= 0;
  for (const std::string& name : larger.coordinates) {
    if (index_of(smaller, name) < 0 && !(constant && name == "pi:intercept")) added.push_back(name);
  }
  if (added.empty()) throw InputError("the larger model has no parameter that the smaller one lacks");
  return added;
}

void use_if_better(Fit& larger, const Solution& nested) {
  if (!nested.converged || nested.objective >= larger.objective) return;
  larger.theta.assign(nested.theta.begin(), nested.theta.end());
  larger.log_likelihood += larger.objective - nested.objective;
  larger.objective = nested.objective;
  larger.converged = true;
}

void bootstrap_ratio(LikelihoodRatio& ratio, const CompareOptions& options,
                     const std::function<double(int)>& statistic_of) {
  std::vector<double> statistics(static_cast<std::size_t>(options.simulations));
  parallel_for(options.simulations, options.threads, [&](int r) { statistics[r] = statistic_of(r); });
  const auto failed = std::ranges::count_if(statistics, [](double s) { return std::isnan(s); });
  const auto above = std::ranges::count_if(statistics, [&](double s) { return s >= ratio.statistic; });
  ratio.left_out = static_cast<int>(failed);
  ratio.simulations = options.simulations - ratio.left_out;
  ratio.p_bootstrap = static_cast<double>(1 + above) / (1 + ratio.simulations);
}

EmergenceOptions without_intervals(EmergenceOptions options, int threads) {
  options.intervals = false;
  options.threads = threads;
  return options;
}

LikelihoodRatio likelihood_ratio(const Fit& smaller, const Fit& larger) {
  if (smaller.law != larger.law || smaller.runs != larger.runs || smaller.points != larger.points) {
    throw InputError(
        fmt::format("a likelihood ratio needs two fits of one law to the same runs, not {} on {} runs ({} "
                    "points) and {} on {} runs ({} points)",
                    smaller.law, smaller.runs, smaller.points, larger.law, larger.runs, larger.points));
  }
  LikelihoodRatio ratio;
  ratio.added = added_by(smaller, larger);
  ratio.degrees = static_cast<int>(ratio.added.size());
  ratio.statistic = std::max(0.0, 2 * (larger.log_likelihood - smaller.log_likelihood));
  if (smaller.converged && larger.converged) ratio.p = chi_squared_survival(ratio.statistic, ratio.degrees);
  ratio.aic_gain = ratio.statistic - 2 * ratio.degrees;
  ratio.bic_gain = ratio.statistic - std::log(static_cast<double>(smaller.runs)) * ratio.degrees;
  return ratio;
}

LikelihoodRatio compare_nested(const std::vector<EmergenceRun>& runs, const EmergenceOptions& smaller,
                               const EmergenceOptions& larger, const CompareOptions& options) {
  const EmergenceFit small = fit_emergence_time(runs, without_intervals(smaller, options.threads));
  return compare_fits(small, fit_emergence_time(runs, without_intervals(larger, options.threads)), runs, options);
}

std::optional<LikelihoodRatio> lack_of_fit(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options,
                                           const CompareOptions& compare) {
  std::vector<std::string> designs;
  for (const EmergenceRun& run : runs) {
    if (std::ranges::find(designs, run.design) == designs.end()) designs.push_back(run.design);
  }
  std::vector<EmergenceRun> marked = runs;
  for (EmergenceRun& run : marked) run.x.indicators.emplace_back("design " + run.design, 1.0);
  EmergenceOptions larger = without_intervals(options, compare.threads);
  for (const std::string& design : designs) larger.terms.push_back("design " + design);
  const EmergenceFit small = fit_emergence_time(marked, without_intervals(options, compare.threads));
  std::vector<DesignCovariates> x;
  x.reserve(marked.size());
  for (const EmergenceRun& run : marked) x.push_back(run.x);
  if (choose_columns(x, larger.terms).names.size() == small.columns.names.size()) return std::nullopt;
  return compare_fits(small, fit_emergence_time(marked, larger), marked, compare);
}

std::string to_text(const LikelihoodRatio& ratio) {
  std::string out = fmt::format("{}: likelihood ratio {:.2f}, {} degree{} of freedom, ", fmt::join(ratio.added, ", "),
                                ratio.statistic, ratio.degrees, ratio.degrees == 1 ? "" : "s");
  if (std::isnan(ratio.p)) return out + "no p: a fit did not converge\n";
  out += fmt::format("p {:.2g} (chi-squared", ratio.p);
  if (ratio.simulations > 0) {
    out += fmt::format("), {:.2g} (parametric bootstrap of {} studies", ratio.p_bootstrap, ratio.simulations);
    if (ratio.left_out > 0) out += fmt::format(", {} more could not be fitted", ratio.left_out);
  }
  return out + fmt::format(")\n  {}; {}\n", preference("AIC", ratio.aic_gain), preference("BIC", ratio.bic_gain));
}

std::vector<CandidateFit> compare_models(const std::vector<EmergenceRun>& runs,
                                         const std::vector<Candidate>& candidates, int threads) {
  std::vector<CandidateFit> rows(candidates.size());
  parallel_for(static_cast<int>(candidates.size()), threads, [&](int i) {
    const Fit fit = fit_emergence_time(runs, without_intervals(candidates[i].options, 1)).fit;
    const auto free = static_cast<int>(std::lround(0.5 * fit.aic + fit.log_likelihood));
    rows[i] = {candidates[i].name, free, fit.log_likelihood, fit.aic, fit.bic, 0, fit.converged, fit.identified()};
  });
  std::ranges::stable_sort(rows, {}, &CandidateFit::aic);
  const auto weight = [&](const CandidateFit& row) {
    return row.converged ? std::exp(-0.5 * (row.aic - rows.front().aic)) : 0.0;
  };
  double sum = 0;
  for (const CandidateFit& row : rows) sum += weight(row);
  for (CandidateFit& row : rows) row.aic_weight = sum > 0 ? weight(row) / sum : 0;
  return rows;
}

std::string to_text(const std::vector<CandidateFit>& candidates) {
  std::size_t width = 5;
  double least_bic = kInfinity;
  for (const CandidateFit& row : candidates) {
    width = std::max(width, row.name.size());
    least_bic = std::min(least_bic, row.bic);
  }
  std::string out =
      fmt::format("{:<{}}  parameters  log-likelihood  AIC - least  BIC - least  AIC weight\n", "model", width);
  for (const CandidateFit& row : candidates) {
    out += fmt::format("{:<{}}  {:>10}  {:>14.6g}  {:>11.3g}  {:>11.3g}  {:>10.3f}{}\n", row.name, width,
                       row.parameters, row.log_likelihood, row.aic - candidates.front().aic, row.bic - least_bic,
                       row.aic_weight, row.converged ? "" : "  NOT converged");
  }
  return out;
}

}  // namespace hylas::fitting
