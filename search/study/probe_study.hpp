// Probes of mechanism on a stored trial (TASKS.md 6): scores of its heads at every checkpoint that is kept, cuts of the
// receptive field, and heads switched off, at the last one.
//
// Cuts: full layers see a window (by default the largest of the layout's swa windows, or an eighth of the context) and
// the first keys, or the window alone; for comparison the swa layers are cut to half that window at most. Ablation: an
// eighth of all heads (at least one): the top ones by score, as many of the top previous-token heads, and random draws,
// which exclude nothing, or the top ones, or those and the previous-token ones. Errors: InputError (no checkpoint, no
// attention, no known answers), CheckpointError for a file that cannot be loaded, StoreError. Thread-safety: one call a
// store at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "model/probe/prober.hpp"

namespace hylas::search {

struct ProbeOptions {
  std::int64_t sequences = 0;   // of the evaluation split; 0: as many as the recipe evaluates
  std::int64_t draws = 20;      // of random heads
  std::int64_t seed = 1;        // of those draws
  std::int64_t cut_window = 0;  // 0: the default above
  std::int64_t first_keys = 4;
  bool by_copy = false;  // top heads by copy score instead of answer mass
  model::CohortOptions engine;
};

struct ProbedCheckpoint {
  std::int64_t step = 0, tokens = 0;
  std::vector<model::HeadScore> scores;
  std::vector<model::WeightDistance> distances;  // to the last checkpoint
};

// One way to evaluate the last checkpoint, once or in several draws.
struct ProbedVariant {
  std::string name;                         // "none", "full layers", "window layers", "top", "previous", "random", ...
  std::string text;                         // for tables
  std::int32_t window = 0, first_keys = 0;  // of a cut
  std::vector<std::vector<int>> heads;      // of an ablation, those that are off, a list a draw
  std::vector<std::vector<model::Point>> points;  // a list a draw
};

// Mean, sample deviation (0 for one value) and ends of a metric over a variant's draws.
struct Spread {
  double mean = 0, deviation = 0, least = 0, most = 0;
};
[[nodiscard]] Spread spread_of(const ProbedVariant& variant, const std::string& metric);

struct TrialProbe {
  db::Trial trial;
  model::Design design;
  std::string device;  // as tables name it
  std::int64_t sequences = 0, queries = 0;
  bool by_copy = false;
  std::vector<int> layers;                    // those with attention
  std::vector<ProbedCheckpoint> checkpoints;  // ascending, at least one
  std::vector<ProbedCheckpoint> stored;       // scores that the sweep stored (eval.probe_sequences), an evaluation each
  std::vector<int> top, previous;             // heads, chosen at the last checkpoint
  ProbedVariant whole;
  std::vector<ProbedVariant> cuts, ablations;

  [[nodiscard]] std::int64_t heads() const { return static_cast<std::int64_t>(checkpoints.back().scores.size()); }
  [[nodiscard]] int layer_of(int head) const { return layers[static_cast<std::size_t>(head / design.shape.heads)]; }
  [[nodiscard]] std::string head_name(int head) const;  // "LAYER.HEAD"
  [[nodiscard]] std::string head_kind(int head) const;  // the layer as the layout writes it
  // The metrics to show: what is there of losses and accuracies, what retrieval needs last.
  [[nodiscard]] std::vector<std::string> metrics() const;
  // "" or why the comparison of heads says little.
  [[nodiscard]] std::string warning() const;
};

// The smallest number of heads at which cutting some is a fair comparison (TASKS.md 6).
inline constexpr std::int64_t kFewestHeads = 32;

[[nodiscard]] TrialProbe probe_trial(const db::Store& store, const db::Trial& trial, const ProbeOptions& options);

}  // namespace hylas::search
