// Attention on Hopper, backward, in three kernels: delta = rowsum(dout * out) with a padded copy of lse; dK and dV of a
// tile of keys (loop over the queries that see it, of every query head that shares the key head); dQ of a tile of
// queries (loop over its keys). S and P are computed again from lse in both; nothing is added up across blocks, so that
// the sums have one order. Blocks take tiles until none is left; a producer warp feeds two warpgroups of 64 rows each.
//
//   S = Q K^T   P = exp(scale S - lse)   dP = dO V^T   dS = P (dP - delta)
//   dV = P^T dO   dK = scale dS^T Q   dQ = scale dS K
//
// The kernel of dK and dV computes S^T and dP^T: their fragments are those of the left operands P^T and dS^T, which so
// stay in registers. Source: FlashAttention-2 and 3, arXiv 2307.08691 and 2407.08608.
#include <cuda_runtime.h>

#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/attention_hopper.hpp"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {

namespace {

using namespace hopper;

constexpr int pad = 128;  // rows of lse and delta are padded to a multiple of this, so that whole tiles can be copied

struct BackwardData {
  Sizes sizes;
  ItemOrder order;
  int padded;             // T rounded up to a multiple of pad
  const float* lse_log2;  // [P * B * H, padded]: lse * log2(e); +inf beyond T
  const float* delta;     // [P * B * H, padded]; 0 beyond T
  const std::int32_t* window;
  const float *cos, *sin;  // [T, hd/2]; null: no rotation
  const std::int32_t* rope_on;
  int* next;  // items taken so far beyond the first of each block; zero at the start
};

// ---- delta ---------------------------------------------------------------------------------------------------------

struct DeltaData {
  Sizes sizes;
  int padded;
  const __nv_bfloat16 *out, *dout;
  std::int64_t out_stride, dout_stride, lse_stride;
  const float* lse;
  float *lse_log2, *delta;
  int* next;  // two counters to set to zero
};

// One block: 64 rows of one head; dim / 8 lanes a row.
template <int dim>
__global__ void __launch_bounds__(256) delta_kernel(const __grid_constant__ DeltaData a) {
  constexpr int lanes = dim / 8;
  if (blockIdx.x == 0 && threadIdx.x < 2) a.next[threadIdx.x] = 0;
  const int tiles = a.padded / 64;
  const int head = blockIdx.x / tiles;  // ((p * B) + b) * H + h
  const int first = (blockIdx.x - head * tiles) * 64;
  const int sequence = head / a.sizes.heads, h = head - sequence * a.sizes.heads;
  const int p = sequence / a.sizes.batch, b = sequence - p * a.sizes.batch;
  const std::int64_t columns = static_cast<std::int64_t>(a.sizes.heads) * dim;
#pragma unroll
  for (int i = 0; i < 64 * lanes / 256; ++i) {
    const int t = first + i * (256 / lanes) + static_cast<int>(threadIdx.x) / lanes;
    float sum = 0.0f;
    if (t < a.sizes.length) {
      const std::int64_t at =
          (static_cast<std::int64_t>(b) * a.sizes.length + t) * columns + h * dim + threadIdx.x % lanes * 8;
      const uint4 x = *reinterpret_cast<const uint4*>(a.out + p * a.out_stride + at);
      const uint4 y = *reinterpret_cast<const uint4*>(a.dout + p * a.dout_stride + at);
      const std::uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float2 u = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&xs[k]));
        const float2 v = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&ys[k]));
        sum = fmaf(u.x, v.x, fmaf(u.y, v.y, sum));
      }
    }
#pragma unroll
    for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % lanes == 0) {
      const std::int64_t to = static_cast<std::int64_t>(head) * a.padded + t;
      a.delta[to] = sum;
      const std::int64_t from = (static_cast<std::int64_t>(b) * a.sizes.heads + h) * a.sizes.length + t;
      a.lse_log2[to] = t < a.sizes.length ? a.lse[p * a.lse_stride + from] * log2_e : INFINITY;
    }
  }
}

