// The loss law of a study's runs, for N* and D* of the recommender.
#pragma once

#include <optional>

#include "fitting/loss.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::search {

// Of the runs at their last evaluations: none with fewer than three sizes, where an exponent of N is not identified.
[[nodiscard]] std::optional<fitting::LossFit> fit_study_loss(const db::Store& store, const StudyRuns& runs,
                                                             int threads);

}  // namespace hylas::search
