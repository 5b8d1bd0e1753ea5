// The bf16 forward kernel of attention, one template for hd 32, 64 and 128 (FlashAttention-2, arXiv 2307.08691).
//
// A thread block owns query rows of one head, 16 or 32 a warp, and walks over the blocks of 64 keys that its rows can
// see, oldest first; the next block's K and V arrive while one is worked on (cp.async, two stages). A warp holds its
// scores (32 x 64), its part of the output (32 x hd) and the running maximum in registers: probabilities become the A
// operand of the second product without leaving them. It skips blocks none of its rows sees and masks only those at a
// boundary. Scores are kept in units of log2: s * scale * log2(e). The sink takes part as the starting maximum with
// weight 1.
//
// Thread blocks are ordered so that those with the most keys start first, within sections of heads whose K and V fit
// the L2 cache. The bits of a row depend on its own head only.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace attention {

constexpr int forward_keys = 64;

template <int hd, int rows>
constexpr int forward_shared_bytes() {
  return (rows + 4 * forward_keys) * hd * 2;
}

struct ForwardTile {
  int p, b, h;
  int first;  // query row
};

// The tile a thread block takes: sections of `section` heads; within one, tiles from the last to the first.
__device__ __forceinline__ ForwardTile forward_tile(const AttentionShape& s, int rows, int section) {
  const std::int64_t tiles = (s.length + rows - 1) / rows;
  const std::int64_t heads = static_cast<std::int64_t>(s.trials) * s.batch * s.heads;
  const std::int64_t index = blockIdx.x;
  const std::int64_t begin = index / (tiles * section) * section;
  const std::int64_t here = min(static_cast<std::int64_t>(section), heads - begin);
  const std::int64_t rest = index - begin * tiles;
  const std::int64_t head = begin + rest % here;
  ForwardTile t;
  t.first = static_cast<int>(tiles - 1 - rest / here) * rows;
  t.h = static_cast<int>(head % s.heads);
  const auto sequence = static_cast<int>(head / s.heads);
  t.b = sequence % s.batch;
  t.p = sequence / s.batch;
  return t;
}

// A warp's rows while they walk over the keys. Row r of m16 tile i: rows first + 16 i + g (half 0) and + 8 (half 1).
template <int hd, int tiles>
struct ForwardRows {
  float out[tiles][hd / 8][4];
  float top[tiles][2];    // running maximum, in log2 units
  float total[tiles][2];  // sum of this lane's exp2(score - top)

  __device__ __forceinline__ void begin(float sink, bool counts) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        top[i][half] = sink;
        total[i][half] = counts ? 1.0F : 0.0F;
      }
#pragma unroll
      for (int n = 0; n < hd / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][n][e] = 0;
      }
    }
  }

  // Turns the raw scores of m16 tile i into probabilities relative to the new maximum.
  __device__ __forceinline__ void softmax_step(int i, float (&s)[forward_keys / 8][4], float scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float best = s[0][2 * half];
#pragma unroll
      for (int n = 0; n < forward_keys / 8; ++n) {
        best = fmaxf(best, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      }
      best = fmaxf(best, __shfl_xor_sync(0xffffffffU, best, 1));
      best = fmaxf(best, __shfl_xor_sync(0xffffffffU, best, 2));
      best = fmaxf(best * scale, top[i][half]);
      const float base = best == -INFINITY ? 0.0F : best;  // a row that has seen no key yet
      const float shrink = exp2_fast(top[i][half] - base);
      top[i][half] = best;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < forward_keys / 8; ++n) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          s[n][e] = exp2_fast(fmaf(s[n][e], scale, -base));
          sum += s[n][e];
        }
      }
      total[i][half] = fmaf(total[i][half], shrink, sum);
#pragma unroll
      for (int n = 0; n < hd / 8; ++n) {
        out[i][n][2 * half] *= shrink;
        out[i][n][2 * half + 1] *= shrink;
      }
    }
  }
};

// Minus infinity where query `row` does not see key `key`.
__device__ __forceinline__ void mask_scores(float (&s)[forward_keys / 8][4], int row, int key, int window) {
#pragma unroll
  for (int n = 0; n < forward_keys / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int distance = row + 8 * (e / 2) - (key + 8 * n + e % 2);
      if (distance < 0 || distance >= window) s[n][e] = -INFINITY;
    }
  }
}

}  // namespace attention

