// See tuned_sweep.hpp.
#include "search/study/tuned_sweep.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "search/study/best_recipe.hpp"

namespace hylas::search {

LearningRates tuned_rates(const db::Store& store, const Space& tuning) {
  const StudyRuns runs = load_emergence_runs(store, tuning.study);
  LearningRates rates;
  for (const model::Design& design : tuning.designs) {
    const auto kept = runs.runs_of(design.id());
    if (kept.empty()) {
      throw model::InputError("study '" + tuning.study + "': no run of " + design.layout_text() +
                              " is left to choose a learning rate by; give it lower ones in [tuning]");
    }
    rates[design.id()] = nlohmann::json::parse(kept.front()->recipe).at("learning_rate").get<double>();
  }
  return rates;
}

Space with_rates(const Space& space, const LearningRates& rates) {
  Space tuned = space;
  for (model::TrialSpec& trial : tuned.trials) trial.recipe.learning_rate = rates.at(trial.design.id());
  return tuned;
}

TunedSweep run_tuned_sweep(const Space& space, db::Store& store, const SweepOptions& options) {
  if (options.extend) check_registration(store, space);
  TunedSweep result;
  result.tuning = run_sweep(*space.tuning, store, options);
  if (result.tuning.interrupted) return result;
  result.rates = tuned_rates(store, *space.tuning);
  result.study = run_sweep(with_rates(space, result.rates), store, options);
  result.reached_study = true;
  return result;
}

}  // namespace hylas::search
