// "All hybrids converge" as a test: do curves of all designs end on one plateau, or has each design its own? (MATHS 3)
//
// Two F1 laws on the same runs: A shared, against one A a design ("A:DESIGN"); ln D50, k, sigma, phi and the floor are
// as in F1 in both (floors_by_design: one floor a design in both). Statistic: the likelihood ratio. Its p is from the
// chi-squared distribution only where every design saturates, that is has a run of 3 D50 or more, and no plateau lies
// on its bound; else from a parametric bootstrap: curves drawn from the shared fit at each run's own evaluations, both
// laws refitted. Where a design does not saturate its plateau is an extrapolation of the curve's assumed shape, and the
// verdict says "not identified" whatever the p. Power: the smallest distance of one design's A from that of all others
// that the test sees with the asked chance, by the noncentral chi-squared distribution with the information at the
// shared fit and the critical value in use (the bootstrap's own where there is one); for the design where it is
// largest. Deterministic: replicate r depends on the seed and r alone, whatever the threads. Errors: InputError for
// runs without a design name, fewer than two designs, fewer than 19 replicates, and all that fit_emergence_curve
// refuses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fitting/emergence.hpp"

namespace hylas::fitting {

enum class AsymptoteReference { automatic, chi_squared, bootstrap };

struct AsymptoteOptions {
  std::vector<std::string> terms = default_terms();
  bool floors_by_design = false;
  double level = 0.05;  // of the test
  double power = 0.8;   // the chance asked of the smallest difference
  AsymptoteReference reference = AsymptoteReference::automatic;
  int replicates = 199;  // of the bootstrap
  std::uint64_t seed = 1;
  int threads = 1;
};

struct DesignPlateau {
  std::string design;
  int runs = 0;
  double estimate = kNaN;        // A:DESIGN
  double standard_error = kNaN;  // from the curvature; NaN on a bound
  double d50 = kNaN;             // under the shared law, tokens
  double longest_ratio = 0;      // its longest run / d50
  bool saturates = false;        // longest_ratio >= 3
};

enum class AsymptoteVerdict { no_difference_seen, differ, not_identified };

struct AsymptoteTest {
  EmergenceFit shared;                 // A for all, with AIC and BIC (n = runs)
  Fit separate;                        // A:DESIGN
  std::vector<DesignPlateau> designs;  // in order of name
  double statistic = kNaN;
  int degrees = 0;
  double p = kNaN;
  bool bootstrapped = false;
  int replicates = 0;  // that converged and count
  int left_out = 0;
  std::vector<double> null_statistics;  // of those replicates, largest first
  double level = 0.05;
  double critical = kNaN;  // the statistic beyond which the test rejects
  double power = 0.8;
  double smallest_difference = kInfinity;  // infinite: none that fits between floor and 1
  std::string weakest;                     // the design it belongs to
  AsymptoteVerdict verdict = AsymptoteVerdict::not_identified;
  std::string words;  // the verdict as a sentence
  std::vector<std::string> warnings;
};

[[nodiscard]] AsymptoteTest test_common_asymptote(const std::vector<CurveRun>& runs,
                                                  const AsymptoteOptions& options = {});

// A summary a person reads; one JSON object with stable keys: test, verdict, words, statistic, degrees, p, reference,
// replicates, left_out, level, critical, shared {A, log_likelihood, aic, bic}, separate {log_likelihood, aic, bic,
// plateaus [{design, runs, A, standard_error, d50, longest_ratio, saturates}]}, power {chance, smallest_difference,
// design, by}, warnings. Infinite and NaN numbers are null.
[[nodiscard]] std::string to_text(const AsymptoteTest& test);
[[nodiscard]] std::string to_json(const AsymptoteTest& test);

}  // namespace hylas::fitting