// ---- what both matrix kernels share --------------------------------------------------------------------------------

// Two pairs of tiles in shared memory: the outer pair stays while an item is worked on (K and V, or Q and dO: 128 rows,
// `outer` of them), the inner pair changes every step (`inner_rows` rows, `stages` of them).
template <int dim_, int inner_rows_, int outer_, int stages_, bool with_statistics>
struct BackwardTile {
  static constexpr int dim = dim_, inner_rows = inner_rows_, outer = outer_, stages = stages_;
  static constexpr int panels = dim / 64, rows = 128, threads = 384;
  static constexpr int outer_panel = rows * 128, inner_panel = inner_rows * 128;
  static constexpr int outer_bytes = rows * dim * 2, inner_bytes = inner_rows * dim * 2;  // of one tile of the pair
  static constexpr int statistics_bytes = with_statistics ? inner_rows * 4 : 0;           // lse, delta: each
  static constexpr int inner_at = 2 * outer * outer_bytes;
  static constexpr int statistics_at = inner_at + 2 * stages * inner_bytes;
  static constexpr int barriers_at = statistics_at + 2 * stages * statistics_bytes;
  static constexpr int slots_at = barriers_at + (2 * outer + 3 * stages) * 8;
  static constexpr int shared_bytes = slots_at + 16 + 1024;  // 1024: to align the start
  static constexpr int producer_registers = 24, consumer_registers = 240;

  std::uint32_t shared;  // start of shared memory, a multiple of 1024
  __device__ std::uint32_t outer_tile(int s, int which) const { return shared + (2 * s + which) * outer_bytes; }
  __device__ std::uint32_t inner_tile(int s, int which) const {
    return shared + inner_at + (2 * s + which) * inner_bytes;
  }
  __device__ std::uint32_t statistics(int s, int which) const {
    return shared + statistics_at + (2 * s + which) * statistics_bytes;
  }
  __device__ std::uint32_t outer_full(int s) const { return shared + barriers_at + s * 8; }
  __device__ std::uint32_t outer_empty(int s) const { return shared + barriers_at + (outer + s) * 8; }
  __device__ std::uint32_t inner_full(int s, int which) const {
    return shared + barriers_at + (2 * outer + 2 * s + which) * 8;
  }
  __device__ std::uint32_t inner_empty(int s) const { return shared + barriers_at + (2 * outer + 2 * stages + s) * 8; }

  __device__ void init() const {
    for (int s = 0; s < outer; ++s) {
      barrier_init(outer_full(s), 1);
      barrier_init(outer_empty(s), 2);
    }
    for (int s = 0; s < stages; ++s) {
      barrier_init(inner_full(s, 0), 1);
      barrier_init(inner_full(s, 1), 1);
      barrier_init(inner_empty(s), 8);
    }
    barrier_init_fence();
  }
};

// Sends the boxes of a tile of `rows` rows and dim columns.
template <int rows, int dim>
__device__ __forceinline__ void load_tile(const CUtensorMap* map, std::uint32_t to, std::uint32_t full, int column,
                                          int row, int b, int p) {
#pragma unroll
  for (int panel = 0; panel < dim / 64; ++panel) {
#pragma unroll
    for (int box = 0; box < rows / box_rows; ++box) {
      load_box(to + panel * rows * 128 + box * box_bytes, map, full, column + panel * 64, row + box * box_rows, b, p);
    }
  }
}

// The transposed rotation of a fragment whose rows are the positions row and row + 8.
template <int dim>
__device__ __forceinline__ void rotate_back(float (&d)[dim / 2], const BackwardData& a, int row) {
  const int column = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const std::int64_t line = static_cast<std::int64_t>(min(row + 8 * r, a.sizes.length - 1)) * (dim / 2) + column;
#pragma unroll
    for (int j = 0; j < dim / 16; ++j) {
      const float2 c = *reinterpret_cast<const float2*>(a.cos + line + 8 * j);
      const float2 s = *reinterpret_cast<const float2*>(a.sin + line + 8 * j);
      float& x0 = d[4 * j + 2 * r];
      float& x1 = d[4 * j + 2 * r + 1];
      float& y0 = d[4 * (j + dim / 16) + 2 * r];
      float& y1 = d[4 * (j + dim / 16) + 2 * r + 1];
      const float u0 = x0 * c.x + y0 * s.x, u1 = x1 * c.y + y1 * s.y;
      y0 = y0 * c.x - x0 * s.x;
      y1 = y1 * c.y - x1 * s.y;
      x0 = u0;
      x1 = u1;
    }
  }
}

