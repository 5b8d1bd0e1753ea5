// The bf16 backward kernel of attention, one template for hd 32, 64 and 128: dK, dV and dQ in one pass over the scores.
//
// A thread block owns 128 keys of one key head and walks over the blocks of 64 queries that see some of them (for
// grouped heads: of one query head after the other). A warp owns `tiles` x 16 keys and computes scores transposed,
// S^T = K Q^T, so that P^T and dS^T come out as the A operand of dV += P^T dO and dK += dS^T Q without leaving its
// registers. dS^T also goes to shared memory, and one step later all warps together compute dQ += dS K for the block of
// queries.
//
// dQ of a block of queries is a sum over blocks of keys, in different thread blocks. They add to it in a fixed order,
// from the oldest keys to the newest: each takes the sum so far (fp32, in scratch) when the block of keys before it has
// left it there (dq_ready), and the last one scales, rotates and writes. A thread block walks from the newest queries
// that it sees to the oldest; those with the most work, the oldest keys, start first, and a few steps ahead of the
// next, so that hardly anybody waits. Thread blocks take their keys by ticket, oldest first: whoever is waited for has
// started already, in whatever order the device starts blocks.
//
// The bits of a head depend on its own data only.
#pragma once

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace attention {

// How a thread block divides its work, and its shared memory.
template <int hd_, int warps_, int tiles_, int chunk_, int blocks_, bool single_ = false, int stages_ = 2>
struct BackwardPlan {
  static constexpr int hd = hd_, warps = warps_;
  static constexpr int tiles = tiles_;     // m16 tiles of keys a warp
  static constexpr int chunk = chunk_;     // queries whose scores are in registers at a time
  static constexpr int blocks = blocks_;   // thread blocks a multiprocessor
  static constexpr bool single = single_;  // all keys are in one block: dQ needs no sums across blocks
  static constexpr int stages = stages_;   // of Q and dO; 1 saves shared memory and copies nothing ahead
  static constexpr int threads = 32 * warps;
  static constexpr int keys = 16 * tiles * warps;
  static constexpr int queries = attention_queries;
  static_assert(keys % queries == 0 && queries % chunk == 0 && chunk % 16 == 0);
  // dQ [64, hd]: warps stand row_groups x column_groups; a column group takes the same columns of both halves of hd, so
  // that the pairs of the rotation meet in one thread.
  static constexpr int column_groups = hd == 128 ? 4 : hd == 64 ? 2 : 1;
  static constexpr int row_groups = warps / column_groups;
  static constexpr int dq_tiles = queries / row_groups / 16;  // m16
  static constexpr int dq_columns = hd / column_groups / 8;   // n8
  static_assert(dq_tiles >= 1 && dq_columns == 4);
  static constexpr int key_bytes = keys * hd * 2, query_bytes = queries * hd * 2, ds_bytes = keys * queries * 2;
  static constexpr int stats_bytes = 2 * queries * 4;
  // K, V, then the stages of Q, dO, then two of dS and of the stats, then the ticket.
  static constexpr int shared_bytes = 2 * key_bytes + 2 * stages * query_bytes + 2 * ds_bytes + 2 * stats_bytes + 16;
};

// Heads whose blocks of keys are taken in turns: enough to keep a head's blocks a few steps apart, few enough for the
// L2 cache to hold what the blocks of a head share.
constexpr int backward_section = 64;

// One block of queries of one head on its way through a thread block.
struct QueryStep {
  int h = 0;      // query head
  int block = 0;  // of 64 queries
};

template <class Plan>
struct BackwardBlock {
  const AttentionBackward& a;
  int p, b, kv, n;           // n: the block of keys
  int window, pitch, first;  // first key
  int begin, end;            // blocks of queries
  float scale, scale_log2;
  unsigned char* shared;

  __device__ __forceinline__ unsigned char* k() const { return shared; }
  __device__ __forceinline__ unsigned char* v() const { return shared + Plan::key_bytes; }
  __device__ __forceinline__ unsigned char* q(int stage) const {
    return shared + 2 * Plan::key_bytes + stage % Plan::stages * 2 * Plan::query_bytes;
  }
  __device__ __forceinline__ unsigned char* dout(int stage) const { return q(stage) + Plan::query_bytes; }
  __device__ __forceinline__ unsigned char* ds(int stage) const {
    return shared + 2 * Plan::key_bytes + Plan::stages * 2 * Plan::query_bytes + stage * Plan::ds_bytes;
  }
  __device__ __forceinline__ float* stats(int stage) const {  // lse of 64 queries, then their delta
    return reinterpret_cast<float*>(ds(2) + stage * Plan::stats_bytes);
  }
  __device__ __forceinline__ const Bf16* sequence() const {
    return trial_bf16(a.qkv, p) + static_cast<std::int64_t>(b) * a.shape.length * pitch;
  }
  __device__ __forceinline__ Bf16* dsequence() const {
    return trial_bf16(a.dqkv, p) + static_cast<std::int64_t>(b) * a.shape.length * pitch;
  }
  __device__ __forceinline__ bool rotates() const { return a.cos != nullptr && *trial(a.rope_on, p) != 0; }

  // Starts the copies of a step's Q, dO and stats.
  __device__ __forceinline__ void load(const QueryStep& step, int stage) const {
    const AttentionShape& s = a.shape;
    const int row = step.block * Plan::queries;
    const std::int64_t out_pitch = static_cast<std::int64_t>(s.heads) * Plan::hd;
    const Bf16* from = trial_bf16(a.dout, p) + static_cast<std::int64_t>(b) * s.length * out_pitch + step.h * Plan::hd;
    copy_tile<Plan::hd, Plan::queries, Plan::threads>(q(stage), sequence() + step.h * Plan::hd, pitch, row, s.length);
    copy_tile<Plan::hd, Plan::queries, Plan::threads>(dout(stage), from, out_pitch, row, s.length);
    const int i = static_cast<int>(threadIdx.x);
    if (i < Plan::queries / 2) {
      const std::int64_t padded = static_cast<std::int64_t>(s.query_blocks()) * Plan::queries;
      const std::int64_t at = head_index(s, p, b, step.h) * padded + row;
      const float* values = i < Plan::queries / 4 ? a.row_lse : a.row_delta;
      copy_async_16(stats(stage) + 4 * i, values + at + 4 * (i % (Plan::queries / 4)));
    }
  }
};

// What a warp adds up over the queries: [keys, hd] of dK and dV.
template <class Plan>
struct KeySums {
  float dk[Plan::tiles][Plan::hd / 8][4];
  float dv[Plan::tiles][Plan::hd / 8][4];
};

// c [keys, chunk] = rows (of K or V) times those of Q or dO, transposed.
template <class Plan>
__device__ __forceinline__ void product_of_rows(float (&c)[Plan::tiles][Plan::chunk / 8][4],
                                                const LaneTile<Plan::hd>& keys, const LaneTile<Plan::hd>& queries,
                                                int first_query) {
#pragma unroll
  for (int i = 0; i < Plan::tiles; ++i) {
#pragma unroll
    for (int n = 0; n < Plan::chunk / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) c[i][n][e] = 0;
    }
  }
#pragma unroll
  for (int step = 0; step < Plan::hd / 16; ++step) {
    std::uint32_t key[Plan::tiles][4];
#pragma unroll
    for (int i = 0; i < Plan::tiles; ++i) load_matrix_x4(key[i], keys.at(16 * i, step));
#pragma unroll
    for (int n = 0; n < Plan::chunk / 16; ++n) {
      std::uint32_t query[4];
      load_matrix_x4(query, queries.at(first_query + 16 * n, step));
#pragma unroll
      for (int i = 0; i < Plan::tiles; ++i) {
        mma_16x8x16(c[i][2 * n], key[i], query[0], query[1]);
        mma_16x8x16(c[i][2 * n + 1], key[i], query[2], query[3]);
      }
    }
  }
}

