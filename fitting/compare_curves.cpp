// Likelihood ratios of F1 and their parametric bootstrap; contract in compare.hpp.
#include <cmath>

#include "fitting/compare_parts.hpp"
#include "fitting/curve_fit.hpp"
#include "fitting/simulate_curves.hpp"

namespace hylas::fitting {
namespace {

Solution refit(const EmergenceFit& fit, const std::vector<CurveRun>& runs, const Vector& start) {
  const EmergenceCurveTerms law = emergence_curve_terms(runs, fit.columns);
  return minimise(LawObjective<EmergenceCurveTerms>(law), box_of(law.coordinates()), start, {}, kCurveSolver);
}

std::vector<CurveRun> simulate(const EmergenceFit& fit, const std::vector<CurveRun>& runs, Stream stream) {
  const auto at = [&](const char* name) { return fit.fit.parameter(name).estimate; };
  const CurveShape shape{at("c0"), at("A"), at("k"), at("sigma"), at("phi")};
  std::vector<CurveRun> drawn;
  drawn.reserve(runs.size());
  for (const CurveRun& run : runs) {
    drawn.push_back(simulate_curve(run, log_d50_at(fit, run.x, fit.fit.theta), shape, stream));
  }
  return drawn;
}

}  // namespace

LikelihoodRatio compare_nested(const std::vector<CurveRun>& runs, const EmergenceOptions& smaller,
                               const EmergenceOptions& larger, const CompareOptions& options) {
  const EmergenceFit small = fit_emergence_curve(runs, without_intervals(smaller, options.threads));
  EmergenceFit large = fit_emergence_curve(runs, without_intervals(larger, options.threads));
  (void)added_by(small.fit, large.fit);  // refuses what is not nested before embed() relies on it
  use_if_better(large.fit, refit(large, runs, embed(theta_of(small.fit), small.fit, large.fit)));
  LikelihoodRatio ratio = likelihood_ratio(small.fit, large.fit);
  if (options.simulations == 0 || std::isnan(ratio.p)) return ratio;
  bootstrap_ratio(ratio, options, [&](int r) {
    const auto drawn = simulate(small, runs, Stream(options.seed, static_cast<std::uint64_t>(r)));
    const Solution few = refit(small, drawn, theta_of(small.fit));
    const Solution many = refit(large, drawn, embed(few.theta, small.fit, large.fit));
    return few.converged && many.converged ? std::max(0.0, 2 * (few.objective - many.objective)) : kNaN;
  });
  return ratio;
}

}  // namespace hylas::fitting
