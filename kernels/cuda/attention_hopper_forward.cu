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
  Trials which;
  __nv_bfloat16* out;
  float* lse;
  std::int64_t out_stride, lse_stride;
  TrialInts window;
  const float* sink;  // null: no sink
  std::int64_t sink_stride;
  TrialInts sink_on;  // null: on in every trial
  int* next;          // items taken so far beyond the first of each block; zero at the start
};

template <int dim_, int groups_, int stages_, bool turns_>
struct ForwardTile {
  static constexpr int dim = dim_, groups = groups_;
  static constexpr bool turns = turns_;  // warpgroups take turns in starting products
  static constexpr int panels = dim / 64;
  static constexpr int rows = 64 * groups, keys = 128;
  static constexpr int stages = stages_;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int q_bytes = rows * dim * 2, kv_bytes = keys * dim * 2;
  static constexpr int q_panel = rows * 128, kv_panel = keys * 128;
  // Shared memory: Q x 2, K x stages, V x stages, barriers, the items of the two Qs.
  static constexpr int k_at = 2 * q_bytes, v_at = k_at + stages * kv_bytes, barriers_at = v_at + stages * kv_bytes;
  static constexpr int barriers = 4 + 4 * stages;
  static constexpr int slots_at = barriers_at + barriers * 8;
  static constexpr int trials_at = slots_at + 16;                               // their number, then the list
  static constexpr int shared_bytes = trials_at + 16 + 2 * most_trials + 1024;  // 1024: to align the start
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
  __device__ __forceinline__ Place(const ForwardData& a, const Items& items, int item) {
    const Item at = items.order.at(item, true);
    const int sequence = at.head / a.sizes.heads;
    h = at.head - sequence * a.sizes.heads;
    const int trial = sequence / a.sizes.batch;
    p = items.trials[trial];
    b = sequence - trial * a.sizes.batch;
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
__device__ __forceinline__ void produce(const CUtensorMap* map, const ForwardData& a, const Items& items,
                                        std::uint32_t shared, int* slots) {
  const Barriers<Tile> barriers{shared + Tile::barriers_at};
  int item = blockIdx.x;
  int k_count = 0, v_count = 0;
  for (int turn = 0;; ++turn) {
    const int s = turn & 1;
    const int following = item < items.count ? static_cast<int>(gridDim.x) + atomicAdd(a.next, 1) : item;
    barrier_wait(barriers.q_empty(s), ((turn >> 1) & 1) ^ 1);
    if (item >= items.count) {
      slots[s] = -1;
      barrier_arrive(barriers.q_full(s));
      return;
    }
    slots[s] = item;
    const Place<Tile> at(a, items, item);
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

// What an item is to a consumer warpgroup: 64 of its rows, and the key tiles that these see.
template <class Tile>
struct GroupPlace : Place<Tile> {
  int group_row;                // first query of the warpgroup
  int group_first, group_last;  // key tiles, within first..last
  __device__ __forceinline__ GroupPlace(const ForwardData& a, const Items& items, int item, int group)
      : Place<Tile>(a, items, item) {
    group_row = this->row + group * 64;
    const int end = min(group_row + 64, a.sizes.length);
    const bool any = group_row < a.sizes.length;  // else one tile, whose results are not stored
    group_first = any ? max(0, group_row - this->window + 1) / Tile::keys : this->last;
    group_last = any ? (end - 1) / Tile::keys : this->last;
  }
  // Whether some of the warpgroup's rows do not see all keys of the tile.
  __device__ __forceinline__ bool masked(int tile) const {
    return tile * Tile::keys + Tile::keys - 1 > group_row || tile * Tile::keys <= group_row + 63 - this->window;
  }
};

// One of the streams of key or value tiles, as a consumer warp sees it.
template <int stages, int bytes>
struct Stream {
  std::uint32_t tiles, full, empty;  // of stage 0
  int count = 0;                     // tiles taken
  __device__ __forceinline__ std::uint32_t wait() const {
    const int stage = count % stages;
    barrier_wait(full + stage * 8, (count / stages) & 1);
    return tiles + stage * bytes;
  }
  __device__ __forceinline__ void release() {
    if (threadIdx.x % 32 == 0) barrier_arrive(empty + count % stages * 8);
    ++count;
  }
};

// The factors that turn the two rows' sums of products into outputs; writes their lse.
__device__ __forceinline__ void finish_rows(const ForwardData& a, const RowState& rows, int p, int b, int h, int row,
                                            float scale_log2, float (&factor)[2]) {
  const bool sink = a.sink != nullptr && (a.sink_on.data == nullptr || a.sink_on[p] != 0);
  const float sink_log2 = sink ? a.sink[p * a.sink_stride + h] * log2_e : -INFINITY;
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
    if (threadIdx.x % 4 == 0 && row + 8 * r < a.sizes.length) {
      const std::int64_t to = (static_cast<std::int64_t>(b) * a.sizes.heads + h) * a.sizes.length + row + 8 * r;
      a.lse[p * a.lse_stride + to] = (base + log2f(sum)) * 0.6931471805599453f;
    }
  }
}

// A consumer warpgroup. While it stores the output of an item, the first scores of the next one are being computed.
template <class Tile>
__device__ __forceinline__ void consume(const ForwardData& a, const Items& items, std::uint32_t shared,
                                        const int* slots) {
  const Barriers<Tile> barriers{shared + Tile::barriers_at};
  Stream<Tile::stages, Tile::kv_bytes> keys{shared + Tile::k_at, barriers.k_full(0), barriers.k_empty(0)};
  Stream<Tile::stages, Tile::kv_bytes> values{shared + Tile::v_at, barriers.v_full(0), barriers.v_empty(0)};
  const int group = threadIdx.x / 128 - 1;
  const int thread_row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;  // and + 8
  const float scale_log2 = a.sizes.scale * log2_e;
  const auto take_turn = [&] {
    if (Tile::turns) named_sync(1 + group, 256);
  };
  const auto pass_turn = [&] {
    if (Tile::turns) named_arrive(1 + (group + 1) % Tile::groups, 256);
  };
  const auto skip = [&](int tiles) {  // tiles that only other warpgroups' rows see
    for (int i = 0; i < tiles; ++i) {
      take_turn();
      pass_turn();
      keys.wait();
      keys.release();
      values.wait();
      values.release();
    }
  };
  const auto q_of = [&](int turn) { return shared + (turn & 1) * Tile::q_bytes + group * box_bytes; };

  if (group == Tile::groups - 1) pass_turn();
  barrier_wait(barriers.q_full(0), 0);
  int item = slots[0];
  if (item < 0) return;
  GroupPlace<Tile> at(a, items, item, group);
  float s[64];
  skip(at.last - at.group_last);
  wgmma_fence();
  multiply<Tile::dim>(s, k_major(q_of(0)), Tile::q_panel, k_major(keys.wait()), Tile::kv_panel);
  wgmma_commit();
  wgmma_wait<0>();
  pin(s);
  for (int turn = 0; item >= 0; ++turn) {
    float o[Tile::dim / 2];
    std::uint32_t p[32];
    RowState rows{{-INFINITY, -INFINITY}, {0.0f, 0.0f}};
    float alpha[2];
    const int row = at.group_row + thread_row;
    const std::uint64_t q = k_major(q_of(turn));
#pragma unroll
    for (int i = 0; i < Tile::dim / 2; ++i) o[i] = 0.0f;
    const auto to_probabilities = [&](int tile) {
      if (at.masked(tile)) mask_keys(s, row - tile * Tile::keys - at.window, row - tile * Tile::keys);
      softmax(s, rows, alpha, scale_log2);
    };
    const auto pack_probabilities = [&] {
#pragma unroll
      for (int i = 0; i < 32; ++i) p[i] = pack(s[2 * i], s[2 * i + 1]);
    };

    keys.release();
    to_probabilities(at.group_last);
    pack_probabilities();
    for (int tile = at.group_last - 1; tile >= at.group_first; --tile) {
      const std::uint32_t k_shared = keys.wait();
      take_turn();
      pin(o);
      pin(p);
      wgmma_fence();
      multiply<Tile::dim>(s, q, Tile::q_panel, k_major(k_shared), Tile::kv_panel);
      wgmma_commit();
      const std::uint32_t v_shared = values.wait();
      wgmma_fence();
      add_product(o, p, n_major(v_shared, Tile::kv_panel));
      wgmma_commit();
      pass_turn();
      wgmma_wait<1>();
      pin(s);
      keys.release();
      to_probabilities(tile);
      wgmma_wait<0>();
      pin(o);
      pin(p);
      values.release();
      pack_probabilities();
#pragma unroll
      for (int i = 0; i < Tile::dim / 2; ++i) o[i] *= alpha[(i / 2) % 2];
    }
    if (threadIdx.x % 32 == 0) barrier_arrive(barriers.q_empty(turn & 1));  // all scores are there
    const std::uint32_t v_shared = values.wait();
    pin(o);
    pin(p);
    wgmma_fence();
    add_product(o, p, n_major(v_shared, Tile::kv_panel));
    wgmma_commit();
    float factor[2];
    finish_rows(a, rows, at.p, at.b, at.h, row, scale_log2, factor);
    wgmma_wait<0>();
    pin(o);
    values.release();
    skip(at.group_first - at.first);

    const std::int64_t out_row = static_cast<std::int64_t>(a.sizes.heads) * Tile::dim;
    __nv_bfloat16* out = a.out + at.p * a.out_stride +
                         (static_cast<std::int64_t>(at.b) * a.sizes.length + row) * out_row + at.h * Tile::dim;
    const int rows_left = rows_before(row, a.sizes.length);
    barrier_wait(barriers.q_full((turn + 1) & 1), ((turn + 1) >> 1) & 1);
    item = slots[(turn + 1) & 1];
    std::uint32_t k_shared = shared + Tile::k_at;
    if (item >= 0) {
      at = GroupPlace<Tile>(a, items, item, group);
      skip(at.last - at.group_last);
      k_shared = keys.wait();
    }
    // With no item left these scores are of no use, but what is under way is the same on every path.
    wgmma_fence();
    multiply<Tile::dim>(s, k_major(q_of(turn + 1)), Tile::q_panel, k_major(k_shared), Tile::kv_panel);
    wgmma_commit();
    store_rows(out, out_row, rows_left, o, factor);
    wgmma_wait<0>();
    pin(s);
  }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, 1)
    forward_kernel(const __grid_constant__ CUtensorMap qkv_map, const __grid_constant__ ForwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t start = shared_offset(shared_memory);
  const std::uint32_t shared = (start + 1023) / 1024 * 1024;
  unsigned char* memory = shared_memory + (shared - start);
  int* slots = reinterpret_cast<int*>(memory + Tile::slots_at);
  int* selected = reinterpret_cast<int*>(memory + Tile::trials_at);
  std::uint16_t* trials = reinterpret_cast<std::uint16_t*>(memory + Tile::trials_at + 16);
  if (threadIdx.x < 32) {
    select_trials(a.window, a.sizes, a.which, trials, selected);
  } else if (threadIdx.x == 32) {
    const Barriers<Tile> barriers{shared + Tile::barriers_at};
    for (int s = 0; s < 2; ++s) {
      barrier_init(barriers.q_full(s), 1);
      barrier_init(barriers.q_empty(s), 4 * Tile::groups);
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
  const Items items(a.order, trials, *selected, a.sizes);
  if (threadIdx.x < 128) {
    registers_down<Tile::producer_registers>();
    if (threadIdx.x == 0) produce<Tile>(&qkv_map, a, items, shared, slots);
  } else {
    registers_up<Tile::consumer_registers>();
    consume<Tile>(a, items, shared, slots);
  }
#endif
}

template <class Tile>
void forward(Context& ctx, const CUtensorMap& qkv, ForwardData& a) {
  const Sizes& sizes = a.sizes;
  a.order.tiles = (sizes.length + Tile::rows - 1) / Tile::rows;
  a.order.heads = sizes.trials * sizes.batch * sizes.heads;
  const int shared_by = sizes.heads / sizes.kv_heads;  // query heads that read one K and V
  a.order.together =
      heads_together(std::int64_t{4} * sizes.length * Tile::dim / shared_by + 1, 32 << 20, shared_by, a.order.heads);
  const int blocks = a.order.items() < ctx.gpu->multiprocessors() ? a.order.items() : ctx.gpu->multiprocessors();
  if (!ctx.planning) check(cudaMemsetAsync(a.next, 0, sizeof(int), stream_of(ctx)), "cudaMemsetAsync");
  launch(ctx, forward_kernel<Tile>, dim3(static_cast<unsigned>(blocks)), dim3(Tile::threads), Tile::shared_bytes, qkv,
         a);
}

}  // namespace

bool hopper_attention_forward(Context& ctx, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                              const Tensor& out, const Tensor& lse) {
  if (!applies(ctx, heads, qkv) || !addressable(out)) return false;
  if (qkv.trials() > most_trials) {
    bool done = true;
    for (std::int64_t p = 0; done && p < qkv.trials(); p += most_trials) {
      const std::int64_t n = qkv.trials() - p < most_trials ? qkv.trials() - p : most_trials;
      done = hopper_attention_forward(ctx, heads, trials_from(data, p, n), qkv.trials_from(p, n), out.trials_from(p, n),
                                      lse.trials_from(p, n));
    }
    return done;
  }
  const ArenaScope scope(ctx.arena);
  ForwardData a{};
  a.sizes = sizes_of(heads, qkv);
  a.out = static_cast<__nv_bfloat16*>(out.data());
  a.out_stride = out.trial_stride();
  a.lse = lse.trial<float>();
  a.lse_stride = lse.trial_stride();
  a.window = trial_ints(data.window);
  a.sink = data.sink.defined() ? data.sink.trial<float>() : nullptr;
  a.sink_stride = data.sink.defined() ? data.sink.trial_stride() : 0;
  a.sink_on = trial_ints(data.sink_on);
  a.next = ctx.arena.take<int>(1);
  const CUtensorMap map = tensor_map(ctx, qkv);
  if (heads.dim == 64) {
    WindowData w;
    w.sizes = a.sizes;
    w.window = a.window;
    w.out = a.out;
    w.out_stride = a.out_stride;
    w.lse_out = a.lse;
    w.lse_stride = a.lse_stride;
    w.sink = a.sink;
    w.sink_stride = a.sink_stride;
    w.sink_on = a.sink_on;
    window_forward(ctx, w, map);
    a.which = Trials::other;
    forward<ForwardTile<64, 3, 2, true>>(ctx, map, a);
  } else {
    a.which = Trials::all;
    forward<ForwardTile<128, 2, 2, true>>(ctx, map, a);
  }
  return true;
}

}  // namespace hylas::kernels::cuda
