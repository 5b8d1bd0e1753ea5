// The choice of queries, and the scores as points (see head_queries.hpp).
#include "model/eval/head_queries.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace hylas::model {

HeadQueries::HeadQueries(const EvalSet& set, std::int64_t first_sequences)
    : context(set.context), sequences(std::min(first_sequences, set.sequences)), most_targets(set.most_targets) {
  std::vector<std::size_t> known;  // of one sequence, as indices into set.scored
  std::size_t at = 0;
  for (std::int64_t s = 0; s < sequences; ++s) {
    known.clear();
    for (; at < set.scored.size() && set.scored[at] < (s + 1) * context; ++at) {
      const std::int64_t t = set.scored[at] - s * context;
      if (set.distance[at] > 0 && set.distance[at] <= t) known.push_back(at);
    }
    const auto count = std::min<std::size_t>(known.size(), kQueriesASequence);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t chosen = known[i * known.size() / count];
      query.push_back(set.scored[chosen]);
      answer.push_back(static_cast<std::int32_t>(set.scored[chosen] - s * context + 1 - set.distance[chosen]));
    }
  }
}

std::int64_t HeadQueries::first_of(std::int64_t sequence) const {
  return std::lower_bound(query.begin(), query.end(), sequence * context) - query.begin();
}

bool HeadQueries::far(std::int64_t i) const {
  const auto at = static_cast<std::size_t>(i);
  return 2 * (query[at] % context + 1 - answer[at]) > context;
}

std::size_t head_set(const std::vector<EvalSet>& sets, std::int64_t context) {
  const auto found = std::find_if(sets.begin(), sets.end(), [&](const EvalSet& set) {
    return set.context == context && HeadQueries(set, set.sequences).size() > 0;
  });
  return static_cast<std::size_t>(found - sets.begin());
}

HeadQueries head_queries(const std::vector<EvalSet>& sets, std::int64_t context, std::int64_t sequences) {
  if (sequences == 0) return {};
  const std::size_t at = head_set(sets, context);
  return at < sets.size() ? HeadQueries(sets[at], sequences) : HeadQueries();
}

std::vector<Point> head_points(const std::vector<int>& layers, std::int64_t heads, const std::vector<HeadScore>& scores,
                               std::int64_t queries, std::int64_t far_queries) {
  assert(scores.size() == layers.size() * static_cast<std::size_t>(heads));
  std::vector<Point> points;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const std::string name = fmt::format("head/{}.{}/", layers[static_cast<std::size_t>(at / heads)], at % heads);
    points.push_back({name + "answer", scores[i].answer, queries});
    if (far_queries > 0) points.push_back({name + "answer_far", scores[i].answer_far, far_queries});
    points.push_back({name + "copy", scores[i].copy, queries});
    points.push_back({name + "previous", scores[i].previous, queries});
    points.push_back({name + "entropy", scores[i].entropy, queries});
  }
  return points;
}

std::vector<std::pair<std::string, std::string>> head_metric_meanings() {
  return {{"head/L.H/answer", "layer L, head H: mean attention weight of a query on its answer's position"},
          {"head/L.H/answer_far", "the same over queries whose answer is more than half the context back"},
          {"head/L.H/copy", "share of queries whose most attended position holds the token that is predicted"},
          {"head/L.H/previous", "mean attention weight of the answers' positions on the position before"},
          {"head/L.H/entropy", "mean entropy of a query's attention / ln(visible keys)"}};
}

}  // namespace hylas::model