// sums [keys, hd] += bf16(c) [keys, chunk] times rows (of dO or Q) [chunk, hd].
template <class Plan>
__device__ __forceinline__ void add_product(float (&sums)[Plan::tiles][Plan::hd / 8][4],
                                            const float (&c)[Plan::tiles][Plan::chunk / 8][4],
                                            const LaneTile<Plan::hd>& rows, int first_query) {
#pragma unroll
  for (int step = 0; step < Plan::chunk / 16; ++step) {
    std::uint32_t left[Plan::tiles][4];
#pragma unroll
    for (int i = 0; i < Plan::tiles; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float* pair = c[i][2 * step + e / 2] + 2 * (e % 2);
        left[i][e] = pack_bf16(pair[0], pair[1]);
      }
    }
#pragma unroll
    for (int n = 0; n < Plan::hd / 16; ++n) {
      std::uint32_t right[4];
      load_matrix_x4_transposed(right, rows.at(first_query + 16 * step, n));
#pragma unroll
      for (int i = 0; i < Plan::tiles; ++i) {
        mma_16x8x16(sums[i][2 * n], left[i], right[0], right[1]);
        mma_16x8x16(sums[i][2 * n + 1], left[i], right[2], right[3]);
      }
    }
  }
}

// Scores, probabilities and their gradients for one step; dS^T to shared memory, dK and dV grow.
template <class Plan>
__device__ __forceinline__ void score_step(const BackwardBlock<Plan>& block, const QueryStep& step, int stage, int lane,
                                           int warp, KeySums<Plan>& sums) {
  constexpr int own_keys = 16 * Plan::tiles;
  const int key = block.first + warp * own_keys;
  const LaneTile<Plan::hd> k_at = tile_a<Plan::hd>(block.k() + warp * own_keys * Plan::hd * 2, lane);
  const LaneTile<Plan::hd> v_at = tile_a<Plan::hd>(block.v() + warp * own_keys * Plan::hd * 2, lane);
  const float* stats = block.stats(stage);
  unsigned char* ds = block.ds(stage);
#pragma unroll
  for (int first = 0; first < Plan::queries; first += Plan::chunk) {
    const int query = step.block * Plan::queries + first;
    // What the chunk's first and last query see of this warp's keys.
    const bool nothing = query + Plan::chunk - 1 < key || query - (key + own_keys - 1) >= block.window;
    float scores[Plan::tiles][Plan::chunk / 8][4];
    if (nothing) {
#pragma unroll
      for (int i = 0; i < Plan::tiles; ++i) {
#pragma unroll
        for (int n = 0; n < Plan::chunk / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e) scores[i][n][e] = 0;
        }
      }
    } else {
      product_of_rows<Plan>(scores, k_at, tile_b<Plan::hd>(block.q(stage), lane), first);
      const bool masked = query < key + own_keys - 1 || query + Plan::chunk - 1 - key >= block.window;
#pragma unroll
      for (int n = 0; n < Plan::chunk / 8; ++n) {
        const float2 lse = *reinterpret_cast<const float2*>(stats + first + 8 * n + 2 * (lane % 4));
#pragma unroll
        for (int i = 0; i < Plan::tiles; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const float p = exp2_fast(fmaf(scores[i][n][e], block.scale_log2, e % 2 == 0 ? -lse.x : -lse.y));
            scores[i][n][e] = p;
            if (masked) {
              const int distance = query + 8 * n + 2 * (lane % 4) + e % 2 - (key + 16 * i + lane / 4 + 8 * (e / 2));
              if (distance < 0 || distance >= block.window) scores[i][n][e] = 0;
            }
          }
        }
      }
      add_product<Plan>(sums.dv, scores, tile_a<Plan::hd>(block.dout(stage), lane), first);
      float dp[Plan::tiles][Plan::chunk / 8][4];
      product_of_rows<Plan>(dp, v_at, tile_b<Plan::hd>(block.dout(stage), lane), first);
#pragma unroll
      for (int n = 0; n < Plan::chunk / 8; ++n) {
        const float2 delta = *reinterpret_cast<const float2*>(stats + Plan::queries + first + 8 * n + 2 * (lane % 4));
#pragma unroll
        for (int i = 0; i < Plan::tiles; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) scores[i][n][e] *= dp[i][n][e] - (e % 2 == 0 ? delta.x : delta.y);
        }
      }
      add_product<Plan>(sums.dk, scores, tile_a<Plan::hd>(block.q(stage), lane), first);
    }
