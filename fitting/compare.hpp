// Comparison of emergence models of the same runs: likelihood ratio of nested ones, AIC and BIC of any.
//
// The chi-squared p of a likelihood ratio is asymptotic: too small in small studies (a nominal 5% rejects 15% of the
// time with 24 runs, 15 of them emerged, and 8 parameters; test_compare.cpp), and too large where what is tested lies
// on its bound (pi = 1). The parametric bootstrap knows both: it refits both models to studies simulated from the
// smaller (fitting/simulate.hpp), and rejects 5%. BIC counts runs. Errors: InputError where the models are not nested,
// or a fit refuses the runs. Deterministic whatever the threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fitting/emergence.hpp"

namespace hylas::fitting {

struct LikelihoodRatio {
  double statistic = 0;  // 2 (ln L of the larger - ln L of the smaller), at least 0
  int degrees = 0;       // parameters that the larger has more
  double p = kNaN;       // chi-squared; NaN where a fit did not converge
  double p_bootstrap = kNaN;
  int simulations = 0;  // behind p_bootstrap
  int left_out = 0;     // simulated studies in which none emerged, or a fit did not converge
  // AIC of the smaller - AIC of the larger, each coordinate counted, on a bound or not: positive speaks for the larger.
  double aic_gain = 0, bic_gain = 0;
  std::vector<std::string> added;  // the coordinates that the larger has more
  [[nodiscard]] double best_p() const { return simulations > 0 ? p_bootstrap : p; }
};

// From two fits of one law to the same runs; coordinates of the smaller are among those of the larger.
[[nodiscard]] LikelihoodRatio likelihood_ratio(const Fit& smaller, const Fit& larger);

struct CompareOptions {
  int simulations = 0;  // of the parametric bootstrap; 0: the chi-squared p alone
  std::uint64_t seed = 1;
  int threads = 1;
};

// F3, by its options: terms (and cure, and cure terms) of the smaller are among those of the larger.
[[nodiscard]] LikelihoodRatio compare_nested(const std::vector<EmergenceRun>& runs, const EmergenceOptions& smaller,
                                             const EmergenceOptions& larger, const CompareOptions& options = {});

// F1, by its terms. Curves are simulated by fitting/simulate_curves.hpp, at each run's own evaluations and counts.
[[nodiscard]] LikelihoodRatio compare_nested(const std::vector<CurveRun>& runs, const EmergenceOptions& smaller,
                                             const EmergenceOptions& larger, const CompareOptions& options = {});

// Whether the columns tell the designs apart as well as one D50 a design would: the larger model has an indicator for
// every design. None where the columns already do.
[[nodiscard]] std::optional<LikelihoodRatio> lack_of_fit(const std::vector<EmergenceRun>& runs,
                                                         const EmergenceOptions& options,
                                                         const CompareOptions& compare = {});

// "ln_window: likelihood ratio 24.1, 1 degree of freedom, p 9e-07 (chi-squared). AIC and BIC prefer the larger ..."
[[nodiscard]] std::string to_text(const LikelihoodRatio& ratio);

// Any candidates, nested or not, best AIC first.
struct Candidate {
  std::string name;
  EmergenceOptions options;
};
struct CandidateFit {
  std::string name;
  int parameters = 0;  // free coordinates
  double log_likelihood = kNaN, aic = kNaN, bic = kNaN;
  double aic_weight = 0;  // exp(-(AIC - least) / 2), of all candidates that converged
  bool converged = false;
  bool identified = false;  // as far as bounds, rival basins and the cure fraction tell: profiles are not run
};
[[nodiscard]] std::vector<CandidateFit> compare_models(const std::vector<EmergenceRun>& runs,
                                                       const std::vector<Candidate>& candidates, int threads = 1);
[[nodiscard]] std::string to_text(const std::vector<CandidateFit>& candidates);

}  // namespace hylas::fitting
