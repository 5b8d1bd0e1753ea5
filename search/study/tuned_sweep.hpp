// tuned_sweep: a study whose space has a [tuning] part. The study NAME-tuning comes first, every design at every
// learning rate on seeds of its own; then the study itself, each design at the rate that did best there. Nothing of the
// tuning runs enters the study's results.
//
// The best rate: as keep_best_recipes() of best_recipe.hpp has it. A design none of whose tuning runs is left (all
// diverged or failed) has no rate: InputError, which names it. Interrupted, the next call goes on where it stood: the
// tuning runs are finished ones, and choose the same rates. Errors else: as run_sweep().
#pragma once

#include <map>
#include <string>

#include "search/run/controller.hpp"

namespace hylas::search {

using LearningRates = std::map<std::string, double>;  // by design id

// The rates that a finished tuning study chooses.
[[nodiscard]] LearningRates tuned_rates(const db::Store& store, const Space& tuning);
// The space with each design's trials at its rate; what the study is (canonical_json()) stays.
[[nodiscard]] Space with_rates(const Space& space, const LearningRates& rates);

struct TunedSweep {
  SweepSummary tuning, study;  // study: as it was made where tuning was interrupted or left failed trials
  bool reached_study = false;
  LearningRates rates;
};

// space.tuning must be there.
[[nodiscard]] TunedSweep run_tuned_sweep(const Space& space, db::Store& store, const SweepOptions& options);

}  // namespace hylas::search
