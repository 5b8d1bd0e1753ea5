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
  EvalSuite(const Task& task, const EvalPlan& plan);
  // Sequences at the task's context: as many as make up the same number of tokens as at `trained` (0: this one is), at
  // least one, and as many of each depth.
  [[nodiscard]] static std::int64_t sequences_at(const Task& task, const EvalPlan& plan, std::int64_t trained = 0);

  [[nodiscard]] const std::vector<EvalSet>& sets() const { return sets_; }
  [[nodiscard]] std::vector<Point> points(std::span<const SetResult> results) const;

 private:
  void add(const Task& task, std::int64_t sequences, const std::string& suffix);
  void add_contrast();
  void add_longppl(std::span<const SetResult> results, std::vector<Point>& points) const;

  std::vector<EvalSet> sets_;
  std::size_t contrast_ = 0;  // index of that set; 0: there is none
  std::vector<std::size_t>
      contrast_whole_;  // for each of its scored positions, the same one's index in sets_[0].scored
};

}  // namespace hylas::model
