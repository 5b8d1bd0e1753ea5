// Which queries the scores of attention heads are taken at: scored positions of a set's sequences whose answer's place
// is known (TASKS.md 6).
//
// Of each of the first `sequences` sequences at most kQueriesASequence, spread evenly over those there are: a fixed
// choice, the same for all trials and seeds. Query t predicts what stands at `answer` = t + 1 - distance, 1 <= answer
// <= t; an answer at position 0 has no token before it and is left out. Thread-safety: const after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "model/eval/task_metrics.hpp"

namespace hylas::model {

inline constexpr std::int64_t kQueriesASequence = 32;

struct HeadQueries {
  std::int64_t context = 0, sequences = 0;
  std::int64_t most_targets = 0;     // EvalSet::most_targets
  std::vector<std::int32_t> query;   // [n] indices into [S, T], ascending
  std::vector<std::int32_t> answer;  // [n] positions in their sequences

  HeadQueries() = default;
  HeadQueries(const EvalSet& set, std::int64_t first_sequences);

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(query.size()); }
  // Index of the first query of this sequence or a later one.
  [[nodiscard]] std::int64_t first_of(std::int64_t sequence) const;
  // Whether the answer lies more than half the context back, as in "accuracy/far".
  [[nodiscard]] bool far(std::int64_t i) const;
};

// Which of a suite's sets heads are scored on: the first one at this context with queries (for real text that of its
// needles); sets.size() where there is none.
[[nodiscard]] std::size_t head_set(const std::vector<EvalSet>& sets, std::int64_t context);
// Its first `sequences` sequences' queries; none where there is no such set, or `sequences` is 0.
[[nodiscard]] HeadQueries head_queries(const std::vector<EvalSet>& sets, std::int64_t context, std::int64_t sequences);

// What one head does at those queries; means over them.
struct HeadScore {
  double answer = 0;      // attention weight on the answer's position
  double answer_far = 0;  // the same over far queries; NaN without one
  double copy = 0;        // share where the most attended position holds the token that the model predicts
  double previous = 0;    // weight of the answers' positions on the position before each: what the first head of an
                          // induction pair does
  double entropy = 0;     // entropy / ln(visible keys), over queries that see two or more; 0 without one
};

// "head/L.H/answer", ".../answer_far" (where there are far queries), ".../copy", ".../previous", ".../entropy": layer
// and head counted from 0. layers: of each head's
// layer, in the order of scores, `heads` a layer.
[[nodiscard]] std::vector<Point> head_points(const std::vector<int>& layers, std::int64_t heads,
                                             const std::vector<HeadScore>& scores, std::int64_t queries,
                                             std::int64_t far_queries);
// Those metrics and what they mean, as protocols state them.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> head_metric_meanings();

}  // namespace hylas::model
