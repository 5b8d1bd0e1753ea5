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
  Trials which;
  int padded;             // T rounded up to a multiple of pad
  const float* lse_log2;  // [P * B * H, padded]: lse * log2(e); +inf beyond T
  const float* delta;     // [P * B * H, padded]; 0 beyond T
  __nv_bfloat16* dqkv;
  std::int64_t dqkv_stride;
  TrialInts window;
  const float *cos, *sin;  // [T, hd/2]; null: no rotation
  TrialInts rope_on;
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
  static constexpr int rows = 128, threads = 384;
  static constexpr int outer_panel = rows * 128, inner_panel = inner_rows * 128;
  static constexpr int outer_bytes = rows * dim * 2, inner_bytes = inner_rows * dim * 2;  // of one tile of the pair
  static constexpr int statistics_bytes = with_statistics ? inner_rows * 4 : 0;           // lse, delta: each
  static constexpr int inner_at = 2 * outer * outer_bytes;
  static constexpr int statistics_at = inner_at + 2 * stages * inner_bytes;
  static constexpr int barriers_at = statistics_at + 2 * stages * statistics_bytes;
  static constexpr int slots_at = barriers_at + (2 * outer + 3 * stages) * 8;
  static constexpr int trials_at = slots_at + 16;                               // their number, then the list
  static constexpr int shared_bytes = trials_at + 16 + 2 * most_trials + 1024;  // 1024: to align the start
  static constexpr int producer_registers = 24, consumer_registers = 240;
  // Arrivals that free a tile: of each consumer where threads read the statistics, else of one lane a warp.
  static constexpr int freed_by = with_statistics ? 256 : 8;

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
      barrier_init(outer_empty(s), freed_by);
    }
    for (int s = 0; s < stages; ++s) {
      barrier_init(inner_full(s, 0), 1);
      barrier_init(inner_full(s, 1), 1);
      barrier_init(inner_empty(s), freed_by);
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

// Column 0 of qkv's gradient at position t of sequence (p, b), and the elements of a row.
template <class Tile>
struct GradientRow {
  std::int64_t stride;
  __nv_bfloat16* start;
  __device__ __forceinline__ GradientRow(const BackwardData& a, int p, int b, int t)
      : stride(static_cast<std::int64_t>(a.sizes.heads + 2 * a.sizes.kv_heads) * Tile::dim),
        start(a.dqkv + p * a.dqkv_stride + (static_cast<std::int64_t>(b) * a.sizes.length + t) * stride) {}
};

// ---- dK and dV -----------------------------------------------------------------------------------------------------

template <class Tile>
struct KeyPlace {
  int p, b, kv;
  int row;           // first key of the tile
  int window;        // 1..T
  int first, count;  // tiles of queries that see the keys
  int steps;         // count times the query heads of the key head
  __device__ __forceinline__ KeyPlace(const BackwardData& a, const Items& items, int item) {
    const Item at = items.order.at(item, false);
    const int sequence = at.head / a.sizes.kv_heads;
    kv = at.head - sequence * a.sizes.kv_heads;
    const int trial = sequence / a.sizes.batch;
    p = items.trials[trial];
    b = sequence - trial * a.sizes.batch;
    row = at.tile * Tile::rows;
    window = min(max(a.window[p], 1), a.sizes.length);
    first = row / Tile::inner_rows;
    count = min(a.sizes.length - 1, row + Tile::rows - 2 + window) / Tile::inner_rows - first + 1;
    steps = count * (a.sizes.heads / a.sizes.kv_heads);
  }
};

template <class Tile>
__device__ __forceinline__ void produce_for_keys(const Tile& tile, const CUtensorMap* qkv, const CUtensorMap* dout,
                                                 const BackwardData& a, const Items& items, int* slots) {
  int item = blockIdx.x;
  int step = 0;
  for (int turn = 0;; ++turn) {
    const int s = turn % Tile::outer;
    const int following = item < items.count ? static_cast<int>(gridDim.x) + atomicAdd(a.next, 1) : item;
    barrier_wait(tile.outer_empty(s), ((turn / Tile::outer) & 1) ^ 1);
    if (item >= items.count) {
      slots[s] = -1;
      barrier_arrive(tile.outer_full(s));
      return;
    }
    slots[s] = item;
    const KeyPlace<Tile> at(a, items, item);
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

template <class Tile>
__device__ __forceinline__ void consume_for_keys(const Tile& tile, const BackwardData& a, const Items& items,
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
    const KeyPlace<Tile> at(a, items, item);
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
    int held = -1;  // the stage that products under way still read
    for (int i = 0; i < at.steps; ++i) {
      const int stage = step % Tile::stages;
      const int row = (at.first + query_tile) * queries;
      if (++query_tile == at.count) query_tile = 0;
      if (row + queries <= first_key ||
          row >= first_key + 63 + at.window) {  // only the other warpgroup's keys see these
        barrier_wait(tile.inner_full(stage, 0), (step / Tile::stages) & 1);
        barrier_wait(tile.inner_full(stage, 1), (step / Tile::stages) & 1);
        wgmma_wait<0>();
        barrier_arrive(tile.inner_empty(stage));
        if (held >= 0) barrier_arrive(tile.inner_empty(held));
        held = -1;
        ++step;
        continue;
      }
      const int parity = (step / Tile::stages) & 1;
      barrier_wait(tile.inner_full(stage, 0), parity);
      wgmma_fence();
      multiply<dim>(s, k, Tile::outer_panel, k_major(tile.inner_tile(stage, 0)), Tile::inner_panel);
      wgmma_commit();
      barrier_wait(tile.inner_full(stage, 1), parity);
      wgmma_wait<1>();  // dV and dK of the step before are done
      pin(p_bits);
      pin(ds_bits);
      if (held >= 0) barrier_arrive(tile.inner_empty(held));
      held = stage;
      wgmma_fence();
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
    barrier_arrive(tile.outer_empty(os));  // K and V have been read
    wgmma_wait<0>();
    pin(dk);
    pin(dv);
    if (held >= 0) barrier_arrive(tile.inner_empty(held));
    const GradientRow<Tile> to(a, at.p, at.b, key);
    const int rows = rows_before(key, a.sizes.length);
    const float scale[2] = {a.sizes.scale, a.sizes.scale}, one[2] = {1.0f, 1.0f};
    store_rows(to.start + (a.sizes.heads + a.sizes.kv_heads + at.kv) * dim, to.stride, rows, dv, one);
    if (a.cos != nullptr && a.rope_on[at.p] != 0) rotate_back<dim>(dk, a.cos, a.sin, key, a.sizes.length);
    store_rows(to.start + (a.sizes.heads + at.kv) * dim, to.stride, rows, dk, scale);
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, 1)
    keys_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap dout,
                const __grid_constant__ BackwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t begin = shared_offset(shared_memory);
  const Tile tile{(begin + 1023) / 1024 * 1024};
  unsigned char* start = shared_memory + (tile.shared - begin);
  int* slots = reinterpret_cast<int*>(start + Tile::slots_at);
  int* selected = reinterpret_cast<int*>(start + Tile::trials_at);
  std::uint16_t* trials = reinterpret_cast<std::uint16_t*>(start + Tile::trials_at + 16);
  if (threadIdx.x < 32) select_trials(a.window, a.sizes, a.which, trials, selected);
  if (threadIdx.x == 32) tile.init();
  __syncthreads();
  const Items items(a.order, trials, *selected, a.sizes);
  if (threadIdx.x < 128) {
    registers_down<Tile::producer_registers>();
    if (threadIdx.x == 0) produce_for_keys(tile, &qkv, &dout, a, items, slots);
  } else {
    registers_up<Tile::consumer_registers>();
    consume_for_keys(tile, a, items, slots);
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
  __device__ __forceinline__ QueryPlace(const BackwardData& a, const Items& items, int item) {
    const Item at = items.order.at(item, true);
    const int sequence = at.head / a.sizes.heads;
    h = at.head - sequence * a.sizes.heads;
    const int trial = sequence / a.sizes.batch;
    p = items.trials[trial];
    b = sequence - trial * a.sizes.batch;
    kv = h / (a.sizes.heads / a.sizes.kv_heads);
    row = at.tile * Tile::rows;
    window = min(max(a.window[p], 1), a.sizes.length);
    first = max(0, row - window + 1) / Tile::inner_rows;
    last = (min(row + Tile::rows, a.sizes.length) - 1) / Tile::inner_rows;
  }
};

template <class Tile>
__device__ __forceinline__ void produce_for_queries(const Tile& tile, const CUtensorMap* qkv, const CUtensorMap* dout,
                                                    const BackwardData& a, const Items& items, int* slots) {
  int item = blockIdx.x;
  int step = 0;
  for (int turn = 0;; ++turn) {
    const int s = turn % Tile::outer;
    const int parity = ((turn / Tile::outer) & 1) ^ 1;
    if (item >= items.count) {
      barrier_wait(tile.outer_empty(s), parity);
      slots[s] = -1;
      barrier_arrive(tile.outer_full(s));
      return;
    }
    const int following = static_cast<int>(gridDim.x) + atomicAdd(a.next, 1);
    const QueryPlace<Tile> at(a, items, item);
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
__device__ __forceinline__ void consume_for_queries(const Tile& tile, const BackwardData& a, const Items& items,
                                                    const int* slots) {
  constexpr int dim = Tile::dim, keys = Tile::inner_rows;
  const int group = threadIdx.x / 128 - 1;
  const int lane = threadIdx.x % 32;
  const float scale_log2 = a.sizes.scale * log2_e;
  int step = 0;
  for (int turn = 0;; ++turn) {
    const int os = turn % Tile::outer;
    barrier_wait(tile.outer_full(os), (turn / Tile::outer) & 1);
    // The lane that later frees the slot reads it: others might lag behind its arrival.
    const int item = __shfl_sync(0xffffffffu, lane == 0 ? slots[os] : 0, 0);
    if (item < 0) return;
    const QueryPlace<Tile> at(a, items, item);
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
    int held = -1;  // the stage that products under way still read
    for (int i = at.last; i >= at.first; --i, ++step) {
      const int stage = step % Tile::stages;
      const int parity = (step / Tile::stages) & 1;
      if (i * keys > first_row + 63 || (i + 1) * keys <= first_row + 1 - at.window) {  // only other rows see these
        barrier_wait(tile.inner_full(stage, 0), parity);
        barrier_wait(tile.inner_full(stage, 1), parity);
        wgmma_wait<0>();
        if (lane == 0) barrier_arrive(tile.inner_empty(stage));
        if (held >= 0 && lane == 0) barrier_arrive(tile.inner_empty(held));
        held = -1;
        continue;
      }
      barrier_wait(tile.inner_full(stage, 0), parity);
      wgmma_fence();
      multiply<dim>(s, q, Tile::outer_panel, k_major(tile.inner_tile(stage, 0)), Tile::inner_panel);
      wgmma_commit();
      barrier_wait(tile.inner_full(stage, 1), parity);
      wgmma_wait<1>();  // dQ of the step before is done
      pin(ds_bits);
      if (held >= 0 && lane == 0) barrier_arrive(tile.inner_empty(held));
      held = stage;
      wgmma_fence();
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
    }
    if (lane == 0) barrier_arrive(tile.outer_empty(os));  // Q and dO have been read
    wgmma_wait<0>();
    pin(dq);
    if (held >= 0 && lane == 0) barrier_arrive(tile.inner_empty(held));
    if (a.cos != nullptr && a.rope_on[at.p] != 0) rotate_back<dim>(dq, a.cos, a.sin, row, a.sizes.length);
    const GradientRow<Tile> to(a, at.p, at.b, row);
    const float scale[2] = {a.sizes.scale, a.sizes.scale};
    store_rows(to.start + at.h * dim, to.stride, rows_before(row, a.sizes.length), dq, scale);
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, 1)
    queries_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap dout,
                   const __grid_constant__ BackwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t begin = shared_offset(shared_memory);
  const Tile tile{(begin + 1023) / 1024 * 1024};
  unsigned char* start = shared_memory + (tile.shared - begin);
  int* slots = reinterpret_cast<int*>(start + Tile::slots_at);
  int* selected = reinterpret_cast<int*>(start + Tile::trials_at);
  std::uint16_t* trials = reinterpret_cast<std::uint16_t*>(start + Tile::trials_at + 16);
  if (threadIdx.x < 32) select_trials(a.window, a.sizes, a.which, trials, selected);
  if (threadIdx.x == 32) tile.init();
  __syncthreads();
  const Items items(a.order, trials, *selected, a.sizes);
  if (threadIdx.x < 128) {
    registers_down<Tile::producer_registers>();
    if (threadIdx.x == 0) produce_for_queries(tile, &qkv, &dout, a, items, slots);
  } else {
    registers_up<Tile::consumer_registers>();
    consume_for_queries(tile, a, items, slots);
  }
#endif
}

// ---- host ----------------------------------------------------------------------------------------------------------

struct Maps {
  CUtensorMap qkv, dout;
};

template <class Tile, class Kernel>
void launch_items(Context& ctx, Kernel* kernel, const Maps& maps, BackwardData& a, int heads, std::int64_t bytes,
                  int unit) {
  a.order.tiles = (a.sizes.length + Tile::rows - 1) / Tile::rows;
  a.order.heads = heads;
  a.order.together = heads_together(bytes, 32 << 20, unit, heads);
  const int blocks = a.order.items() < ctx.gpu->multiprocessors() ? a.order.items() : ctx.gpu->multiprocessors();
  launch(ctx, kernel, dim3(static_cast<unsigned>(blocks)), dim3(Tile::threads), Tile::shared_bytes, maps.qkv, maps.dout,
         a);
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
  if (dim == 64 && shared_by == 1) {
    WindowData w;
    w.sizes = sizes;
    w.window = a.window;
    w.lse_log2 = a.lse_log2;
    w.delta = a.delta;
    w.padded = a.padded;
    w.dqkv = a.dqkv;
    w.dqkv_stride = a.dqkv_stride;
    w.cos = a.cos;
    w.sin = a.sin;
    w.rope_on = a.rope_on;
    window_backward(ctx, w, maps.qkv, maps.dout);
    a.which = Trials::other;
  } else {
    a.which = Trials::all;
  }
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
  if (qkv.trials() > most_trials) {
    bool done = true;
    for (std::int64_t p = 0; done && p < qkv.trials(); p += most_trials) {
      const std::int64_t n = qkv.trials() - p < most_trials ? qkv.trials() - p : most_trials;
      Rope part = rope;
      if (rope.on.defined()) part.on = rope.on.trials_from(p, n);
      done = hopper_attention_backward(ctx, heads, trials_from(data, p, n), part, qkv.trials_from(p, n),
                                       out.trials_from(p, n), lse.trials_from(p, n), dout.trials_from(p, n),
                                       dqkv.trials_from(p, n));
    }
    return done;
  }
  const ArenaScope scope(ctx.arena);
  BackwardData a{};
  a.sizes = sizes_of(heads, qkv);
  a.padded = (a.sizes.length + pad - 1) / pad * pad;
  const std::int64_t rows = qkv.trials() * qkv.dim(1) * heads.query * a.padded;
  a.dqkv = static_cast<__nv_bfloat16*>(dqkv.data());
  a.dqkv_stride = dqkv.trial_stride();
  a.window = trial_ints(data.window);
  if (rope.cos.defined()) {
    a.cos = rope.cos.trial<float>();
    a.sin = rope.sin.trial<float>();
    a.rope_on = trial_ints(rope.on);
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
  const Maps maps{tensor_map(ctx, qkv), tensor_map(ctx, dout)};
  if (heads.dim == 64) {
    backward<64>(ctx, maps, d, a);
  } else {
    backward<128>(ctx, maps, d, a);
  }
  return true;
}

}  // namespace hylas::kernels::cuda