// ---- dK and dV -----------------------------------------------------------------------------------------------------

template <class Tile>
struct KeyPlace {
  int p, b, kv;
  int row;           // first key of the tile
  int window;        // 1..T
  int first, count;  // tiles of queries that see the keys
  int steps;         // count times the query heads of the key head
  __device__ __forceinline__ KeyPlace(const BackwardData& a, int item) {
    const Item at = a.order.at(item, false);
    const int sequence = at.head / a.sizes.kv_heads;
    kv = at.head - sequence * a.sizes.kv_heads;
    p = sequence / a.sizes.batch;
    b = sequence - p * a.sizes.batch;
    row = at.tile * Tile::rows;
    window = min(max(a.window[p], 1), a.sizes.length);
    first = row / Tile::inner_rows;
    count = min(a.sizes.length - 1, row + Tile::rows - 2 + window) / Tile::inner_rows - first + 1;
    steps = count * (a.sizes.heads / a.sizes.kv_heads);
  }
};

template <class Tile>
__device__ __forceinline__ void produce_for_keys(const Tile& tile, const CUtensorMap* qkv, const CUtensorMap* dout,
                                                 const BackwardData& a, int* slots) {
  int item = blockIdx.x;
  int step = 0;
  for (int turn = 0;; ++turn) {
    const int s = turn % Tile::outer;
    const int following = item < a.order.items() ? static_cast<int>(gridDim.x) + atomicAdd(a.next, 1) : item;
    barrier_wait(tile.outer_empty(s), ((turn / Tile::outer) & 1) ^ 1);
    if (item >= a.order.items()) {
      slots[s] = -1;
      barrier_arrive(tile.outer_full(s));
      return;
    }
    slots[s] = item;
    const KeyPlace<Tile> at(a, item);
    barrier_arrive_expect(tile.outer_full(s), 2 * Tile::outer_bytes);
    const int k_column = (a.sizes.heads + at.kv) * Tile::dim;
    load_tile<Tile::rows, Tile::dim>(qkv, tile.outer_tile(s, 0), tile.outer_full(s), k_column, at.row, at.b, at.p);
    load_tile<Tile::rows, Tile::dim>(qkv, tile.outer_tile(s, 1), tile.outer_full(s),
                                     k_column + a.sizes.kv_heads * Tile::dim, at.row, at.b, at.p);
    for (int i = 0; i < at.steps; ++i, ++step) {
      const int stage = step % Tile::stages;
      const int which = i / at.count;
      const int h = at.kv * (a.sizes.heads / a.sizes.kv_heads) + which;
      const int row = (at.first + i - which * at.count) * Tile::inner_rows;
      const std::int64_t statistics =
          ((static_cast<std::int64_t>(at.p) * a.sizes.batch + at.b) * a.sizes.heads + h) * a.padded + row;
      barrier_wait(tile.inner_empty(stage), ((step / Tile::stages) & 1) ^ 1);
      barrier_arrive_expect(tile.inner_full(stage, 0), Tile::inner_bytes + Tile::statistics_bytes);
      load_tile<Tile::inner_rows, Tile::dim>(qkv, tile.inner_tile(stage, 0), tile.inner_full(stage, 0), h * Tile::dim,
                                             row, at.b, at.p);
      load_bytes(tile.statistics(stage, 0), a.lse_log2 + statistics, Tile::statistics_bytes, tile.inner_full(stage, 0));
      barrier_arrive_expect(tile.inner_full(stage, 1), Tile::inner_bytes + Tile::statistics_bytes);
      load_tile<Tile::inner_rows, Tile::dim>(dout, tile.inner_tile(stage, 1), tile.inner_full(stage, 1), h * Tile::dim,
                                             row, at.b, at.p);
      load_bytes(tile.statistics(stage, 1), a.delta + statistics, Tile::statistics_bytes, tile.inner_full(stage, 1));
    }
    item = following;
  }
}

