// A study's runs out of the store, as designs and curves: what fits, tables, plots and the recommender read.
//
// A run is one trial with one seed; runs are never averaged. Trials that diverged or failed are left out and counted,
// so are those without two evaluations yet. Units: tokens. Errors: StoreError (no such study), InputError (several
// studies and no name; a metric that no trial recorded, with the nearest one that is there).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "fitting/emergence.hpp"
#include "model/design/design.hpp"
#include "search/run/emergence.hpp"

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

  [[nodiscard]] const model::Design& design(const std::string& design_id) const;
  [[nodiscard]] std::vector<const StudyRun*> runs_of(const std::string& design_id) const;
  // What to call a design in tables and plots: its layout, with d_model where the study has several shapes.
  [[nodiscard]] std::string label(const model::Design& design) const;
};

// The study of this name, or the only one there is.
[[nodiscard]] db::Study choose_study(const db::Store& store, const std::string& name);
// metric "": the capability that the trials were swept for, with its threshold; else that metric at `threshold`.
[[nodiscard]] StudyRuns load_study_runs(const db::Store& store, const std::string& study,
                                        const std::string& metric = "", double threshold = 0.5);

// As the laws take them (covariates: law_covariates of search/advise/recommend.hpp).
[[nodiscard]] std::vector<fitting::EmergenceRun> emergence_runs(const StudyRuns& runs);  // F3
[[nodiscard]] std::vector<fitting::CurveRun> curve_runs(const StudyRuns& runs);          // F1

}  // namespace hylas::search
