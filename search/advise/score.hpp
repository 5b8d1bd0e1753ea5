// The parts of the recommender: one candidate's numbers, the non-dominated sort, the draws, the size, the next run.
// Not a public header; recommend.cpp puts them together.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "search/advise/recommend.hpp"

namespace hylas::search {

// A candidate with what the draws need again.
struct Scored {
  model::Design design;
  fitting::DesignCovariates x;
  CandidateAdvice advice;
};

// The loss law may be used: three sizes or more, converged, exponents and sizes identified. Otherwise `why` says why
// not.
[[nodiscard]] bool loss_is_identified(const Evidence& evidence, std::string& why);

// Candidates at the request's context, without duplicates. Throws model::InputError for an impossible request.
[[nodiscard]] std::vector<Scored> score(const std::vector<Candidate>& candidates, const Evidence& evidence,
                                        const Request& request, bool use_loss);

// What ranks candidates, smaller is better: expected loss, or the compute needed.
[[nodiscard]] double criterion(const CandidateAdvice& advice, bool use_loss);

// Fills `front` over the feasible candidates: 1 for the non-dominated ones, 2 for those behind them alone, ...
void sort_fronts(std::vector<Scored>& scored, bool use_loss);

// Fills win_rate and regret.
void add_draws(std::vector<Scored>& scored, const Evidence& evidence, const Request& request, bool use_loss);

// N*, D* for designs of the shape of `like` (its attention and head FLOPs grow as N^(2/3) and N^(1/3)).
[[nodiscard]] OptimalSize optimal_size(const Evidence& evidence, const Request& request, const model::Design& like);

// One more run at the request's budget, of the candidate that narrows ln D50 of `target` most; none if nothing helps.
[[nodiscard]] std::optional<NextRun> best_next_run(const std::vector<Scored>& scored, const Scored& target,
                                                   const Evidence& evidence);

}  // namespace hylas::search