// Two neighbouring floats in shared memory.
__device__ __forceinline__ float2 load_pair(std::uint32_t shared) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(shared));
  return v;
}

template <class Tile>
__device__ __forceinline__ void consume_for_keys(const Tile& tile, const CUtensorMap* dqkv, const BackwardData& a,
                                                 const int* slots) {
  constexpr int dim = Tile::dim, queries = Tile::inner_rows;
  const int group = threadIdx.x / 128 - 1;
  const int lane = threadIdx.x % 32;
  const float scale_log2 = a.sizes.scale * log2_e;
  int step = 0;
  for (int turn = 0;; ++turn) {
    const int os = turn % Tile::outer;
    barrier_wait(tile.outer_full(os), (turn / Tile::outer) & 1);
    const int item = slots[os];
    if (item < 0) return;
    const KeyPlace<Tile> at(a, item);
    const int first_key = at.row + group * 64;
    const int key = first_key + (threadIdx.x / 32) % 4 * 16 + lane / 4;  // and key + 8
    const std::uint32_t k_shared = tile.outer_tile(os, 0) + group * box_bytes;
    const std::uint32_t v_shared = tile.outer_tile(os, 1) + group * box_bytes;
    const std::uint64_t k = k_major(k_shared), v = k_major(v_shared);

    float dk[dim / 2], dv[dim / 2];
    float s[queries / 2], dp[queries / 2];                    // S^T then P^T; dP^T
    std::uint32_t p_bits[queries / 4], ds_bits[queries / 4];  // as left operands
#pragma unroll
    for (int i = 0; i < dim / 2; ++i) dk[i] = dv[i] = 0.0f;

    int query_tile = 0;
    for (int i = 0; i < at.steps; ++i) {
      const int stage = step % Tile::stages;
      const int row = (at.first + query_tile) * queries;
      if (++query_tile == at.count) query_tile = 0;
      const int parity = (step / Tile::stages) & 1;
      barrier_wait(tile.inner_full(stage, 0), parity);
      wgmma_fence();
      multiply<dim>(s, k, Tile::outer_panel, k_major(tile.inner_tile(stage, 0)), Tile::inner_panel);
      wgmma_commit();
      barrier_wait(tile.inner_full(stage, 1), parity);
      wgmma_wait<1>();  // dV and dK of the step before are done
      pin(p_bits);
      pin(ds_bits);
      if (i > 0 && lane == 0) barrier_arrive(tile.inner_empty((step - 1) % Tile::stages));
      multiply<dim>(dp, v, Tile::outer_panel, k_major(tile.inner_tile(stage, 1)), Tile::inner_panel);
      wgmma_commit();
      wgmma_wait<1>();  // S^T is there
      pin(s);
      if (row < first_key + 63 || row + queries - 1 >= first_key + at.window) {
        const int low = key - row, column = 2 * (lane % 4);  // query - row in low .. low + window - 1
#pragma unroll
        for (int j = 0; j < queries / 8; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int query = 8 * j + column + e % 2 - e / 2 * 8;
            if (query < low || query >= low + at.window) s[4 * j + e] = -INFINITY;
          }
        }
      }
      const std::uint32_t statistics = tile.statistics(stage, 0) + 8 * (lane % 4);
#pragma unroll
      for (int j = 0; j < queries / 8; ++j) {
        const float2 lse = load_pair(statistics + 32 * j);
        s[4 * j] = exp2_fast(fmaf(s[4 * j], scale_log2, -lse.x));
        s[4 * j + 1] = exp2_fast(fmaf(s[4 * j + 1], scale_log2, -lse.y));
        s[4 * j + 2] = exp2_fast(fmaf(s[4 * j + 2], scale_log2, -lse.x));
        s[4 * j + 3] = exp2_fast(fmaf(s[4 * j + 3], scale_log2, -lse.y));
        p_bits[2 * j] = pack(s[4 * j], s[4 * j + 1]);
        p_bits[2 * j + 1] = pack(s[4 * j + 2], s[4 * j + 3]);
      }
      pin(p_bits);
      wgmma_fence();
      add_product(dv, p_bits, n_major(tile.inner_tile(stage, 1), Tile::inner_panel));
      wgmma_commit();
      wgmma_wait<1>();  // dP^T is there
      pin(dp);
#pragma unroll
      for (int j = 0; j < queries / 8; ++j) {
        const float2 delta = load_pair(statistics + Tile::statistics_bytes + 32 * j);
        ds_bits[2 * j] = pack(s[4 * j] * (dp[4 * j] - delta.x), s[4 * j + 1] * (dp[4 * j + 1] - delta.y));
        ds_bits[2 * j + 1] = pack(s[4 * j + 2] * (dp[4 * j + 2] - delta.x), s[4 * j + 3] * (dp[4 * j + 3] - delta.y));
      }
      pin(ds_bits);
      wgmma_fence();
      add_product(dk, ds_bits, n_major(tile.inner_tile(stage, 0), Tile::inner_panel));
      wgmma_commit();
      ++step;
    }
    wgmma_wait<0>();
    pin(dk);
    pin(dv);
    if (lane == 0) barrier_arrive(tile.inner_empty((step - 1) % Tile::stages));
#pragma unroll
    for (int i = 0; i < dim / 2; ++i) dk[i] *= a.sizes.scale;
    if (a.cos != nullptr && a.rope_on[at.p] != 0) rotate_back<dim>(dk, a, key);
    named_sync(1 + group, 128);  // the products of all four warps have read K and V
    store_tile(k_shared, Tile::outer_panel, dk, 1.0f, 1.0f);
    store_tile(v_shared, Tile::outer_panel, dv, 1.0f, 1.0f);
    fence_async();
    named_sync(1 + group, 128);
    if (threadIdx.x % 128 == 0) {
      const int k_column = (a.sizes.heads + at.kv) * dim, v_column = k_column + a.sizes.kv_heads * dim;
#pragma unroll
      for (int panel = 0; panel < Tile::panels; ++panel) {
        store_box(dqkv, k_shared + panel * Tile::outer_panel, k_column + panel * 64, first_key, at.b, at.p);
        store_box(dqkv, v_shared + panel * Tile::outer_panel, v_column + panel * 64, first_key, at.b, at.p);
      }
      store_wait();
      barrier_arrive(tile.outer_empty(os));
    }
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, 1)
    keys_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap dout,
                const __grid_constant__ CUtensorMap dqkv, const __grid_constant__ BackwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t begin = shared_offset(shared_memory);
  const Tile tile{(begin + 1023) / 1024 * 1024};
  int* slots = reinterpret_cast<int*>(shared_memory + (tile.shared - begin) + Tile::slots_at);
  if (threadIdx.x == 0) tile.init();
  __syncthreads();
  if (threadIdx.x < 128) {
    registers_down<Tile::producer_registers>();
    if (threadIdx.x == 0) produce_for_keys(tile, &qkv, &dout, a, slots);
  } else {
    registers_up<Tile::consumer_registers>();
    consume_for_keys(tile, &dqkv, a, slots);
  }
