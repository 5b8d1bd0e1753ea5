// Metrics of scored positions (see task_metrics.hpp).
#include "model/eval/task_metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <map>

namespace hylas::model {
namespace {

struct Tally {
  std::int64_t right = 0, count = 0;
  void add(bool is_right) { right += is_right ? 1 : 0, ++count; }
};

struct Mean {
  double sum = 0;
  std::int64_t count = 0;
  void add(float value) { sum += static_cast<double>(value), ++count; }
};

// Upper ends of the buckets that values up to `longest` fall into: 16, 64, 256, 512, 1024, ...
std::vector<std::int64_t> bucket_ends(std::int64_t longest) {
  std::vector<std::int64_t> ends;
  for (std::int64_t lower = 0, upper = 16; lower < longest; lower = upper, upper *= upper < 256 ? 4 : 2) {
    ends.push_back(upper);
  }
  return ends;
}

std::size_t bucket_of(const std::vector<std::int64_t>& ends, std::int64_t value) {
  return static_cast<std::size_t>(std::lower_bound(ends.begin(), ends.end(), value) - ends.begin());
}

std::string bucket_name(const std::vector<std::int64_t>& ends, std::size_t bucket) {
  return fmt::format("({},{}]", bucket == 0 ? 0 : ends[bucket - 1], ends[bucket]);
}

std::string depth_name(std::int64_t depth, std::int64_t depths) {
  const double percent = depths > 1 ? 100.0 * static_cast<double>(depth) / static_cast<double>(depths - 1) : 0;
  return fmt::format("depth:{:.1f}", percent);
}

// Collects the points of one set.
class Points {
 public:
  explicit Points(const EvalSet& set) : prefix_(set.prefix), suffix_(set.suffix) {}
  void accuracy(const std::string& name, const Tally& tally) {
    if (tally.count == 0) return;
    add("accuracy" + name, static_cast<double>(tally.right) / static_cast<double>(tally.count), tally.count);
  }
  void loss(const std::string& name, const Mean& mean) {
    if (mean.count == 0) return;
    add("loss" + name, mean.sum / static_cast<double>(mean.count), mean.count);
  }
  void add(const std::string& name, double value, std::int64_t count) {
    points_.push_back({prefix_ + name + suffix_, value, count});
  }
  [[nodiscard]] std::vector<Point> take() { return std::move(points_); }

