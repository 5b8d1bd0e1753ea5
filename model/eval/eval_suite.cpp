// The sets of a suite and their metrics (see eval_suite.hpp).
#include "model/eval/eval_suite.hpp"

#include <algorithm>
#include <cassert>

namespace hylas::model {
namespace {

// As many sequences as make up the same number of tokens, at least one, and as many of each depth.
std::int64_t sequences_at(const Task& task, const EvalPlan& plan, std::int64_t length) {
  const std::int64_t wanted = std::max<std::int64_t>(1, plan.sequences * task.context() / length);
  const std::int64_t depths = std::max<std::int64_t>(1, task.metrics().depths);
  return (wanted + depths - 1) / depths * depths;
}

}  // namespace

EvalSuite::EvalSuite(const Task& task, const EvalPlan& plan) {
  sets_.emplace_back(task, plan.sequences, "");
  for (const std::int64_t length : plan.lengths) {
    sets_.emplace_back(*make_task(task.spec(), length), sequences_at(task, plan, length), "@" + std::to_string(length));
  }
}

std::vector<Point> EvalSuite::points(std::span<const SetResult> results) const {
  assert(results.size() == sets_.size());
  std::vector<Point> points;
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    std::vector<Point> more = metric_points(sets_[i], results[i].predicted, results[i].loss);
    points.insert(points.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return points;
}

}  // namespace hylas::model
