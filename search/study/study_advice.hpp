// The recommender on a study: candidates and evidence out of its runs. `recommend` and `demo` share it.
#pragma once

#include <vector>

#include "db/store.hpp"
#include "search/advise/recommend.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::search {

// The study's designs at the request's context (0: their own).
[[nodiscard]] std::vector<Candidate> study_candidates(const StudyRuns& runs, std::int64_t context);
[[nodiscard]] Advice advise(const db::Store& store, const StudyRuns& runs, const fitting::EmergenceFit& fit,
                            const std::vector<Candidate>& candidates, const Request& request, int threads);

}  // namespace hylas::search
