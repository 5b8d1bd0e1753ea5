// RecallMetrics: what a model can recall, by distance. Collects predictions of evaluation sequences into points.
//
// Scored are the answerable positions (distance > 0, model/data/recall.hpp). Metrics, in the order points() gives them:
//   "loss"              mean loss over the scored positions, in nats
//   "accuracy/near"     fraction right where 0 < distance <= 16
//   "accuracy/far"      fraction right where distance > context / 2
//   "accuracy/(0,16]", "accuracy/(16,64]", "accuracy/(64,256]", "accuracy/(256,512]", then each twice as far: only
//   buckets
//                       that some distance (at most context - 2) can fall into
// A point's count is its number of scored positions; a metric that scored none gives no point.
//
// Determinism: counts are integers; the loss is one double to which add() adds, position by position in ascending
// order, first into a sum of the call, then that sum into the total. merge() adds the other's total. So equal sequences
// of add() and merge() give equal bits; callers that use threads keep one RecallMetrics a sequence (or chunk) and merge
// in order. Non-finite losses make "loss" non-finite. Errors: none; unequal contexts in merge() are a bug (assert).
// Thread-safety: none inside.
#pragma once

#include <cstdint>
#include <vector>

#include "model/cohort.hpp"

namespace hylas::model {

class RecallMetrics {
 public:
  explicit RecallMetrics(std::int64_t context);

  // T positions: targets and distance as RecallStream::sequence gives them, predicted = the most likely token, loss in
  // nats. Positions with distance 0 are not read from `predicted` and `loss`. Several sequences laid end to end count
  // as one call.
  void add(const std::int32_t* targets, const std::int32_t* predicted, const std::int32_t* distance, const float* loss,
           std::int64_t T);
  void merge(const RecallMetrics& other);

  // For devices that count by themselves: the class of a distance, and the counts by class.
  [[nodiscard]] std::int64_t buckets() const { return static_cast<std::int64_t>(upper_.size()); }
  [[nodiscard]] std::int64_t bucket_of(std::int64_t distance) const;
  [[nodiscard]] static bool is_near(std::int64_t distance) { return distance <= 16; }
  [[nodiscard]] bool is_far(std::int64_t distance) const { return 2 * distance > context_; }
  // right, count: a bucket each, then near, then far; loss: the sum over all scored positions.
  void add_counts(const std::int32_t* right, const std::int64_t* count, double loss, std::int64_t scored);
  [[nodiscard]] std::vector<Point> points() const;

 private:
  struct Tally {
    std::int64_t right = 0;
    std::int64_t count = 0;
    void add(bool is_right) { right += is_right, ++count; }
  };

  std::int64_t context_;
  std::vector<std::int64_t> upper_;  // of each bucket, ascending: 16, 64, 256, 512, ...
  std::vector<Tally> buckets_;
  Tally near_, far_;
  double loss_ = 0;
  std::int64_t scored_ = 0;
};

}  // namespace hylas::model