#endif
}

// ---- dQ ------------------------------------------------------------------------------------------------------------

template <class Tile>
struct QueryPlace {
  int p, b, h, kv;
  int row;          // first query of the tile
  int window;       // 1..T
  int first, last;  // tiles of keys
  __device__ __forceinline__ QueryPlace(const BackwardData& a, int item) {
    const Item at = a.order.at(item, true);
    const int sequence = at.head / a.sizes.heads;
    h = at.head - sequence * a.sizes.heads;
    p = sequence / a.sizes.batch;
    b = sequence - p * a.sizes.batch;
    kv = h / (a.sizes.heads / a.sizes.kv_heads);
    row = at.tile * Tile::rows;
    window = min(max(a.window[p], 1), a.sizes.length);
    first = max(0, row - window + 1) / Tile::inner_rows;
    last = (min(row + Tile::rows, a.sizes.length) - 1) / Tile::inner_rows;
  }
};

template <class Tile>
__device__ __forceinline__ void produce_for_queries(const Tile& tile, const CUtensorMap* qkv, const CUtensorMap* dout,
                                                    const BackwardData& a, int* slots) {
  int item = blockIdx.x;
  int step = 0;
  for (int turn = 0;; ++turn) {
    const int s = turn % Tile::outer;
    const int parity = ((turn / Tile::outer) & 1) ^ 1;
    if (item >= a.order.items()) {
      barrier_wait(tile.outer_empty(s), parity);
      slots[s] = -1;
      barrier_arrive(tile.outer_full(s));
      return;
    }
    const int following = static_cast<int>(gridDim.x) + atomicAdd(a.next, 1);
    const QueryPlace<Tile> at(a, item);
    const int k_column = (a.sizes.heads + at.kv) * Tile::dim;
    for (int i = at.last; i >= at.first; --i, ++step) {
      const int stage = step % Tile::stages;
      barrier_wait(tile.inner_empty(stage), ((step / Tile::stages) & 1) ^ 1);
#pragma unroll
      for (int which = 0; which < 2; ++which) {
        barrier_arrive_expect(tile.inner_full(stage, which), Tile::inner_bytes);
        load_tile<Tile::inner_rows, Tile::dim>(qkv, tile.inner_tile(stage, which), tile.inner_full(stage, which),
                                               k_column + which * a.sizes.kv_heads * Tile::dim, i * Tile::inner_rows,
                                               at.b, at.p);
      }
      if (i == at.last) {  // after the first keys: these can come while the item before is still being stored
        barrier_wait(tile.outer_empty(s), parity);
        slots[s] = item;
        barrier_arrive_expect(tile.outer_full(s), 2 * Tile::outer_bytes);
        load_tile<Tile::rows, Tile::dim>(qkv, tile.outer_tile(s, 0), tile.outer_full(s), at.h * Tile::dim, at.row, at.b,
                                         at.p);
        load_tile<Tile::rows, Tile::dim>(dout, tile.outer_tile(s, 1), tile.outer_full(s), at.h * Tile::dim, at.row,
                                         at.b, at.p);
      }
    }
    item = following;
  }
}