#pragma unroll
    for (int i = 0; i < Plan::tiles; ++i) {
#pragma unroll
      for (int n = 0; n < Plan::chunk / 8; ++n) {
        const int row = warp * own_keys + 16 * i + lane / 4;
        const int at = 4 * (lane % 4);
        *reinterpret_cast<std::uint32_t*>(ds + piece<64>(row, first / 8 + n) + at) =
            pack_bf16(scores[i][n][0], scores[i][n][1]);
        *reinterpret_cast<std::uint32_t*>(ds + piece<64>(row + 8, first / 8 + n) + at) =
            pack_bf16(scores[i][n][2], scores[i][n][3]);
      }
    }
  }
}

// What a thread block reads before it adds to dQ of a block of queries. Flags and sums are read past L1 (volatile, cg),
// so that whoever sees the flag sees the sums that were written, and fenced, before it.
__device__ __forceinline__ std::int32_t read_flag(const std::int32_t* flag) {
  return *static_cast<const volatile std::int32_t*>(flag);
}
// By one thread, after a barrier of the block that wrote.
__device__ __forceinline__ void announce(std::int32_t* flag, std::int32_t value) {
  __threadfence();
  *static_cast<volatile std::int32_t*>(flag) = value;
}

// The flag of the step's queries: 1 + the block of keys that added to their dQ last.
template <class Plan>
__device__ __forceinline__ std::int32_t* flag_of(const BackwardBlock<Plan>& block, const QueryStep& step) {
  const AttentionShape& s = block.a.shape;
  return block.a.dq_ready + head_index(s, block.p, block.b, step.h) * s.query_blocks() + step.block;
}