 private:
  std::string prefix_, suffix_;
  std::vector<Point> points_;
};

// Whether the i-th scored position was predicted right.
struct Scores {
  const EvalSet& set;
  std::span<const std::int32_t> predicted;
  [[nodiscard]] bool right(std::size_t i) const {
    return predicted[i] == set.targets[static_cast<std::size_t>(set.scored[i])];
  }
};

void add_macro(const Scores& s, Points& points) {
  std::map<std::int32_t, Tally> by_target;
  for (std::size_t i = 0; i < s.predicted.size(); ++i) {
    by_target[s.set.targets[static_cast<std::size_t>(s.set.scored[i])]].add(s.right(i));
  }
  double sum = 0;
  for (const auto& [target, tally] : by_target) {
    sum += static_cast<double>(tally.right) / static_cast<double>(tally.count);
  }
  if (!by_target.empty()) {
    points.add("accuracy/macro", sum / static_cast<double>(by_target.size()),
               static_cast<std::int64_t>(s.predicted.size()));
  }
}

void add_by_distance(const Scores& s, std::span<const float> loss, Points& points) {
  const std::vector<std::int64_t> ends = bucket_ends(s.set.context - 1);
  std::vector<Tally> buckets(ends.size());
  Tally near, far;
  Mean near_loss, far_loss;
  for (std::size_t i = 0; i < s.predicted.size(); ++i) {
    const std::int64_t distance = s.set.distance[i];
    if (distance <= 0) continue;
    assert(distance < s.set.context);
    const bool right = s.right(i);
    if (distance <= 16) near.add(right), near_loss.add(loss[i]);
    if (2 * distance > s.set.context) far.add(right), far_loss.add(loss[i]);
    buckets[bucket_of(ends, distance)].add(right);
  }
  points.accuracy("/near", near);
  points.accuracy("/far", far);
  points.loss("/near", near_loss);
  points.loss("/far", far_loss);
  for (std::size_t b = 0; b < ends.size(); ++b) points.accuracy("/" + bucket_name(ends, b), buckets[b]);
}

void add_by_depth(const Scores& s, Points& points) {
  std::vector<Tally> depths(static_cast<std::size_t>(s.set.plan.depths));
  for (std::size_t i = 0; i < s.predicted.size(); ++i) {
    depths[static_cast<std::size_t>(s.set.scored[i] / s.set.context % s.set.plan.depths)].add(s.right(i));
  }
  for (std::size_t d = 0; d < depths.size(); ++d) {
    points.accuracy("/" + depth_name(static_cast<std::int64_t>(d), s.set.plan.depths), depths[d]);
  }
}

void add_by_position(const EvalSet& set, std::span<const float> loss, Points& points) {
  const std::int64_t T = set.context;
  const std::vector<std::int64_t> ends = bucket_ends(T);
  std::vector<Mean> buckets(ends.size());
  Mean short_context, long_context;
  for (std::size_t i = 0; i < loss.size(); ++i) {
    const std::int64_t position = set.scored[i] % T;
    if (4 * position < T) short_context.add(loss[i]);
    if (2 * position >= T) long_context.add(loss[i]);
    buckets[bucket_of(ends, position + 1)].add(loss[i]);
  }
  points.loss("/short", short_context);
  points.loss("/long", long_context);
  for (std::size_t b = 0; b < ends.size(); ++b) points.loss("/" + bucket_name(ends, b), buckets[b]);
}

}  // namespace

EvalSet::EvalSet(const Task& task, std::int64_t count, std::string name_end)
    : context(task.context()), sequences(count), suffix(std::move(name_end)), plan(task.metrics()) {
  const auto T = static_cast<std::size_t>(context);
  tokens.resize(static_cast<std::size_t>(sequences) * T), targets.resize(tokens.size());
  std::vector<std::int32_t> apart(T);
  for (std::size_t s = 0; s < static_cast<std::size_t>(sequences); ++s) {
    const std::size_t before = scored.size();
    task.sequence(0, Split::eval, s, &tokens[s * T], &targets[s * T], apart.data());
    for (std::size_t t = 0; t < T; ++t) {
      if (apart[t] == 0) {
        targets[s * T + t] = -1;
        continue;
      }
      assert(targets[s * T + t] >= 0);
      scored.push_back(static_cast<std::int32_t>(s * T + t));
      distance.push_back(apart[t]);
    }
    most_targets = std::max(most_targets, static_cast<std::int64_t>(scored.size() - before));
  }
}

std::vector<Point> metric_points(const EvalSet& set, std::span<const std::int32_t> predicted,
                                 std::span<const float> loss) {
  assert(predicted.size() == set.scored.size() && loss.size() == set.scored.size());
  Points points(set);
  const Scores scores{set, predicted};
  Mean mean;
  Tally all;
  for (std::size_t i = 0; i < loss.size(); ++i) mean.add(loss[i]), all.add(scores.right(i));
  points.loss("", mean);
  if (set.plan.bits_per_byte && mean.count > 0) {
    points.add("bits_per_byte", mean.sum / static_cast<double>(mean.count) / std::log(2.0), mean.count);
  }
  if (set.plan.accuracy) points.accuracy("", all);
  if (set.plan.macro) add_macro(scores, points);
  if (set.plan.distance) add_by_distance(scores, loss, points);
  if (set.plan.depths > 0) add_by_depth(scores, points);
  if (set.plan.by_position) add_by_position(set, loss, points);
  return points.take();
}

std::vector<std::string> capability_metrics(const MetricPlan& plan, std::int64_t context) {
  std::vector<std::string> names;
  if (plan.accuracy) names.emplace_back("accuracy");
  if (plan.macro) names.emplace_back("accuracy/macro");
  if (plan.distance) {
    names.emplace_back("accuracy/near");
    names.emplace_back("accuracy/far");
    const std::vector<std::int64_t> ends = bucket_ends(context - 1);
    for (std::size_t b = 0; b < ends.size(); ++b) names.push_back("accuracy/" + bucket_name(ends, b));
  }
  for (std::int64_t d = 0; d < plan.depths; ++d) names.push_back("accuracy/" + depth_name(d, plan.depths));
  return names;
}

std::vector<std::pair<std::string, std::string>> metric_meanings(const MetricPlan& plan) {
  std::vector<std::pair<std::string, std::string>> meanings = {
      {"loss", "mean cross-entropy in nats over scored positions"},
      {"train_loss", "mean cross-entropy in nats over trained positions since the last evaluation"}};
  const auto add = [&](const char* name, const char* meaning) { meanings.emplace_back(name, meaning); };
  if (plan.bits_per_byte) add("bits_per_byte", "loss / ln 2");
  if (plan.accuracy) add("accuracy", "share of scored positions predicted right");
  if (plan.macro) add("accuracy/macro", "mean over target tokens of the share of their positions predicted right");
  if (plan.distance) {
    add("accuracy/near", "share of scored positions predicted right, distance <= 16");
    add("accuracy/far", "share of scored positions predicted right, distance > context/2");
    add("loss/near", "mean cross-entropy in nats over scored positions, distance <= 16");
    add("loss/far", "mean cross-entropy in nats over scored positions, distance > context/2");
    add("accuracy/(A,B]", "share of scored positions predicted right, A < distance <= B");
  }
  if (plan.depths > 0) add("accuracy/depth:P", "share predicted right where the needle lies P% into the context");
  if (plan.by_position) {
    add("loss/short", "mean cross-entropy in nats in the first quarter of the context");
    add("loss/long", "mean cross-entropy in nats in the second half of the context");
    add("loss/(A,B]", "mean cross-entropy in nats at positions A < position <= B, counted from 1");
  }
  return meanings;
}

}  // namespace hylas::model