template <class Tile>
__device__ __forceinline__ void consume_for_queries(const Tile& tile, const CUtensorMap* dqkv, const BackwardData& a,
                                                    const int* slots) {
  constexpr int dim = Tile::dim, keys = Tile::inner_rows;
  static_assert(keys == 128);
  const int group = threadIdx.x / 128 - 1;
  const int lane = threadIdx.x % 32;
  const float scale_log2 = a.sizes.scale * log2_e;
  int step = 0;
  for (int turn = 0;; ++turn) {
    const int os = turn % Tile::outer;
    barrier_wait(tile.outer_full(os), (turn / Tile::outer) & 1);
    const int item = slots[os];
    if (item < 0) return;
    const QueryPlace<Tile> at(a, item);
    const int first_row = at.row + group * 64;
    const int row = first_row + (threadIdx.x / 32) % 4 * 16 + lane / 4;  // and row + 8
    const std::uint32_t q_shared = tile.outer_tile(os, 0) + group * box_bytes;
    const std::uint64_t q = k_major(q_shared), dout = k_major(tile.outer_tile(os, 1) + group * box_bytes);
    const std::int64_t statistics =
        ((static_cast<std::int64_t>(at.p) * a.sizes.batch + at.b) * a.sizes.heads + at.h) * a.padded + row;
    const float lse[2] = {a.lse_log2[statistics], a.lse_log2[statistics + 8]};
    const float delta[2] = {a.delta[statistics], a.delta[statistics + 8]};

    float dq[dim / 2], s[keys / 2], dp[keys / 2];
    std::uint32_t ds_bits[keys / 4];
#pragma unroll
    for (int i = 0; i < dim / 2; ++i) dq[i] = 0.0f;
    for (int i = at.last; i >= at.first; --i) {
      const int stage = step % Tile::stages;
      const int parity = (step / Tile::stages) & 1;
      barrier_wait(tile.inner_full(stage, 0), parity);
      wgmma_fence();
      multiply<dim>(s, q, Tile::outer_panel, k_major(tile.inner_tile(stage, 0)), Tile::inner_panel);
      wgmma_commit();
      barrier_wait(tile.inner_full(stage, 1), parity);
      wgmma_wait<1>();  // dQ of the step before is done
      pin(ds_bits);
      if (i < at.last && lane == 0) barrier_arrive(tile.inner_empty((step - 1) % Tile::stages));
      multiply<dim>(dp, dout, Tile::outer_panel, k_major(tile.inner_tile(stage, 1)), Tile::inner_panel);
      wgmma_commit();
      wgmma_wait<1>();  // S is there
      pin(s);
      if (i * keys + keys - 1 > first_row || i * keys <= first_row + 63 - at.window) {
        mask_keys(s, row - i * keys - at.window, row - i * keys);
      }
#pragma unroll
      for (int j = 0; j < keys / 2; ++j) s[j] = exp2_fast(fmaf(s[j], scale_log2, -lse[j / 2 % 2]));
      wgmma_wait<0>();  // dP is there
      pin(dp);
#pragma unroll
      for (int j = 0; j < keys / 4; ++j) {
        ds_bits[j] = pack(s[2 * j] * (dp[2 * j] - delta[j % 2]), s[2 * j + 1] * (dp[2 * j + 1] - delta[j % 2]));
      }
      pin(ds_bits);
      wgmma_fence();
      add_product(dq, ds_bits, n_major(tile.inner_tile(stage, 0), Tile::inner_panel));
      wgmma_commit();
      ++step;
    }
    wgmma_wait<0>();
    pin(dq);
    if (lane == 0) barrier_arrive(tile.inner_empty((step - 1) % Tile::stages));
#pragma unroll
    for (int i = 0; i < dim / 2; ++i) dq[i] *= a.sizes.scale;
    if (a.cos != nullptr && a.rope_on[at.p] != 0) rotate_back<dim>(dq, a, row);
    named_sync(1 + group, 128);  // the products of all four warps have read Q
    store_tile(q_shared, Tile::outer_panel, dq, 1.0f, 1.0f);
    fence_async();
    named_sync(1 + group, 128);
    if (threadIdx.x % 128 == 0) {
#pragma unroll
      for (int panel = 0; panel < Tile::panels; ++panel) {
        store_box(dqkv, q_shared + panel * Tile::outer_panel, at.h * dim + panel * 64, first_row, at.b, at.p);
      }
      store_wait();
      barrier_arrive(tile.outer_empty(os));
    }
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, 1)
    queries_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap dout,
                   const __grid_constant__ CUtensorMap dqkv, const __grid_constant__ BackwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t begin = shared_offset(shared_memory);
  const Tile tile{(begin + 1023) / 1024 * 1024};
  int* slots = reinterpret_cast<int*>(shared_memory + (tile.shared - begin) + Tile::slots_at);
  if (threadIdx.x == 0) tile.init();
  __syncthreads();
  if (threadIdx.x < 128) {
    registers_down<Tile::producer_registers>();
    if (threadIdx.x == 0) produce_for_queries(tile, &qkv, &dout, a, slots);
  } else {
    registers_up<Tile::consumer_registers>();
    consume_for_queries(tile, &dqkv, a, slots);
  }
#endif
}

