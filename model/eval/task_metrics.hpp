// What a task's evaluation sequences say about a model: the scored positions, and the metrics computed from what was
// predicted there.
//
// Metrics, in the order metric_points() gives them (MetricPlan says which a task has):
//   "loss"             mean loss over the scored positions, in nats
//   "accuracy"         fraction predicted right
//   "accuracy/macro"   mean over the target tokens that occur of the fraction right among their positions
//   "accuracy/near"    fraction right where 0 < distance <= 16
//   "accuracy/far"     fraction right where distance > context / 2
//   "loss/near", "loss/far"  mean loss, in nats, over the positions of "accuracy/near" and "accuracy/far"
//   "accuracy/(0,16]", "accuracy/(16,64]", "accuracy/(64,256]", "accuracy/(256,512]", then each twice as far: buckets
//                      of the distance that some distance (at most context - 1) can fall into
//   "accuracy/depth:P" fraction right in the sequences of a depth class, P percent of the way into the context
//   "bits_per_byte"    "loss" / ln 2, of byte texts
//   "loss/short"       mean loss at the first quarter of the context; "loss/long" at the second half
//   "loss/(0,16]", ... mean loss by position (counted from 1) in the buckets above
// A set at another context than the training's ends each name in "@CONTEXT"; a companion task's begins with its prefix.
// A point's count is its number of scored positions; a metric that scored none gives no point.
//
// Determinism: counts are integers, sums of losses one double in the order of positions. Non-finite losses make a loss
// non-finite. Errors: unequal sizes are bugs (asserts). Thread-safety: pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/data/task.hpp"

namespace hylas::model {

// One measured value. `count` is the number of scored positions behind an accuracy or a loss (0: not a mean of
// positions).
struct Point {
  std::string metric;
  double value = 0;
  std::int64_t count = 0;
};

// Evaluation sequences 0 .. S-1 of a task, to be run at one context T.
struct EvalSet {
  std::int64_t context = 0, sequences = 0;
  std::int64_t most_targets = 0;  // no sequence has more
  std::string prefix, suffix;     // of the metrics' names
  MetricPlan plan;
  std::vector<std::int32_t> tokens, targets;  // [S, T]; targets -1 where not scored
  std::vector<std::int32_t> scored;           // indices into [S, T], ascending
  std::vector<std::int32_t> distance;         // of the scored positions

  EvalSet() = default;
  EvalSet(const Task& task, std::int64_t count, std::string name_end);
};

// predicted (the most likely token) and loss (nats): of the scored positions, in their order.
[[nodiscard]] std::vector<Point> metric_points(const EvalSet& set, std::span<const std::int32_t> predicted,
                                               std::span<const float> loss);
// The accuracies among a set's metrics: what a capability can be (recipe.hpp).
[[nodiscard]] std::vector<std::string> capability_metrics(const MetricPlan& plan, std::int64_t context);
// The metrics of a plan and what they mean, as protocols state them.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> metric_meanings(const MetricPlan& plan);

}  // namespace hylas::model
