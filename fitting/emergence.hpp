// Emergence laws: when in training a capability appears, from runs (MATHS 3).
//
//   F3  time to emergence, interval-censored, with a cure fraction:
//         S(D|x) = 1 - pi(x) + pi(x) (1 - Phi((ln D - mu(x))/sigma)),  mu(x) = intercept + sum of columns
//   F1  curve: mean(D) = c0 + (A - c0) sigmoid(k (ln D - ln D50)), ln D50 = mu(x) + u_run, u ~ N(0, sigma^2),
//         beta-binomial noise on accuracies, u integrated by Gauss-Legendre panels placed for each run
//
// Both take runs, one a seed, never averages: seeds are bimodal at emergence, and a mean of curves has a D50 that no
// run has. Two entries of one design with one seed are refused. Runs that never emerged are censored, not dropped.
// Units: D in tokens. Parameters are named "intercept", by the columns of fitting/covariates.hpp, "sigma" and "pi" (F3;
// "pi:intercept", "pi:NAME" on the logit scale where cure_terms are given), and "c0", "A", "k", "phi" (F1).
// Errors: InputError names the run. Deterministic whatever the threads. Thread-safety: free functions on values.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "fitting/covariates.hpp"
#include "fitting/result.hpp"

namespace hylas::fitting {

// One run for F3. Seen to cross between two evaluations, or censored.
struct EmergenceRun {
  std::string design;  // a name for messages; runs of one design share it
  std::int64_t seed = 0;
  DesignCovariates x;
  double d_before = 0;         // tokens of the last evaluation before the crossing; 0: crossed before the first one
  double d_after = kInfinity;  // tokens of the evaluation that crossed; infinite: never crossed
  double d_max = 0;            // tokens of the run's last evaluation
  std::vector<double> evaluations = {};  // tokens, ascending, of all it had or would have had; for simulations alone
  [[nodiscard]] bool emerged() const { return d_after < kInfinity; }
};

// One run for F1: its whole curve.
struct CurveRun {
  std::string design;
  std::int64_t seed = 0;
  DesignCovariates x;
  std::vector<double> tokens;    // ascending, positive
  std::vector<double> accuracy;  // in [0, 1]
  std::vector<double> count;     // scored positions behind each accuracy; positive
};

// Where a curve first holds `threshold` at two successive evaluations. A crossing at the last evaluation could not be
// seen, so a run without one is censored at the evaluation before it, whether or not its last value is above: to
// censor only those there, and the others at the last evaluation, would let the time decide how much of it is told, and
// bias the law towards late emergence. A value that is no number is below. d_before is 0 for a single evaluation.
struct Crossing {
  double d_before = 0;
  double d_after = kInfinity;
  double d_max = 0;
};
[[nodiscard]] Crossing crossing_of(std::span<const double> tokens, std::span<const double> values, double threshold);

struct EmergenceOptions {
  std::vector<std::string> terms = default_terms();
  std::vector<std::string> cure_terms;  // F3: columns of logit pi(x); empty: one pi for all
  bool cure = true;                     // F3: false holds pi at 1
  double level = 0.9;
  bool intervals = true;             // profile likelihood with a t quantile; false: estimates only
  bool sandwich = false;             // intervals from the sandwich covariance: quicker, too narrow with few runs
  std::vector<std::string> profile;  // parameters to profile; empty: all
  int threads = 1;
};

struct EmergenceFit {
  Fit fit;
  Columns columns;       // of mu
  Columns cure_columns;  // of logit pi
  bool cure_logit = false;
  double longest_ratio = 0;                // largest d_max / D50 over the runs that carry information on the plateau
  double d_max = 0;                        // longest run, tokens
  std::vector<std::vector<double>> never;  // rows of mu of designs none of whose runs emerged (F3)
};

[[nodiscard]] EmergenceFit fit_emergence_time(const std::vector<EmergenceRun>& runs,
                                              const EmergenceOptions& options = {});
[[nodiscard]] EmergenceFit fit_emergence_curve(const std::vector<CurveRun>& runs, const EmergenceOptions& options = {});

// D50 of a design: the median time of a run that emerges.
struct D50 {
  double estimate = kNaN;
  double ci_low = 0, ci_high = kInfinity;    // of the design's D50: parameter uncertainty alone
  double run_low = 0, run_high = kInfinity;  // of one new run that emerges: total sd
  // Of one new run that may never emerge: quantiles of pi Phi((ln D - mu) / sd_total), infinite where pi lies below
  // them.
  double any_low = 0, any_median = kInfinity, any_high = kInfinity;
  double sd_parameters = 0;  // of ln D50
  double sd_seeds = 0;       // sigma
  double sd_total = 0;
  double pi = 1;                      // chance that a run ever emerges
  std::vector<std::string> warnings;  // outside the fitted ranges, longer than the runs
};
// From the covariance (delta method, t quantile): fast, for many candidates.
[[nodiscard]] D50 predict_d50(const EmergenceFit& fit, const DesignCovariates& design);
// ln D50 and pi at other coordinates, e.g. a draw.
[[nodiscard]] double log_d50_at(const EmergenceFit& fit, const DesignCovariates& design, std::span<const double> theta);
[[nodiscard]] double pi_at(const EmergenceFit& fit, const DesignCovariates& design, std::span<const double> theta);
[[nodiscard]] double sigma_at(const EmergenceFit& fit, std::span<const double> theta);
// Profile likelihood intervals of D50 at designs (slower, right under heavy censoring): ci_low and ci_high replaced.
[[nodiscard]] std::vector<D50> profile_d50(const EmergenceFit& fit, const std::vector<EmergenceRun>& runs,
                                           const std::vector<DesignCovariates>& designs, int threads = 1);
[[nodiscard]] std::vector<D50> profile_d50(const EmergenceFit& fit, const std::vector<CurveRun>& runs,
                                           const std::vector<DesignCovariates>& designs, int threads = 1);

// Draws of the coordinates from N(theta, covariance), clamped to the bounds; draw i depends on seed and i alone.
[[nodiscard]] std::vector<std::vector<double>> parameter_draws(const Fit& fit, int draws, std::uint64_t seed);

// Resamples runs with replacement and refits: draws of theta in fit.draws, percentile intervals in `parameters`.
[[nodiscard]] Fit bootstrap_emergence_time(const EmergenceFit& fit, const std::vector<EmergenceRun>& runs,
                                           int replicates, std::uint64_t seed, int threads = 1);

}  // namespace hylas::fitting
