// Which recipe a design is judged by, where a study tries several (learning rates, lengths, ...): designs are compared
// as they are when each is tuned, and a run counts once.
#pragma once

#include <string>

#include "search/study/study_runs.hpp"

namespace hylas::search {

// Leaves each design the runs of one recipe: the one under which most of its runs emerged, then the one with the
// earliest median D50, then the longest, then
// the one whose runs ended highest on average, then the first. The others go to runs.other_recipes. Seeds do not make a
// recipe.
void keep_best_recipes(StudyRuns& runs);

// load_study_runs() and keep_best_recipes(): what emergence laws, their tables and the recommender take.
[[nodiscard]] StudyRuns load_emergence_runs(const db::Store& store, const std::string& study,
                                            const std::string& metric = "",
                                            std::optional<double> threshold = std::nullopt);

// A recipe's JSON without its seeds.
[[nodiscard]] std::string recipe_without_seeds(const std::string& recipe_json);

}  // namespace hylas::search