// `tiles`: m16 tiles of rows a warp; `blocks`: thread blocks a multiprocessor.
template <int hd, int warps, int tiles, int blocks>
__global__ __launch_bounds__(32 * warps, blocks) void attention_forward_kernel(AttentionForward a, int section,
                                                                               float scale) {
  using namespace attention;
  constexpr int own_rows = 16 * tiles;
  constexpr int rows = own_rows * warps;
  constexpr int keys = forward_keys;
  constexpr int threads = 32 * warps;
  constexpr int tile_bytes = keys * hd * 2;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  unsigned char* shared_q = shared_memory;
  unsigned char* shared_kv = shared_memory + rows * hd * 2;  // K, V of stage 0, K, V of stage 1

  const AttentionShape& s = a.shape;
  const ForwardTile tile = forward_tile(s, rows, section);
  const int window = window_of(s, tile.p);
  const int pitch = (s.heads + 2 * s.kv_heads) * hd;
  const int kv = tile.h / (s.heads / s.kv_heads);
  const Bf16* sequence = trial_bf16(a.qkv, tile.p) + static_cast<std::int64_t>(tile.b) * s.length * pitch;
  const Bf16* k = sequence + (s.heads + kv) * hd;
  const Bf16* v = k + s.kv_heads * hd;

  const int begin = max(0, tile.first - window + 1) / keys;
  const int end = (min(s.length, tile.first + rows) + keys - 1) / keys;
  copy_tile<hd, rows, threads>(shared_q, sequence + tile.h * hd, pitch, tile.first, s.length);
  copy_tile<hd, keys, threads>(shared_kv, k, pitch, begin * keys, s.length);
  copy_tile<hd, keys, threads>(shared_kv + tile_bytes, v, pitch, begin * keys, s.length);
  copy_commit();

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first = tile.first + static_cast<int>(threadIdx.x) / 32 * own_rows;  // of this warp
  const bool sink_on = sink_is_on(s, tile.p);
  const float sink = sink_on ? trial(s.sink, tile.p)[tile.h] * log2_e : -INFINITY;
  ForwardRows<hd, tiles> own;
  own.begin(sink, sink_on && lane % 4 == 0);
  const LaneTile<hd> q_at = tile_a<hd>(shared_q + (first - tile.first) * hd * 2, lane);

  for (int block = begin; block < end; ++block) {
    unsigned char* stage = shared_kv + (block - begin) % 2 * 2 * tile_bytes;
    copy_wait<0>();
    __syncthreads();
    if (block + 1 < end) {
      unsigned char* next = shared_kv + (block + 1 - begin) % 2 * 2 * tile_bytes;
      copy_tile<hd, keys, threads>(next, k, pitch, (block + 1) * keys, s.length);
      copy_tile<hd, keys, threads>(next + tile_bytes, v, pitch, (block + 1) * keys, s.length);
    }
    copy_commit();
    const int key = block * keys;
    if (first >= s.length || key > first + own_rows - 1 || first - (key + keys - 1) >= window)
      continue;  // the whole warp

    float scores[tiles][keys / 8][4] = {};
    const LaneTile<hd> k_at = tile_b<hd>(stage, lane);
#pragma unroll
    for (int c = 0; c < hd / 16; ++c) {
      std::uint32_t q[tiles][4];
#pragma unroll
      for (int i = 0; i < tiles; ++i) load_matrix_x4(q[i], q_at.at(16 * i, c));
#pragma unroll
      for (int n = 0; n < keys / 16; ++n) {
        std::uint32_t kk[4];
        load_matrix_x4(kk, k_at.at(16 * n, c));
#pragma unroll
        for (int i = 0; i < tiles; ++i) {
          mma_16x8x16(scores[i][2 * n], q[i], kk[0], kk[1]);
          mma_16x8x16(scores[i][2 * n + 1], q[i], kk[2], kk[3]);
        }
      }
    }
    if (key + keys - 1 > first || first + own_rows - 1 - key >= window) {
#pragma unroll
      for (int i = 0; i < tiles; ++i) mask_scores(scores[i], first + 16 * i + lane / 4, key + 2 * (lane % 4), window);
    }
#pragma unroll
    for (int i = 0; i < tiles; ++i) own.softmax_step(i, scores[i], scale);

    const LaneTile<hd> v_at = tile_a<hd>(stage + tile_bytes, lane);
#pragma unroll
    for (int kk = 0; kk < keys / 16; ++kk) {
      std::uint32_t probabilities[tiles][4];
#pragma unroll
      for (int i = 0; i < tiles; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float* pair = scores[i][2 * kk + e / 2] + 2 * (e % 2);
          probabilities[i][e] = pack_bf16(pair[0], pair[1]);
        }
      }
#pragma unroll
      for (int n = 0; n < hd / 16; ++n) {
        std::uint32_t vv[4];
        load_matrix_x4_transposed(vv, v_at.at(16 * kk, n));
#pragma unroll
        for (int i = 0; i < tiles; ++i) {
          mma_16x8x16(own.out[i][2 * n], probabilities[i], vv[0], vv[1]);
          mma_16x8x16(own.out[i][2 * n + 1], probabilities[i], vv[2], vv[3]);
        }
      }
    }
  }

  if (first >= s.length) return;  // the whole warp
  const int out_pitch = s.heads * hd;
  Bf16* out = trial_bf16(a.out, tile.p) + static_cast<std::int64_t>(tile.b) * s.length * out_pitch + tile.h * hd;
  float* lse = trial(a.lse, tile.p) + (static_cast<std::int64_t>(tile.b) * s.heads + tile.h) * s.length;