// dQ of the step's queries: what this block of keys adds, on top of the sum so far; written out by the newest keys.
// `seen` is what the flag was a while ago. True: the sum so far has grown and is to be announced.
template <class Plan>
__device__ __forceinline__ bool query_gradient(const BackwardBlock<Plan>& block, const QueryStep& step, int stage,
                                               std::int32_t seen, int lane, int warp) {
  constexpr int rows = 16 * Plan::dq_tiles;
  constexpr int half_columns = Plan::hd / Plan::column_groups / 2;  // 16
  const AttentionBackward& a = block.a;
  const int row = warp / Plan::column_groups * rows;  // within the step's queries
  const int column = warp % Plan::column_groups * half_columns;
  const int query = step.block * Plan::queries + row;

  const bool newest = Plan::single || block.n == step.block * Plan::queries / Plan::keys;
  const bool oldest = Plan::single || block.n == max(0, step.block * Plan::queries - block.window + 1) / Plan::keys;
  const std::int64_t part = head_index(a.shape, block.p, block.b, step.h) * a.shape.query_blocks() + step.block;
  float4* sums = newest && oldest ? nullptr
                                  : reinterpret_cast<float4*>(a.dq_sums + part * (Plan::queries * Plan::hd) +
                                                              warp * (rows * Plan::dq_columns * 8)) +
                                        lane;
  float4 so_far[Plan::dq_tiles][4];
  if (!oldest) {
    const std::int32_t* flag = flag_of(block, step);
    while (seen != block.n) seen = read_flag(flag);
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < Plan::dq_tiles; ++i) {
#pragma unroll
    for (int n = 0; n < 4; ++n) so_far[i][n] = oldest ? make_float4(0, 0, 0, 0) : __ldcg(sums + (i * 4 + n) * 32);
  }
  float dq[Plan::dq_tiles][4][4] = {};

  // The keys that some of these rows see, in steps of 16.
  const int from = max(0, query - block.window + 1 - block.first) / 16;
  const int to = min(Plan::keys, max(0, query + rows - block.first) + 15) / 16;
  const LaneTile<64> ds_at = tile_b<64>(block.ds(stage), lane);
  const LaneTile<Plan::hd> k_at = tile_a<Plan::hd>(block.k(), lane);
#pragma unroll 4
  for (int k = from; k < to; ++k) {
    std::uint32_t left[Plan::dq_tiles][4];
#pragma unroll
    for (int i = 0; i < Plan::dq_tiles; ++i) {
      load_matrix_x4_transposed(left[i], ds_at.at(16 * k, row / 16 + i));
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t right[4];
      load_matrix_x4_transposed(right, k_at.at(16 * k, (column + half * Plan::hd / 2) / 16));
#pragma unroll
      for (int i = 0; i < Plan::dq_tiles; ++i) {
        mma_16x8x16(dq[i][2 * half], left[i], right[0], right[1]);
        mma_16x8x16(dq[i][2 * half + 1], left[i], right[2], right[3]);
      }
    }
  }

#pragma unroll
  for (int i = 0; i < Plan::dq_tiles; ++i) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      dq[i][n][0] += so_far[i][n].x;
      dq[i][n][1] += so_far[i][n].y;
      dq[i][n][2] += so_far[i][n].z;
      dq[i][n][3] += so_far[i][n].w;
      if (!newest) __stcg(sums + (i * 4 + n) * 32, make_float4(dq[i][n][0], dq[i][n][1], dq[i][n][2], dq[i][n][3]));
    }
  }
  if (!newest) return true;
  const bool rotates = block.rotates();
  const int length = a.shape.length;
  Bf16* to_dq = block.dsequence() + step.h * Plan::hd;
