// See best_recipe.hpp.
#include "search/study/best_recipe.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

namespace hylas::search {
namespace {

using Runs = std::vector<const StudyRun*>;

// Smaller is better. Runs that never emerged stand at infinity in the median.
auto badness(const Runs& runs) {
  std::vector<double> d50;
  std::int64_t planned = 0;
  double last = 0;
  for (const StudyRun* run : runs) {
    d50.push_back(run->d50.emerged ? static_cast<double>(run->d50.upper) : std::numeric_limits<double>::infinity());
    planned = std::max(planned, run->tokens_planned);
    last += run->curve.empty() ? 0 : run->curve.back().value;
  }
  std::sort(d50.begin(), d50.end());
  const auto emerged = std::count_if(runs.begin(), runs.end(), [](const auto* run) { return run->d50.emerged; });
  const auto missed = 1.0 - static_cast<double>(emerged) / static_cast<double>(runs.size());
  return std::tuple{missed, d50[(d50.size() - 1) / 2], -planned, -last / static_cast<double>(runs.size())};
}

}  // namespace

void keep_best_recipes(StudyRuns& runs) {
  std::map<std::string, std::string> best;  // design id: recipe
  for (const auto& design : runs.designs) {
    std::vector<std::pair<std::string, Runs>> recipes;  // in the order of the trials
    for (const StudyRun* run : runs.runs_of(design.id())) {
      auto found = std::find_if(recipes.begin(), recipes.end(), [&](const auto& r) { return r.first == run->recipe; });
      if (found == recipes.end()) found = recipes.insert(recipes.end(), {run->recipe, {}});
      found->second.push_back(run);
    }
    const auto chosen = std::min_element(recipes.begin(), recipes.end(), [](const auto& a, const auto& b) {
      return badness(a.second) < badness(b.second);
    });
    if (chosen != recipes.end()) best[design.id()] = chosen->first;
  }
  runs.other_recipes +=
      std::erase_if(runs.runs, [&](const StudyRun& run) { return run.recipe != best.at(run.design_id); });
}

StudyRuns load_emergence_runs(const db::Store& store, const std::string& study, const std::string& metric,
                              std::optional<double> threshold) {
  auto runs = load_study_runs(store, study, metric, threshold);
  keep_best_recipes(runs);
  return runs;
}

std::string recipe_without_seeds(const std::string& recipe_json) {
  auto recipe = nlohmann::json::parse(recipe_json);
  recipe.erase("seed");
  recipe.erase("data_seed");
  return recipe.dump();
}

}  // namespace hylas::search
