// The recommender: given a compute budget and a context, which design to train, with intervals and reasons (MATHS 4).
//
// Pure functions of plain values: no store, no training. What it does:
//   - With a loss law that is identified: N* and D* under the budget, attention FLOPs included where the caller gives
//   them.
//   - For every candidate: D = C / (training FLOPs per token), the chance that its long-context ability has emerged by
//   then,
//     pi(x) Phi((ln D - mu(x)) / sd_total), which must reach 1 - eps, and the cache limit.
//   - A non-dominated sort on (FLOPs per token, cache bytes, D50, chance of emergence; expected loss where a law is
//   given).
//   - The same over draws of the laws' parameters: how often each design wins, and what choosing it costs on average.
//   - Warnings beyond the fitted ranges; with fewer than three sizes it ranks layouts and says that N* is not
//   identified.
//   - The run that would shrink the interval of the winner most.
// Units: C in training FLOPs, context in tokens, memory in bytes. Errors: model::InputError for an impossible request.
// Deterministic: the same request gives the same answer; draws are counter-based. Thread-safety: free functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fitting/emergence.hpp"
#include "fitting/loss.hpp"
#include "model/design/cost.hpp"
#include "model/design/design.hpp"

namespace hylas::search {

struct Candidate {
  model::Design design;
  std::string label;  // for people; empty: the layout's text
};

// A budget and limits.
struct Request {
  double flops = 0;                    // C
  std::int64_t context = 0;            // T the model must work at; 0: each candidate's own
  double eps = 0.1;                    // the chance constraint is pi Phi(.) >= 1 - eps
  std::optional<double> cache_limit;   // bytes of keys and values, one sequence at T
  std::optional<double> memory_limit;  // bytes: weights and the cache of `sequences` sequences
  double bytes_per_weight = 2;
  int sequences = 1;
  int draws = 1000;
  std::uint64_t seed = 1;
};

// What the fits saw.
struct Evidence {
  fitting::EmergenceFit emergence;                // F3 (or F1)
  std::optional<fitting::LossFit> loss;           // a loss law of the same family of designs
  std::vector<double> sizes;                      // distinct N in the fit; empty: counted from the range
  std::int64_t context_min = 0, context_max = 0;  // contexts of the fitted runs; 0: unknown
  int runs_per_design = 0;
};

struct CandidateAdvice {
  std::string design_id, layout, label;
  double parameters = 0;       // N, non-embedding
  double flops_per_token = 0;  // training
  double cache_bytes = 0;      // at the request's context
  double memory_bytes = 0;
  double tokens = 0;  // D = C / flops_per_token
  fitting::D50 d50;
  double probability = 0;    // that it has emerged by D
  double expected_loss = 0;  // NaN without a loss law
  bool feasible = false;
  std::string reason;   // why infeasible, or why not chosen
  int front = 0;        // 1: not dominated by any feasible candidate; 0: infeasible
  double win_rate = 0;  // share of draws in which it is the best
  double regret = 0;    // expected: loss above the best where a loss law is identified, else ln compute above the best
  double flops_needed = 0;  // training FLOPs at which the chance constraint is met; infinite where it never is
  std::vector<std::string> warnings;
};

struct OptimalSize {
  bool identified = false;
  std::string why;  // why not
  double n = 0, d = 0, loss = 0;
  double n_low = 0, n_high = 0;  // over the bootstrap draws; NaN without
};

struct NextRun {
  std::string layout, label;
  double sd_now = 0, sd_after = 0;  // of ln D50 of the recommended design, parameters alone
  std::string text;
};

struct Advice {
  Request request;
  int recommended = -1;  // index into candidates; -1: none meets the constraints
  std::string headline;  // one sentence
  std::vector<std::string> reasons;
  std::vector<CandidateAdvice> candidates;  // best first
  OptimalSize size;
  bool size_identified = false, emergence_identified = false;
  std::optional<NextRun> next_run;
  std::vector<std::string> warnings;
};

// Covariates of a design as the emergence laws name them, depth and width among them (indicators: "gdn", "mamba2",
// "lightning" shares).
[[nodiscard]] fitting::DesignCovariates law_covariates(const model::Design& design);

[[nodiscard]] Advice recommend(const std::vector<Candidate>& candidates, const Evidence& evidence,
                               const Request& request);

// For people (holds the word "Recommendation") and for programs: keys recommendation, size, candidates[], next_run,
// identified{}, warnings[], request{}.
[[nodiscard]] std::string to_text(const Advice& advice);
[[nodiscard]] std::string to_json(const Advice& advice);

}  // namespace hylas::search
