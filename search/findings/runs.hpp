// Runs of the studies behind `hylas findings`, as its statements read them: one entry a trial, with its whole curve of
// far recall, when that and its first retrieval head formed, and where it ended.
//
// An arm is a layout in a shape, with what makes it another training (a window that grows); runs of one arm differ in
// seeds alone. Runs that diverged or failed are left out and counted. Units: tokens. Errors: InputError where a study
// has no run. Thread-safety: plain values and pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "fitting/emergence.hpp"
#include "model/design/design.hpp"
#include "search/space/space.hpp"
#include "search/study/emergence_data.hpp"

namespace hylas::search {

struct ArmRun {
  std::string part;  // Registration::part of its study
  std::string arm;   // unique in its part; a trial of several parts stands in each, under one trial_key
  std::string trial_key;
  std::int64_t seed = 0;
  model::Design design;
  fitting::DesignCovariates x;
  double learning_rate = 0;
  bool rate_at_edge = false;          // learning_rate is the lowest or highest that tuning tried
  std::int64_t start_window = 0;      // of a window that grows; 0: none
  double grown_at = 0;                // tokens from which it has grown
  std::vector<DataPoint> curve;       // of the capability
  fitting::Crossing far;              // of its threshold
  fitting::Crossing heads;            // of head_mass by the head that looks at far answers most; d_max 0: not scored
  std::map<std::string, double> end;  // every metric at the last evaluation
  double tokens = 0;                  // of the last evaluation
  double planned = 0;
  [[nodiscard]] bool emerged() const { return far.d_after < fitting::kInfinity; }
  [[nodiscard]] double d50() const;  // middle of the interval in ln D; infinite where it did not emerge
  // Long enough to tell a plateau from a rise: it ended at three times its D50 or later.
  [[nodiscard]] bool saturated() const { return emerged() && tokens >= 3 * d50(); }
};

using Runs = std::vector<const ArmRun*>;

struct FindingRuns {
  std::vector<ArmRun> runs;  // study after study, in the order of their trials
  std::map<std::string, Registration> parts;
  std::int64_t left_out = 0;
  std::string metric;  // of the capability
  double threshold = 0.5;

  [[nodiscard]] Runs part(const std::string& name) const;
  [[nodiscard]] const Registration& core() const { return parts.at("core"); }
  [[nodiscard]] bool has(const std::string& part) const { return parts.contains(part); }
  [[nodiscard]] Runs where(const std::function<bool(const ArmRun&)>& chosen) const;
  // Arms of these runs, in their order.
  [[nodiscard]] static std::vector<std::string> arms(const Runs& runs);
};

// The spaces must be ones with a registration whose studies are in the store and have ended. Parts must ask for one
// capability.
[[nodiscard]] FindingRuns load_finding_runs(const db::Store& store, const std::vector<Space>& spaces);

// What an arm's layers are, for choosing runs.
[[nodiscard]] bool has_mixer(const ArmRun& run, model::Mixer mixer);
[[nodiscard]] bool is_rope(const ArmRun& run);    // no full layer without position encoding
[[nodiscard]] bool is_nope(const ArmRun& run);    // no full layer with one
[[nodiscard]] bool is_hybrid(const ArmRun& run);  // windows and full layers only, no sinks, windows that do not grow

// Each trial once, in the first part that has it.
[[nodiscard]] Runs once_each(const Runs& runs);

// F3's view of runs: by when far recall emerged, or a retrieval head formed; each trial once.
enum class Clock { far, heads };
[[nodiscard]] std::vector<fitting::EmergenceRun> emergence_runs(const Runs& runs, Clock clock = Clock::far);

}  // namespace hylas::search
