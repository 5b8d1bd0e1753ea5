// The sets of a suite and their metrics (see eval_suite.hpp).
#include "model/eval/eval_suite.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace hylas::model {
namespace {

constexpr std::int64_t kShortContext = 256, kShortScored = 128;

}  // namespace

std::int64_t EvalSuite::sequences_at(const Task& task, const EvalPlan& plan, std::int64_t trained) {
  const std::int64_t length = task.context();
  if (trained == 0 || trained == length) return plan.sequences;
  const std::int64_t wanted = std::max<std::int64_t>(1, plan.sequences * trained / length);
  const std::int64_t depths = std::max<std::int64_t>(1, task.metrics().depths);
  return (wanted + depths - 1) / depths * depths;
}

EvalSuite::EvalSuite(const Task& task, const EvalPlan& plan) {
  add(task, plan.sequences, "");
  if (task.metrics().by_position && task.context() >= 2 * kShortContext) add_contrast();
  for (const std::int64_t length : plan.lengths) {
    const std::unique_ptr<Task> other = make_task(task.spec(), length);
    add(*other, sequences_at(*other, plan, task.context()), "@" + std::to_string(length));
  }
}

void EvalSuite::add(const Task& task, std::int64_t sequences, const std::string& suffix) {
  sets_.emplace_back(task, sequences, suffix);
  for (const Companion& companion : task.companions()) {
    EvalSet set(*companion.task, companion.sequences, suffix);
    set.prefix = companion.prefix;
    sets_.push_back(std::move(set));
  }
}

void EvalSuite::add_contrast() {
  const std::int64_t T = sets_[0].context, chosen = (sets_[0].sequences + 3) / 4;
  EvalSet set;
  set.context = kShortContext, set.most_targets = kShortScored;
  const auto piece = [&](std::int64_t sequence, std::int64_t begin) {
    const auto from = static_cast<std::ptrdiff_t>(sequence * T + begin);
    const EvalSet& whole = sets_[0];
    set.tokens.insert(set.tokens.end(), whole.tokens.begin() + from, whole.tokens.begin() + from + kShortContext);
    set.targets.insert(set.targets.end(), static_cast<std::size_t>(kShortContext), -1);
    for (std::int64_t t = kShortContext - kShortScored; t < kShortContext; ++t) {
      const auto position = static_cast<std::int32_t>(from + t);
      const auto at = std::lower_bound(whole.scored.begin(), whole.scored.end(), position);
      if (at == whole.scored.end() || *at != position) continue;
      const std::int64_t here = set.sequences * kShortContext + t;
      set.targets[static_cast<std::size_t>(here)] = whole.targets[static_cast<std::size_t>(position)];
      set.scored.push_back(static_cast<std::int32_t>(here));
      set.distance.push_back(unknown_distance);
      contrast_whole_.push_back(static_cast<std::size_t>(at - whole.scored.begin()));
    }
    ++set.sequences;
  };
  // Positions from kShortContext on, a piece for each kShortScored of them.
  for (std::int64_t s = 0; s < chosen; ++s) {
    for (std::int64_t end = kShortContext + kShortScored; end <= T; end += kShortScored) piece(s, end - kShortContext);
  }
  contrast_ = sets_.size();
  sets_.push_back(std::move(set));
}

void EvalSuite::add_longppl(std::span<const SetResult> results, std::vector<Point>& points) const {
  const std::vector<float>& short_loss = results[contrast_].loss;
  const std::vector<float>& long_loss = results[0].loss;
  const std::size_t n = short_loss.size(), chosen = n / 10;
  if (chosen == 0) return;
  const auto fall = [&](std::size_t i) {
    const float value = short_loss[i] - long_loss[contrast_whole_[i]];
    return std::isnan(value) ? -std::numeric_limits<float>::infinity() : value;
  };
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(chosen), order.end(),
                    [&](std::size_t a, std::size_t b) { return fall(a) != fall(b) ? fall(a) > fall(b) : a < b; });
  double sum = 0;
  for (std::size_t i = 0; i < chosen; ++i) sum += static_cast<double>(long_loss[contrast_whole_[order[i]]]);
  points.push_back({"longppl", std::exp(sum / static_cast<double>(chosen)), static_cast<std::int64_t>(chosen)});
}

std::vector<Point> EvalSuite::points(std::span<const SetResult> results) const {
  assert(results.size() == sets_.size());
  std::vector<Point> points;
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    if (contrast_ > 0 && i == contrast_) {
      add_longppl(results, points);
      continue;
    }
    std::vector<Point> more = metric_points(sets_[i], results[i].predicted, results[i].loss);
    points.insert(points.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return points;
}

}  // namespace hylas::model