// ---- host ----------------------------------------------------------------------------------------------------------

struct Maps {
  CUtensorMap qkv, dout, dqkv;
};

template <class Tile, class Kernel>
void launch_items(Context& ctx, Kernel* kernel, const Maps& maps, BackwardData& a, int heads, std::int64_t bytes,
                  int unit) {
  a.order.tiles = (a.sizes.length + Tile::rows - 1) / Tile::rows;
  a.order.heads = heads;
  a.order.together = heads_together(bytes, 32 << 20, unit, heads);
  const int blocks = a.order.items() < ctx.gpu->multiprocessors() ? a.order.items() : ctx.gpu->multiprocessors();
  launch(ctx, kernel, dim3(static_cast<unsigned>(blocks)), dim3(Tile::threads), Tile::shared_bytes, maps.qkv, maps.dout,
         maps.dqkv, a);
}

template <int dim>
void backward(Context& ctx, const Maps& maps, const DeltaData& delta, BackwardData& a) {
  using KeyTile = std::conditional_t<dim == 64, BackwardTile<64, 64, 2, 4, true>, BackwardTile<128, 64, 2, 2, true>>;
  using QueryTile =
      std::conditional_t<dim == 64, BackwardTile<64, 128, 2, 3, false>, BackwardTile<128, 128, 1, 2, false>>;
  static_assert(KeyTile::shared_bytes <= 232448 && QueryTile::shared_bytes <= 232448);  // 227 KB
  const Sizes& sizes = a.sizes;
  const int sequences = sizes.trials * sizes.batch;
  const int shared_by = sizes.heads / sizes.kv_heads;
  launch(ctx, delta_kernel<dim>, dim3(static_cast<unsigned>(sequences * sizes.heads * (a.padded / 64))), dim3(256), 0,
         delta);
  const std::int64_t head_bytes = std::int64_t{4} * sizes.length * dim;  // of two tensors
  launch_items<KeyTile>(ctx, keys_kernel<KeyTile>, maps, a, sequences * sizes.kv_heads, head_bytes * shared_by, 1);
  a.next += 1;
  launch_items<QueryTile>(ctx, queries_kernel<QueryTile>, maps, a, sequences * sizes.heads, head_bytes / shared_by + 1,
                          shared_by);
}

}  // namespace

