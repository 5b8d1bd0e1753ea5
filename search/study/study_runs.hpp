// A study's runs out of the store, as designs and curves: what fits (through emergence_data.hpp) and
// the recommender read.
//
// A run is one trial with one seed; runs are never averaged. Trials that diverged or failed are left out and counted,
// so are those without two evaluations yet. Units: tokens. Errors: InputError (no such study; several studies and no
// name; a metric that no trial recorded, with the nearest one that is there; no run that is left), StoreError (a design
// that does not read back).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "model/design/design.hpp"
#include "search/run/emergence.hpp"
#include "search/study/emergence_data.hpp"

namespace hylas::search {

struct RunPoint {
  std::int64_t tokens = 0;
  double value = 0;
  std::int64_t count = 0;
};

struct StudyRun {
  std::string trial_key;
  std::string design_id;
  std::int64_t seed = 0;
  std::string recipe;  // canonical JSON without the seeds: equal for runs that differ in seeds alone
  db::TrialState state = db::TrialState::queued;
  std::int64_t tokens_planned = 0;
  std::vector<RunPoint> curve;  // of the capability's metric, ascending in tokens
  Emergence d50;
};

struct StudyRuns {
  db::Study study;
  std::string metric;
  double threshold = 0.5;
  std::vector<model::Design> designs;  // in the order of their first trial
  std::vector<StudyRun> runs;          // in the order of the trials
  std::int64_t left_out = 0;           // diverged, failed, or not evaluated twice yet
  std::int64_t other_recipes = 0;      // left out by keep_best_recipes() of best_recipe.hpp

  [[nodiscard]] const model::Design& design(const std::string& design_id) const;
  [[nodiscard]] std::vector<const StudyRun*> runs_of(const std::string& design_id) const;
  // What to call a design in tables and plots: its layout, with d_model and context where the study has several shapes.
  [[nodiscard]] std::string label(const model::Design& design) const;
};

// StoreError where it does not read back: whoever wrote it, the store is wrong.
[[nodiscard]] model::Design read_design(const db::Design& record);
// The study of this name, or the only one there is beside those that tune its learning rates.
[[nodiscard]] db::Study choose_study(const db::Store& store, const std::string& name);
// Says which metrics the study has: for a name that is none of them.
[[noreturn]] void no_such_metric(const db::Store& store, const db::Study& study, const std::string& metric);
// metric "": the capability that the trials were swept for. threshold, where none is given: the capability's own, and
// 0.5 for other metrics.
[[nodiscard]] StudyRuns load_study_runs(const db::Store& store, const std::string& study,
                                        const std::string& metric = "", std::optional<double> threshold = std::nullopt);

// The runs as fits take them (covariates: law_covariates of search/advise/recommend.hpp).
[[nodiscard]] EmergenceData emergence_data(const StudyRuns& runs);
[[nodiscard]] fitting::Crossing as_crossing(const Emergence& d50);

}  // namespace hylas::search
