// Scores of attention heads: what every head of every attention layer looks at where the model answers (TASKS.md 6,
// HeadScore in model/eval/head_queries.hpp). One forward pass a chunk of sequences, on either device.
//
//   run(): forward pass of P trials over B sequences, statistics of their queries, sums [P, heads, HeadSum::count] f64
//   += scores(): one trial's sums as means
//
// The forward pass is the one of evaluations (attention_forward); the statistics come beside it. A trial's sums are
// made in the order of its queries and do not depend on its neighbours. Thread-safety: const after construction; a call
// uses only its Context.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.hpp"
#include "model/eval/head_queries.hpp"
#include "model/probe/head_sums.hpp"
#include "model/proxy.hpp"

namespace hylas::model {

// The queries of every chunk of `chunk` sequences as attention_probe_statistics takes them: first those that predict,
// then the answers' positions (whose answer is -1). Indices are counted from the chunk's first position.
struct HeadChunks {
  std::int64_t chunk = 0;
  std::vector<std::int32_t> query, answer;  // [2 n], chunk after chunk
  std::vector<std::int64_t> first;          // of each chunk, and the end

  HeadChunks() = default;
  HeadChunks(const HeadQueries& queries, std::int64_t chunk_sequences);
  [[nodiscard]] std::int64_t chunks() const { return static_cast<std::int64_t>(first.size()) - 1; }
  [[nodiscard]] kernels::ProbeQueries queries_on_cpu(std::int64_t c) const;
  // Of query and answer as two tensors [1, size] on a device.
  [[nodiscard]] kernels::ProbeQueries queries_in(const kernels::Tensor& all_query, const kernels::Tensor& all_answer,
                                                 std::int64_t c) const;
};

class HeadProbe {
 public:
  HeadProbe() = default;
  // layout: only which layers have attention is read. The queries are copied; none where no layer has attention.
  HeadProbe(const Layout& layout, const Shape& shape, HeadQueries queries);
  // Those of the first `sequences` sequences of a suite's set for heads (head_set()).
  HeadProbe(const Design& design, const std::vector<EvalSet>& sets, std::int64_t sequences)
      : HeadProbe(design.layout, design.shape, head_queries(sets, design.shape.context, sequences)) {}

  [[nodiscard]] const HeadQueries& queries() const { return queries_; }
  [[nodiscard]] const std::vector<int>& layers() const { return layers_; }  // those with attention
  [[nodiscard]] std::int64_t heads() const { return static_cast<std::int64_t>(layers_.size()) * heads_; }
  [[nodiscard]] std::int64_t far_queries() const { return far_; }  // whose answer is more than half the context back
  [[nodiscard]] std::int64_t heads_a_layer() const { return heads_; }

  // tokens, targets [P, B, T] of the set that the queries are of; query, answer [1, 2 n] of this chunk, on the
  // Context's device.
  void run(kernels::Context& ctx, const Proxy& proxy, const LayoutData& data, const Weights& weights,
           const kernels::Tensor& tokens, const kernels::Tensor& targets, const kernels::ProbeQueries& queries,
           const kernels::Tensor& sums) const;
  // sums: [heads, HeadSum::count].
  [[nodiscard]] std::vector<HeadScore> scores(std::span<const double> sums) const;
  [[nodiscard]] std::vector<Point> points(std::span<const double> sums) const;

 private:
  HeadQueries queries_;
  std::vector<int> layers_;
  std::int64_t heads_ = 0;
  std::int64_t far_ = 0;  // queries
};

}  // namespace hylas::model