#pragma unroll
  for (int i = 0; i < tiles; ++i) {
    const int row = first + 16 * i + lane / 4;
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = own.total[i][half];
      total += __shfl_xor_sync(0xffffffffU, total, 1);
      total += __shfl_xor_sync(0xffffffffU, total, 2);
      inverse[half] = 1.0F / total;
      const int t = row + 8 * half;
      if (lane % 4 == 0 && t < s.length) lse[t] = own.top[i][half] * ln_2 + logf(total);
    }
#pragma unroll
    for (int n = 0; n < hd / 8; n += 4) {
      float c[4][4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) c[j][e] = own.out[i][n + j][e] * inverse[e / 2];
      }
      store_four_tiles(c, out + static_cast<std::int64_t>(row) * out_pitch, row < s.length,
                       out + static_cast<std::int64_t>(row + 8) * out_pitch, row + 8 < s.length, 8 * (n + lane % 4),
                       lane);
    }
  }
}

template <int hd, int warps, int tiles, int blocks>
void launch_attention_forward(Context& ctx, const AttentionForward& a) {
  constexpr int rows = 16 * tiles * warps;
  constexpr std::int64_t cache_bytes = 32 << 20;  // of K and V at a time
  const std::int64_t row_blocks = (a.shape.length + rows - 1) / rows;
  const std::int64_t heads = a.shape.query_heads();
  const std::int64_t section =
      std::clamp<std::int64_t>(cache_bytes / (std::int64_t{a.shape.length} * hd * 4), 1, heads);
  const auto scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(hd)));
  launch(ctx, attention_forward_kernel<hd, warps, tiles, blocks>, dim3(static_cast<unsigned>(row_blocks * heads)),
         dim3(32 * warps), attention::forward_shared_bytes<hd, rows>(), a, static_cast<int>(section), scale);
}

// The shapes of thread blocks are those that were fastest on an H200: for short sequences many small ones.
template <int hd>
void attention_forward_bf16(Context& ctx, const AttentionForward& a) {
  if constexpr (hd == 32) return launch_attention_forward<hd, 2, 2, 6>(ctx, a);
  if constexpr (hd == 64) {
    if (a.shape.length <= 64) return launch_attention_forward<hd, 2, 2, 4>(ctx, a);
    if (a.shape.length <= 256) return launch_attention_forward<hd, 4, 2, 3>(ctx, a);
  }
  if constexpr (hd > 32) launch_attention_forward<hd, 4, 2, 2>(ctx, a);
}

}  // namespace hylas::kernels::cuda
