// What a fit of emergence takes, whether it came out of a store (study_runs.hpp) or out of a table
// (emergence_table.hpp): designs with their covariates, and runs, one a seed, never averages.
//
// Units: tokens. Thread-safety: plain values and pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fitting/emergence.hpp"
#include "model/design/design.hpp"

namespace hylas::search {

struct DataDesign {
  std::string name;   // the id of a study's design, the design column of a table
  std::string label;  // in tables, plots and messages of the laws; unique (make_labels_unique)
  fitting::DesignCovariates x;
  std::optional<model::Design> model;  // of a study
};

struct DataPoint {
  double tokens = 0;
  double value = 0;
  double count = 0;  // scored positions behind the value; 0: not known
};

struct DataRun {
  std::size_t design = 0;  // index into EmergenceData::designs
  std::int64_t seed = 0;
  std::string trial_key;         // of a study
  std::vector<DataPoint> curve;  // ascending in tokens
  fitting::Crossing crossing;    // of the threshold
  [[nodiscard]] bool emerged() const { return crossing.d_after < fitting::kInfinity; }
};

struct EmergenceData {
  std::string title;  // "study demo", or the table's file
  std::string study;  // "" for a table
  std::string metric;
  double threshold = 0.5;
  std::vector<DataDesign> designs;
  std::vector<DataRun> runs;
  std::int64_t left_out = 0;       // trials that diverged, failed, or were not evaluated often enough to say anything
  std::int64_t other_recipes = 0;  // runs of recipes that a design is not judged by

  [[nodiscard]] std::vector<const DataRun*> runs_of(std::size_t design) const;
};

// Designs that share a label are told apart by their names.
void make_labels_unique(EmergenceData& data);
// Counts as left out the runs that say nothing yet: not seen to cross, and not seen to be below the threshold either
// after training began.
void leave_out_silent(EmergenceData& data);

// As the laws take them. The laws refuse two runs of one design with one seed; a seed that a study crossed with several
// data seeds makes runs of their own, numbered apart.
[[nodiscard]] std::vector<fitting::EmergenceRun> emergence_runs(const EmergenceData& data);  // F3
[[nodiscard]] std::vector<fitting::CurveRun> curve_runs(const EmergenceData& data);          // F1

}  // namespace hylas::search