bool hopper_attention_backward(Context& ctx, const Heads& heads, const AttentionData& data, const Rope& rope,
                               const Tensor& qkv, const Tensor& out, const Tensor& lse, const Tensor& dout,
                               const Tensor& dqkv) {
  if (!applies(ctx, heads, qkv) || !addressable(out) || !addressable(dout) || !addressable(dqkv)) return false;
  const ArenaScope scope(ctx.arena);
  BackwardData a{};
  a.sizes = sizes_of(heads, qkv);
  a.padded = (a.sizes.length + pad - 1) / pad * pad;
  const std::int64_t rows = qkv.trials() * qkv.dim(1) * heads.query * a.padded;
  a.window = data.window.trial<std::int32_t>();
  if (rope.cos.defined()) {
    a.cos = rope.cos.trial<float>();
    a.sin = rope.sin.trial<float>();
    a.rope_on = rope.on.trial<std::int32_t>();
  }
  DeltaData d{};
  d.sizes = a.sizes;
  d.padded = a.padded;
  d.out = static_cast<const __nv_bfloat16*>(out.data());
  d.dout = static_cast<const __nv_bfloat16*>(dout.data());
  d.out_stride = out.trial_stride();
  d.dout_stride = dout.trial_stride();
  d.lse = lse.trial<float>();
  d.lse_stride = lse.trial_stride();
  a.lse_log2 = d.lse_log2 = ctx.arena.take<float>(rows);
  a.delta = d.delta = ctx.arena.take<float>(rows);
  a.next = d.next = ctx.arena.take<int>(2);
  const Maps maps{tensor_map(ctx, qkv), tensor_map(ctx, dout), tensor_map(ctx, dqkv)};
  if (heads.dim == 64) {
    backward<64>(ctx, maps, d, a);
  } else {
    backward<128>(ctx, maps, d, a);
  }
  return true;
}

}  // namespace hylas::kernels::cuda
