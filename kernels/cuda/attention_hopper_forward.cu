// Attention on Hopper, forward. One block a multiprocessor takes tiles of 64 * groups queries of a head until none is
// left: a producer warp brings Q, K and V with the copy engine, each of `groups` warpgroups owns 64 query rows.
//
// Per key tile (128 keys, from the diagonal down to the window's edge) a warpgroup starts S = Q K^T of this tile and
// O += P V of the one before, and computes the softmax of S while the tensor cores work for it and for the others;
// warpgroups take turns in starting products (named barriers 1..groups), so that their softmaxes do not coincide.
// Sources: FlashAttention-3, arXiv 2407.08608 (the schedule); online softmax, arXiv 2205.14135.
#include <cuda_runtime.h>

#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/attention_hopper.hpp"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {

namespace {

using namespace hopper;

struct ForwardData {
  Sizes sizes;
  ItemOrder order;
  float* lse;
  std::int64_t lse_stride;
  const std::int32_t* window;
  const float* sink;  // null: no sink
  std::int64_t sink_stride;
  const std::int32_t* sink_on;  // null: on in every trial
  int* next;                    // items taken so far beyond the first of each block; zero at the start
};

template <int dim_, int groups_>
struct ForwardTile {
  static constexpr int dim = dim_, groups = groups_;
  static constexpr int panels = dim / 64;
  static constexpr int rows = 64 * groups, keys = 128;
  static constexpr int stages = 2;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int q_bytes = rows * dim * 2, kv_bytes = keys * dim * 2;
  static constexpr int q_panel = rows * 128, kv_panel = keys * 128;
  // Shared memory: Q x 2, K x stages, V x stages, barriers, the items of the two Qs.
  static constexpr int k_at = 2 * q_bytes, v_at = k_at + stages * kv_bytes, barriers_at = v_at + stages * kv_bytes;
  static constexpr int barriers = 4 + 4 * stages;
  static constexpr int slots_at = barriers_at + barriers * 8;
  static constexpr int shared_bytes = slots_at + 16 + 1024;  // 1024: to align the start
  static constexpr int producer_registers = groups == 2 ? 24 : 32, consumer_registers = groups == 2 ? 240 : 160;
};

// Barriers: full and empty of Q, K and V, one each a stage.
template <class Tile>
struct Barriers {
  std::uint32_t base;
  __device__ std::uint32_t q_full(int s) const { return base + s * 8; }
  __device__ std::uint32_t q_empty(int s) const { return base + (2 + s) * 8; }
  __device__ std::uint32_t k_full(int s) const { return base + (4 + s) * 8; }
  __device__ std::uint32_t k_empty(int s) const { return base + (4 + Tile::stages + s) * 8; }
  __device__ std::uint32_t v_full(int s) const { return base + (4 + 2 * Tile::stages + s) * 8; }
  __device__ std::uint32_t v_empty(int s) const { return base + (4 + 3 * Tile::stages + s) * 8; }
};

// What an item stands for.
template <class Tile>
struct Place {
  int p, b, h, kv;
  int row;          // first query of the tile
  int window;       // 1..T
  int first, last;  // key tiles first..last
  __device__ __forceinline__ Place(const ForwardData& a, int item) {
    const Item at = a.order.at(item, true);
    const int sequence = at.head / a.sizes.heads;
    h = at.head - sequence * a.sizes.heads;
    p = sequence / a.sizes.batch;
    b = sequence - p * a.sizes.batch;
    kv = h / (a.sizes.heads / a.sizes.kv_heads);
    row = at.tile * Tile::rows;
    window = min(max(a.window[p], 1), a.sizes.length);
    first = max(0, row - window + 1) / Tile::keys;
    last = (min(row + Tile::rows, a.sizes.length) - 1) / Tile::keys;
  }
};

template <class Tile>
__device__ __forceinline__ void load_kv(const CUtensorMap* map, std::uint32_t to, std::uint32_t full, int column,
                                        int tile, const Place<Tile>& at) {
  barrier_arrive_expect(full, Tile::kv_bytes);
#pragma unroll
  for (int panel = 0; panel < Tile::panels; ++panel) {
#pragma unroll
    for (int box = 0; box < Tile::keys / box_rows; ++box) {
      load_box(to + panel * Tile::kv_panel + box * box_bytes, map, full, column + panel * 64,
               tile * Tile::keys + box * box_rows, at.b, at.p);
    }
  }
}

// The producer: one thread.
template <class Tile>
__device__ __forceinline__ void produce(const CUtensorMap* map, const ForwardData& a, std::uint32_t shared,
                                        int* slots) {
  const Barriers<Tile> barriers{shared + Tile::barriers_at};
  int item = blockIdx.x;
  int k_count = 0, v_count = 0;
  for (int turn = 0;; ++turn) {
    const int s = turn & 1;
    const int following = item < a.order.items() ? static_cast<int>(gridDim.x) + atomicAdd(a.next, 1) : item;
    barrier_wait(barriers.q_empty(s), ((turn >> 1) & 1) ^ 1);
    if (item >= a.order.items()) {
      slots[s] = -1;
      barrier_arrive(barriers.q_full(s));
      return;
    }
    slots[s] = item;
    const Place<Tile> at(a, item);
    barrier_arrive_expect(barriers.q_full(s), Tile::q_bytes);
#pragma unroll
    for (int panel = 0; panel < Tile::panels; ++panel) {
#pragma unroll
      for (int box = 0; box < Tile::groups; ++box) {
        load_box(shared + s * Tile::q_bytes + panel * Tile::q_panel + box * box_bytes, map, barriers.q_full(s),
                 at.h * Tile::dim + panel * 64, at.row + box * box_rows, at.b, at.p);
      }
    }
    const int k_column = (a.sizes.heads + at.kv) * Tile::dim;
    const int v_column = (a.sizes.heads + a.sizes.kv_heads + at.kv) * Tile::dim;
    for (int tile = at.last; tile >= at.first - 1; --tile) {
      if (tile >= at.first) {
        const int stage = k_count % Tile::stages;
        barrier_wait(barriers.k_empty(stage), ((k_count / Tile::stages) & 1) ^ 1);
        load_kv<Tile>(map, shared + Tile::k_at + stage * Tile::kv_bytes, barriers.k_full(stage), k_column, tile, at);
        ++k_count;
      }
      if (tile < at.last) {
        const int stage = v_count % Tile::stages;
        barrier_wait(barriers.v_empty(stage), ((v_count / Tile::stages) & 1) ^ 1);
        load_kv<Tile>(map, shared + Tile::v_at + stage * Tile::kv_bytes, barriers.v_full(stage), v_column, tile + 1,
                      at);
        ++v_count;
      }
    }
    item = following;
  }
}

// The running softmax of the two rows of a thread; a row's 128 scores lie in four neighbouring lanes.
struct RowState {
  float maximum[2];  // of the scores, before scaling
  float sum[2];      // this thread's part of the denominator
};

// Scores to probabilities; alpha is what earlier sums and outputs are worth now.
__device__ __forceinline__ void softmax(float (&s)[64], RowState& rows, float (&alpha)[2], float scale_log2) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float maximum = rows.maximum[r];
#pragma unroll
    for (int j = 0; j < 16; ++j) maximum = fmaxf(maximum, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
    maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffffu, maximum, 1));
    maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffffu, maximum, 2));
    const float shift = maximum == -INFINITY ? 0.0f : maximum * scale_log2;
    alpha[r] = exp2_fast(rows.maximum[r] * scale_log2 - shift);
    rows.maximum[r] = maximum;
    float sum = rows.sum[r] * alpha[r];
