// head_sums: adds up one layer's statistics over the queries of a chunk. On a GPU head_sums.cu in model/cuda/.
//
//   statistics [P, H, 2 n, 4], top [P, H, 2 n] of kernels/attention_probe.hpp; query, answer [1, 2 n] of HeadChunks
//   tokens, predicted [P, B, T] i32; sums [P, heads, HeadSum::count] f64: += at the heads first .. first + H - 1
//
// Deterministic: on a GPU a fixed tree over the queries, on the CPU their order. Thread-safety: uses only its Context.
#pragma once

#include "kernels/attention_probe.hpp"
#include "kernels/context.hpp"

namespace hylas::model {

// Columns of a head's sums over queries.
struct HeadSum {
  static constexpr int answer = 0;
  static constexpr int answer_far = 1;
  static constexpr int copy = 2;
  static constexpr int previous = 3;
  static constexpr int entropy = 4;
  static constexpr int spread = 5;  // queries that see two keys or more
  static constexpr int count = 6;
};

struct HeadStatistics {
  kernels::Tensor statistics, top;
  kernels::ProbeQueries queries;
  kernels::Tensor tokens, predicted;
};

void add_head_sums(kernels::Context& ctx, const HeadStatistics& from, std::int64_t first, const kernels::Tensor& sums);

namespace cuda {
void add_head_sums(kernels::Context& ctx, const HeadStatistics& from, std::int64_t first, const kernels::Tensor& sums);
}

}  // namespace hylas::model
