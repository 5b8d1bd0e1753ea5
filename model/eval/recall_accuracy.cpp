// Accuracy of recall by distance (see recall_accuracy.hpp).
#include "model/eval/recall_accuracy.hpp"

#include <algorithm>
#include <cassert>
#include <string>

namespace hylas::model {

RecallMetrics::RecallMetrics(std::int64_t context) : context_(context) {
  const std::int64_t longest = context - 2;  // from the last slot to the first
  for (std::int64_t lower = 0, upper = 16; lower < longest; lower = upper, upper *= upper < 256 ? 4 : 2) {
    upper_.push_back(upper);
  }
  buckets_.resize(upper_.size());
}

void RecallMetrics::add(const std::int32_t* targets, const std::int32_t* predicted, const std::int32_t* distance,
                        const float* loss, std::int64_t T) {
  double sum = 0;
  for (std::int64_t t = 0; t < T; ++t) {
    const std::int64_t apart = distance[t];
    if (apart <= 0) continue;
    assert(apart <= context_ - 2 && targets[t] >= 0);
    const bool right = predicted[t] == targets[t];
    sum += static_cast<double>(loss[t]);
    ++scored_;
    if (is_near(apart)) near_.add(right);
    if (is_far(apart)) far_.add(right);
    buckets_[static_cast<std::size_t>(bucket_of(apart))].add(right);
  }
  loss_ += sum;
}

std::int64_t RecallMetrics::bucket_of(std::int64_t distance) const {
  return std::lower_bound(upper_.begin(), upper_.end(), distance) - upper_.begin();
}

void RecallMetrics::add_counts(const std::int32_t* right, const std::int64_t* count, double loss, std::int64_t scored) {
  const auto add = [&](Tally& tally, std::size_t at) { tally.right += right[at], tally.count += count[at]; };
  for (std::size_t b = 0; b < buckets_.size(); ++b) add(buckets_[b], b);
  add(near_, buckets_.size());
  add(far_, buckets_.size() + 1);
  loss_ += loss;
  scored_ += scored;
}

void RecallMetrics::merge(const RecallMetrics& other) {
  assert(context_ == other.context_);
  const auto merge_tally = [](Tally& into, const Tally& from) { into.right += from.right, into.count += from.count; };
  for (std::size_t b = 0; b < buckets_.size(); ++b) merge_tally(buckets_[b], other.buckets_[b]);
  merge_tally(near_, other.near_);
  merge_tally(far_, other.far_);
  loss_ += other.loss_;
  scored_ += other.scored_;
}

std::vector<Point> RecallMetrics::points() const {
  std::vector<Point> points;
  if (scored_ > 0) points.push_back({"loss", loss_ / static_cast<double>(scored_), scored_});
  const auto accuracy = [&points](const std::string& name, const Tally& tally) {
    if (tally.count == 0) return;
    const double value = static_cast<double>(tally.right) / static_cast<double>(tally.count);
    points.push_back({"accuracy/" + name, value, tally.count});
  };
  accuracy("near", near_);
  accuracy("far", far_);
  std::int64_t lower = 0;
  for (std::size_t b = 0; b < buckets_.size(); lower = upper_[b], ++b) {
    accuracy("(" + std::to_string(lower) + "," + std::to_string(upper_[b]) + "]", buckets_[b]);
  }
  return points;
}

}  // namespace hylas::model