#pragma unroll
    for (int j = 0; j < 16; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = s[4 * j + 2 * r + e];
        x = exp2_fast(fmaf(x, scale_log2, -shift));
        sum += x;
      }
    }
    rows.sum[r] = sum;
  }
}

// A consumer warpgroup.
template <class Tile>
__device__ __forceinline__ void consume(const CUtensorMap* out_map, const ForwardData& a, std::uint32_t shared,
                                        const int* slots) {
  const Barriers<Tile> barriers{shared + Tile::barriers_at};
  const int group = threadIdx.x / 128 - 1;
  const int lane = threadIdx.x % 32;
  const float scale_log2 = a.sizes.scale * log2_e;
  int count = 0;  // key tiles done
  if (group == Tile::groups - 1) named_arrive(1, 256);
  for (int turn = 0;; ++turn) {
    const int qs = turn & 1;
    barrier_wait(barriers.q_full(qs), (turn >> 1) & 1);
    const int item = slots[qs];
    if (item < 0) return;
    const Place<Tile> at(a, item);
    const int row = at.row + group * 64 + (threadIdx.x / 32) % 4 * 16 + lane / 4;  // and row + 8
    const std::uint32_t q_shared = shared + qs * Tile::q_bytes + group * box_bytes;
    const std::uint64_t q = k_major(q_shared);
    const auto masked = [&](int tile) {  // for the warpgroup as a whole
      const int first_row = at.row + group * 64;
      return tile * Tile::keys + Tile::keys - 1 > first_row || tile * Tile::keys <= first_row + 63 - at.window;
    };
    const auto apply_mask = [&](float(&s)[64], int tile) {
      const int high = row - tile * Tile::keys;
      mask_keys(s, high - at.window, high);
    };

    float o[Tile::dim / 2];
    float s[64];
    std::uint32_t p[32];
    RowState rows{{-INFINITY, -INFINITY}, {0.0f, 0.0f}};
    float alpha[2];
#pragma unroll
    for (int i = 0; i < Tile::dim / 2; ++i) o[i] = 0.0f;
    const auto pack_scores = [&] {
#pragma unroll
      for (int i = 0; i < 32; ++i) p[i] = pack(s[2 * i], s[2 * i + 1]);
    };

    int stage = count % Tile::stages;
    barrier_wait(barriers.k_full(stage), (count / Tile::stages) & 1);
    wgmma_fence();
    multiply<Tile::dim>(s, q, Tile::q_panel, k_major(shared + Tile::k_at + stage * Tile::kv_bytes), Tile::kv_panel);
    wgmma_commit();
    wgmma_wait<0>();
    pin(s);
    if (lane == 0) barrier_arrive(barriers.k_empty(stage));
    if (masked(at.last)) apply_mask(s, at.last);
    softmax(s, rows, alpha, scale_log2);
    pack_scores();

    for (int tile = at.last - 1; tile >= at.first; --tile) {
      const int v_stage = count % Tile::stages, v_parity = (count / Tile::stages) & 1;
      ++count;
      const int k_stage = count % Tile::stages, k_parity = (count / Tile::stages) & 1;
      barrier_wait(barriers.k_full(k_stage), k_parity);
      named_sync(1 + group, 256);
      pin(o);
      pin(p);
      wgmma_fence();
      multiply<Tile::dim>(s, q, Tile::q_panel, k_major(shared + Tile::k_at + k_stage * Tile::kv_bytes), Tile::kv_panel);
      wgmma_commit();
      barrier_wait(barriers.v_full(v_stage), v_parity);
      add_product(o, p, n_major(shared + Tile::v_at + v_stage * Tile::kv_bytes, Tile::kv_panel));
      wgmma_commit();
      named_arrive(1 + (group + 1) % Tile::groups, 256);
      wgmma_wait<1>();
      pin(s);
      if (lane == 0) barrier_arrive(barriers.k_empty(k_stage));
      if (masked(tile)) apply_mask(s, tile);
      softmax(s, rows, alpha, scale_log2);
      wgmma_wait<0>();
      pin(o);
      pin(p);
      if (lane == 0) barrier_arrive(barriers.v_empty(v_stage));
      pack_scores();
#pragma unroll
      for (int i = 0; i < Tile::dim / 2; ++i) o[i] *= alpha[(i / 2) % 2];
    }

    stage = count % Tile::stages;
    barrier_wait(barriers.v_full(stage), (count / Tile::stages) & 1);
    ++count;
    pin(o);
    pin(p);
    wgmma_fence();
    add_product(o, p, n_major(shared + Tile::v_at + stage * Tile::kv_bytes, Tile::kv_panel));
    wgmma_commit();
    // The denominator, with the sink, meanwhile.
    float factor[2];
    const bool sink = a.sink != nullptr && (a.sink_on == nullptr || a.sink_on[at.p] != 0);
    const float sink_log2 = sink ? a.sink[at.p * a.sink_stride + at.h] * log2_e : -INFINITY;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = rows.sum[r];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const float shift = rows.maximum[r] * scale_log2;
      const float base = fmaxf(shift, sink_log2);
      const float weight = exp2_fast(shift - base);
      sum = sum * weight + exp2_fast(sink_log2 - base);
      factor[r] = weight / sum;
      if (lane % 4 == 0 && row + 8 * r < a.sizes.length) {
        a.lse[at.p * a.lse_stride + (static_cast<std::int64_t>(at.b) * a.sizes.heads + at.h) * a.sizes.length + row +
              8 * r] = (base + log2f(sum)) * 0.6931471805599453f;
      }
    }
    wgmma_wait<0>();
    pin(o);
    if (lane == 0) barrier_arrive(barriers.v_empty(stage));
    named_sync(1 + Tile::groups + group, 128);  // the products of all four warps have read Q
    store_tile(q_shared, Tile::q_panel, o, factor[0], factor[1]);
    fence_async();
    named_sync(1 + Tile::groups + group, 128);
    if (threadIdx.x % 128 == 0) {
#pragma unroll
      for (int panel = 0; panel < Tile::panels; ++panel) {
        store_box(out_map, q_shared + panel * Tile::q_panel, at.h * Tile::dim + panel * 64, at.row + group * 64, at.b,
                  at.p);
      }
      store_wait();
      barrier_arrive(barriers.q_empty(qs));
    }
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, 1)
    forward_kernel(const __grid_constant__ CUtensorMap qkv_map, const __grid_constant__ CUtensorMap out_map,
                   const __grid_constant__ ForwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t start = shared_offset(shared_memory);
  const std::uint32_t shared = (start + 1023) / 1024 * 1024;
  int* slots = reinterpret_cast<int*>(shared_memory + (shared - start) + Tile::slots_at);
  if (threadIdx.x == 0) {
    const Barriers<Tile> barriers{shared + Tile::barriers_at};
    for (int s = 0; s < 2; ++s) {
      barrier_init(barriers.q_full(s), 1);
      barrier_init(barriers.q_empty(s), Tile::groups);
    }
    for (int s = 0; s < Tile::stages; ++s) {
      barrier_init(barriers.k_full(s), 1);
      barrier_init(barriers.k_empty(s), 4 * Tile::groups);
      barrier_init(barriers.v_full(s), 1);
      barrier_init(barriers.v_empty(s), 4 * Tile::groups);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    registers_down<Tile::producer_registers>();
    if (threadIdx.x == 0) produce<Tile>(&qkv_map, a, shared, slots);
  } else {
    registers_up<Tile::consumer_registers>();
    consume<Tile>(&out_map, a, shared, slots);
  }
#endif
}

template <class Tile>
void forward(Context& ctx, const Tensor& qkv, const Tensor& out, ForwardData& a) {
  const Sizes& sizes = a.sizes;
  a.order.tiles = (sizes.length + Tile::rows - 1) / Tile::rows;
  a.order.heads = sizes.trials * sizes.batch * sizes.heads;
  const int shared_by = sizes.heads / sizes.kv_heads;  // query heads that read one K and V
  a.order.together =
      heads_together(std::int64_t{4} * sizes.length * Tile::dim / shared_by + 1, 32 << 20, shared_by, a.order.heads);
  const int blocks = a.order.items() < ctx.gpu->multiprocessors() ? a.order.items() : ctx.gpu->multiprocessors();
  if (!ctx.planning) check(cudaMemsetAsync(a.next, 0, sizeof(int), stream_of(ctx)), "cudaMemsetAsync");
  launch(ctx, forward_kernel<Tile>, dim3(static_cast<unsigned>(blocks)), dim3(Tile::threads), Tile::shared_bytes,
         tensor_map(ctx, qkv), tensor_map(ctx, out), a);
}

}  // namespace

bool hopper_attention_forward(Context& ctx, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                              const Tensor& out, const Tensor& lse) {
  if (!applies(ctx, heads, qkv) || !addressable(out)) return false;
  const ArenaScope scope(ctx.arena);
  ForwardData a{};
  a.sizes = sizes_of(heads, qkv);
  a.lse = lse.trial<float>();
  a.lse_stride = lse.trial_stride();
  a.window = data.window.trial<std::int32_t>();
  a.sink = data.sink.defined() ? data.sink.trial<float>() : nullptr;
  a.sink_stride = data.sink.defined() ? data.sink.trial_stride() : 0;
  a.sink_on = data.sink_on.defined() ? data.sink_on.trial<std::int32_t>() : nullptr;
  a.next = ctx.arena.take<int>(1);
  if (heads.dim == 64) {
    forward<ForwardTile<64, 3>>(ctx, qkv, out, a);
  } else {
    forward<ForwardTile<128, 2>>(ctx, qkv, out, a);
  }
  return true;
}

}  // namespace hylas::kernels::cuda
