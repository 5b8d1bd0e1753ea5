// CUDA: what the files of attention share: the arguments of the kernels as plain values, and the functions that start
// them. The operators (kernels/attention.hpp) are in attention.cu: checks, scratch, the choice of a kernel.
//
//   attention_forward.cuh    bf16 forward (FlashAttention-2, arXiv 2307.08691), on attention_tiles.cuh
//   attention_backward.cuh   bf16 backward: dK, dV and dQ in one pass over the scores, all sums in a fixed order
//   attention_rows.cu        what backward needs of every query first, and the sum of dsink
//   attention_fp32.cu        plain fp32
//
// The bf16 kernels exist for head dims 32, 64 and 128, each instantiated in a file of its own, attention_forward_32.cu
// and so on, so that compilation runs in parallel.
#pragma once

#include "kernels/attention.hpp"

namespace hylas::kernels::cuda {

constexpr int attention_queries = 64;  // query rows a block of backward: the unit of its scratch

// A tensor [P, ...] as kernels see it: trial p begins `stride` elements after trial p - 1. Null where absent.
template <class T>
struct PerTrial {
  T* data = nullptr;
  std::int64_t stride = 0;
};

struct AttentionShape {
  int trials = 0, batch = 0, length = 0;  // P, B, T
  int heads = 0, kv_heads = 0, dim = 0;   // H, Hkv, hd
  PerTrial<const std::int32_t> window;    // [P]
  PerTrial<const float> sink;             // [P, H]
  PerTrial<const std::int32_t> sink_on;   // [P]; absent: on wherever there is a sink
  [[nodiscard]] constexpr std::int64_t query_heads() const { return std::int64_t{trials} * batch * heads; }
  [[nodiscard]] constexpr int query_blocks() const { return (length + attention_queries - 1) / attention_queries; }
};

// qkv, out, dout, dqkv: bf16 (in attention_fp32: f32), one row of a sequence after the other.
struct AttentionForward {
  AttentionShape shape;
  PerTrial<const void> qkv;
  PerTrial<void> out;
  PerTrial<float> lse;
};

struct AttentionBackward {
  AttentionShape shape;
  PerTrial<const void> qkv, out, dout;
  PerTrial<const float> lse;
  PerTrial<void> dqkv;
  PerTrial<float> dsink;
  const float* cos = nullptr;  // [T, hd/2]; null: no rotation
  const float* sin = nullptr;
  PerTrial<const std::int32_t> rope_on;
  // Scratch. A row of the stats is padded to query_blocks() * attention_queries.
  float* row_lse = nullptr;          // [P, B, H, padded T]: lse * lse_factor, +inf beyond T
  float* row_delta = nullptr;        // [P, B, H, padded T]: sum of dout * out, 0 beyond T
  float* sink_parts = nullptr;       // [P, B, H, query_blocks]: each block's part of dsink
  float* dq_sums = nullptr;          // [P, B, H, query_blocks, 64 * hd]: dq so far, in the order of the fragments
  std::int32_t* dq_ready = nullptr;  // [P, B, H, query_blocks]: 1 + the block of keys that dq_sums holds last
  std::int32_t* ticket = nullptr;    // [1]
};

// Fills row_lse, row_delta (where they are given) and, for trials whose sink is on, sink_parts; clears dq_ready and
// ticket where given. out and dout are bf16 or f32.
void attention_rows(Context& ctx, const AttentionBackward& a, bool bf16, float lse_factor);
// dsink [P, H] += sum of sink_parts, in order; only where the trial's sink is on.
void attention_sink_sum(Context& ctx, const AttentionBackward& a);

// bf16, hd 32, 64 or 128.
template <int hd>
void attention_forward_bf16(Context& ctx, const AttentionForward& a);
template <int hd>
void attention_backward_bf16(Context& ctx, const AttentionBackward& a);

constexpr int attention_fp32_largest_dim = 256;
void attention_forward_fp32(Context& ctx, const AttentionForward& a);
// After attention_rows with lse_factor 1.
void attention_backward_fp32(Context& ctx, const AttentionBackward& a);

}  // namespace hylas::kernels::cuda