#pragma unroll
  for (int i = 0; i < Plan::dq_tiles; ++i) {
    const int t = query + 16 * i + lane / 4;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) dq[i][n][e] *= block.scale;
    }
    if (rotates) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        rotate_back(dq[i][n], dq[i][n + 2], a.cos, a.sin, Plan::hd / 2, t, length - 1, column + 8 * n + 2 * (lane % 4));
      }
    }
    const int own_column = column + lane % 2 * 8 + (lane % 4) / 2 * (Plan::hd / 2);
    store_four_tiles(dq[i], to_dq + static_cast<std::int64_t>(t) * block.pitch, t < length,
                     to_dq + static_cast<std::int64_t>(t + 8) * block.pitch, t + 8 < length, own_column, lane);
  }
  return false;
}

template <class Plan>
__device__ __forceinline__ void store_key_sums(const BackwardBlock<Plan>& block, KeySums<Plan>& sums, int lane,
                                               int warp) {
  const AttentionBackward& a = block.a;
  const int length = a.shape.length;
  const bool rotates = block.rotates();
  Bf16* to_dk = block.dsequence() + (a.shape.heads + block.kv) * Plan::hd;
  Bf16* to_dv = to_dk + a.shape.kv_heads * Plan::hd;
  constexpr int half = Plan::hd / 16;  // n8 tiles
#pragma unroll
  for (int i = 0; i < Plan::tiles; ++i) {
    const int t = block.first + (warp * Plan::tiles + i) * 16 + lane / 4;
    const std::int64_t row = static_cast<std::int64_t>(t) * block.pitch;
    const std::int64_t row8 = row + 8 * static_cast<std::int64_t>(block.pitch);
#pragma unroll
    for (int n = 0; n < Plan::hd / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums.dk[i][n][e] *= block.scale;
    }
    if (rotates) {
#pragma unroll
      for (int n = 0; n < half; ++n) {
        rotate_back(sums.dk[i][n], sums.dk[i][n + half], a.cos, a.sin, Plan::hd / 2, t, length - 1,
                    8 * n + 2 * (lane % 4));
      }
    }
#pragma unroll
    for (int n = 0; n < Plan::hd / 8; n += 4) {
      float c[4][4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) c[j][e] = sums.dk[i][n + j][e];
      }
      store_four_tiles(c, to_dk + row, t < length, to_dk + row8, t + 8 < length, 8 * (n + lane % 4), lane);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) c[j][e] = sums.dv[i][n + j][e];
      }
      store_four_tiles(c, to_dv + row, t < length, to_dv + row8, t + 8 < length, 8 * (n + lane % 4), lane);
    }
  }
}

}  // namespace attention

