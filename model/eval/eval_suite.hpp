// EvalSuite: everything a trial is evaluated on: its task at the training context, at other lengths
// (EvalPlan::lengths), and, for real text, what needs a second pass (the contrast of short and long context).
//
// An engine runs each set's sequences through the model at the set's context and hands back what was predicted at the
// scored positions; points() makes metrics of it. All trials of a cohort share one suite. Errors: make_eval_suite()
// throws InputError naming the parameter. Thread-safety: const members may be called by several threads at once.
#pragma once

#include <span>
#include <vector>

#include "model/eval/task_metrics.hpp"
#include "model/recipe.hpp"

namespace hylas::model {

// Of a set's scored positions, in their order.
struct SetResult {
  std::vector<std::int32_t> predicted;
  std::vector<float> loss;
};

class EvalSuite {
 public:
  explicit EvalSuite(const Task& task, const EvalPlan& plan);

  [[nodiscard]] const std::vector<EvalSet>& sets() const { return sets_; }
  [[nodiscard]] std::vector<Point> points(std::span<const SetResult> results) const;

 private:
  std::vector<EvalSet> sets_;
};

}  // namespace hylas::model