template <class Plan>
__global__ __launch_bounds__(Plan::threads, Plan::blocks) void attention_backward_kernel(AttentionBackward a,
                                                                                         float scale) {
  using namespace attention;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const AttentionShape& s = a.shape;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  auto* shared_ticket = reinterpret_cast<std::int32_t*>(shared_memory + Plan::shared_bytes - 16);
  if (!Plan::single && threadIdx.x == 0) *shared_ticket = atomicAdd(a.ticket, 1);
  __syncthreads();
  const int ticket = Plan::single ? static_cast<int>(blockIdx.x) : *shared_ticket;

  // Sections of heads; within one, the oldest keys of all its heads first.
  const int key_blocks = (s.length + Plan::keys - 1) / Plan::keys;
  const int heads = s.trials * s.batch * s.kv_heads;
  const int section = ticket / (key_blocks * backward_section) * backward_section;
  const int here = min(backward_section, heads - section);
  const int head = section + (ticket - section * key_blocks) % here;
  const int n = (ticket - section * key_blocks) / here;
  const int sequence = head / s.kv_heads;
  const int p = sequence / s.batch;
  const int window = window_of(s, p);
  const int first = n * Plan::keys;
  const int last_query = min(s.length - 1, first + Plan::keys - 1 + window - 1);
  const BackwardBlock<Plan> block{a,
                                  p,
                                  sequence % s.batch,
                                  head % s.kv_heads,
                                  n,
                                  window,
                                  (s.heads + 2 * s.kv_heads) * Plan::hd,
                                  first,
                                  first / Plan::queries,
                                  last_query / Plan::queries + 1,
                                  scale,
                                  scale * log2_e,
                                  shared_memory};
  const Bf16* k = block.sequence() + (s.heads + block.kv) * Plan::hd;
  copy_tile<Plan::hd, Plan::keys, Plan::threads>(block.k(), k, block.pitch, first, s.length);
  copy_tile<Plan::hd, Plan::keys, Plan::threads>(block.v(), k + s.kv_heads * Plan::hd, block.pitch, first, s.length);
  const int group = s.heads / s.kv_heads;
  QueryStep step{block.kv * group, block.end - 1};
  block.load(step, 0);
  copy_commit();

  KeySums<Plan> sums;
#pragma unroll
  for (int i = 0; i < Plan::tiles; ++i) {
#pragma unroll
    for (int j = 0; j < Plan::hd / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums.dk[i][j][e] = sums.dv[i][j][e] = 0;
    }
  }
  const int steps = group * (block.end - block.begin);
  QueryStep before;
  std::int32_t seen = 0;
  std::int32_t* grown = nullptr;  // flag of the sum that was added to last
  for (int i = 0; i < steps; ++i) {
    copy_wait<0>();
    __syncthreads();  // this step's Q and dO and the last one's dS are complete; the last one's Q and dO are done with
    if (grown != nullptr && static_cast<int>(threadIdx.x) == i % Plan::warps * 32) announce(grown, n + 1);
    QueryStep next = step;
    if (--next.block < block.begin) next = {step.h + 1, block.end - 1};
    if (Plan::stages == 2 && i + 1 < steps) block.load(next, (i + 1) % 2);
    copy_commit();
    if (i > 0) grown = query_gradient(block, before, (i - 1) % 2, seen, lane, warp) ? flag_of(block, before) : nullptr;
    if (!Plan::single) seen = read_flag(flag_of(block, step));
    score_step(block, step, i % 2, lane, warp, sums);
    if (Plan::stages == 1 && i + 1 < steps) {
      __syncthreads();
      block.load(next, (i + 1) % 2);
      copy_commit();
    }
    before = step;
    step = next;
  }
  __syncthreads();
  if (grown != nullptr && threadIdx.x == 0) announce(grown, n + 1);
  if (query_gradient(block, before, (steps - 1) % 2, seen, lane, warp)) {
    __syncthreads();
    if (threadIdx.x == 0) announce(flag_of(block, before), n + 1);
  }
  store_key_sums(block, sums, lane, warp);
}

template <class Plan>
void launch_attention_backward(Context& ctx, const AttentionBackward& a) {
  const std::int64_t key_blocks = (a.shape.length + Plan::keys - 1) / Plan::keys;
  const std::int64_t heads = std::int64_t{a.shape.trials} * a.shape.batch * a.shape.kv_heads;
  launch(ctx, attention_backward_kernel<Plan>, dim3(static_cast<unsigned>(heads * key_blocks)), dim3(Plan::threads),
         Plan::shared_bytes, a, static_cast<float>(1.0 / std::sqrt(static_cast<double>(Plan::hd))));
}

// The plans are those that were fastest on an H200.
template <int hd>
void attention_backward_bf16(Context& ctx, const AttentionBackward& a) {
  using attention::BackwardPlan;
  const int length = a.shape.length;
  if constexpr (hd == 32) {
    if (length <= 64) return launch_attention_backward<BackwardPlan<32, 4, 1, 32, 4, true>>(ctx, a);
    if (length <= 128) return launch_attention_backward<BackwardPlan<32, 4, 2, 32, 3, true>>(ctx, a);
    launch_attention_backward<BackwardPlan<32, 4, 2, 16, 3>>(ctx, a);
  } else if constexpr (hd == 64) {
    if (length <= 64) return launch_attention_backward<BackwardPlan<64, 4, 1, 32, 3, true>>(ctx, a);
    if (length <= 128) return launch_attention_backward<BackwardPlan<64, 4, 2, 16, 2, true>>(ctx, a);
    launch_attention_backward<BackwardPlan<64, 4, 2, 16, 2>>(ctx, a);
  } else {
    const int capability = ctx.gpu->capability();
    const bool small_shared = capability == 86 || capability == 89 || capability >= 120;  // 99 KiB a thread block
    if (small_shared) return launch_attention_backward<BackwardPlan<128, 4, 1, 32, 1, false, 1>>(ctx, a);
    if (length <= 128) return launch_attention_backward<BackwardPlan<128, 8, 1, 32, 1, true>>(ctx, a);
    launch_attention_backward<BackwardPlan<128, 8, 1, 32, 1>>(ctx, a);
  }
}

}  // namespace hylas::kernels::cuda
