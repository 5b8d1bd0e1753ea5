// Attention on Hopper for trials whose window is at most 128, head dim 64: one pass that reads and writes every tensor
// once. Each of a block's two warpgroups walks along a stretch of one head on its own, in steps of 64 positions; a warp
// of the producer warpgroup brings its tiles.
//
// Forward: at query block i the keys of blocks i-2, i-1, i are all that is seen: 192 scores a row in registers, one
// softmax. Backward: at key block j the query blocks j, j+1, j+2 are all that see it: dK and dV of block j complete
// within the step; dQ of a block is done at the step of its own number, after those of the two blocks before, and is
// carried in registers. A stretch that does not start the sequence begins two blocks early. The sums have one order
// however it is cut. dS^T = (keys x queries) is the left operand of dK in registers, and, through shared memory,
// transposed that of dQ.
#include <cuda_runtime.h>

#include <type_traits>

#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda::hopper {

namespace {

constexpr int dim = 64, block = 64;    // positions a step
constexpr int tile_bytes = box_bytes;  // 64 x 64 bf16
constexpr int threads = 384;
constexpr int consumer_registers = 240, producer_registers = 24;

// A stretch of one head.
struct Walk {
  int p, b, h, kv;
  int window;
  int first;       // the first key block
  int begin, end;  // blocks whose results are stored
  __device__ __forceinline__ Walk(const WindowData& a, const std::uint16_t* trials, int item) {
    const int head = item / a.stretches;
    const int stretch = item - head * a.stretches;
    const int sequence = head / a.sizes.heads;
    const int trial = sequence / a.sizes.batch;
    h = head - sequence * a.sizes.heads;
    b = sequence - trial * a.sizes.batch;
    p = trials[trial];
    kv = h / (a.sizes.heads / a.sizes.kv_heads);
    window = min(max(a.window[p], 1), a.sizes.length);
    begin = stretch * a.stretch_blocks;
    end = min(begin + a.stretch_blocks, (a.sizes.length + block - 1) / block);
    first = max(0, begin - 2);
  }
};

// A ring of tiles in shared memory, with a barrier each for full and empty; a position is a count of tiles from the
// start.
template <int stages, int bytes>
struct Ring {
  std::uint32_t tiles, barriers;
  __device__ __forceinline__ std::uint32_t tile(int at) const { return tiles + at % stages * bytes; }
  __device__ __forceinline__ std::uint32_t full(int at) const { return barriers + at % stages * 16; }
  __device__ __forceinline__ std::uint32_t empty(int at) const { return full(at) + 8; }
  __device__ __forceinline__ void init() const {
    for (int s = 0; s < stages; ++s) {
      barrier_init(full(s), 1);
      barrier_init(empty(s), 4);
    }
  }
  __device__ __forceinline__ void wait_full(int at) const { barrier_wait(full(at), at / stages & 1); }
  __device__ __forceinline__ void wait_empty(int at) const { barrier_wait(empty(at), (at / stages & 1) ^ 1); }
  __device__ __forceinline__ void release(int at) const {  // once a warp
    if (threadIdx.x % 32 == 0) barrier_arrive(empty(at));
  }
};

// ---- forward -------------------------------------------------------------------------------------------------------

struct ForwardMemory {
  static constexpr int kv_stages = 6, q_stages = 2;
  static constexpr int group_bytes = (2 * kv_stages + q_stages) * tile_bytes;
  static constexpr int barriers_at = 2 * group_bytes;
  static constexpr int barrier_bytes = 16 * (kv_stages + q_stages);  // of a warpgroup
  static constexpr int trials_at = barriers_at + 2 * barrier_bytes;
  static constexpr int shared_bytes = trials_at + 2 * most_trials + 16 + 1024;
  Ring<kv_stages, 2 * tile_bytes> kv;  // K, V
  Ring<q_stages, tile_bytes> q;
  __device__ __forceinline__ ForwardMemory(std::uint32_t shared, int group)
      : kv{shared + group * group_bytes, shared + barriers_at + group * barrier_bytes},
        q{kv.tiles + kv_stages * 2 * tile_bytes, kv.barriers + 16 * kv_stages} {}
};
static_assert(ForwardMemory::shared_bytes <= 232448);

__device__ __forceinline__ void produce_forward(const CUtensorMap* map, const WindowData& a,
                                                const std::uint16_t* trials, int items, const ForwardMemory& memory,
                                                int item) {
  int kv_count = 0, q_count = 0;
  for (; item < items; item += 2 * static_cast<int>(gridDim.x)) {
    const Walk at(a, trials, item);
    const int k_column = (a.sizes.heads + at.kv) * dim, v_column = k_column + a.sizes.kv_heads * dim;
    for (int i = at.first; i < at.end; ++i) {
      memory.kv.wait_empty(kv_count);
      const std::uint32_t full = memory.kv.full(kv_count), tile = memory.kv.tile(kv_count);
      barrier_arrive_expect(full, 2 * tile_bytes);
      load_box(tile, map, full, k_column, i * block, at.b, at.p);
      load_box(tile + tile_bytes, map, full, v_column, i * block, at.b, at.p);
      ++kv_count;
      if (i < at.begin) continue;
      memory.q.wait_empty(q_count);
      barrier_arrive_expect(memory.q.full(q_count), tile_bytes);
      load_box(memory.q.tile(q_count), map, memory.q.full(q_count), at.h * dim, i * block, at.b, at.p);
      ++q_count;
    }
  }
}

// Scores of two rows to probabilities, not yet divided by their sum; the maximum is that of the scaled scores, base 2.
__device__ __forceinline__ void softmax_192(float (&s)[3][32], float (&maximum)[2], float (&sum)[2], float scale_log2) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = -INFINITY;
#pragma unroll
    for (int k = 0; k < 3; ++k) {
#pragma unroll
      for (int j = 0; j < 8; ++j) most = fmaxf(most, fmaxf(s[k][4 * j + 2 * r], s[k][4 * j + 2 * r + 1]));
    }
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    maximum[r] = most * scale_log2;
    float total = 0.0f;
#pragma unroll
    for (int k = 0; k < 3; ++k) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& x = s[k][4 * j + 2 * r + e];
          x = exp2_fast(fmaf(x, scale_log2, -maximum[r]));
          total += x;
        }
      }
    }
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    sum[r] = total;
  }
}

__device__ __forceinline__ void consume_forward(const WindowData& a, const std::uint16_t* trials, int items,
                                                const ForwardMemory& memory, int item) {
  if (item >= items) return;
  const int thread_row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;  // and + 8
  const float scale_log2 = a.sizes.scale * log2_e;
  const std::int64_t out_row = static_cast<std::int64_t>(a.sizes.heads) * dim;
  Walk at(a, trials, item);
  int i = at.begin;
  int start = 0;    // where in the ring the item's first key block is
  int q_count = 0;  // query blocks done
  float s[3][32];
  // Scores of block i with the keys of blocks i-2, i-1, i (before the first one: again with the first; they are
  // masked).
  const auto ring_at = [&](int key_block) { return start + max(key_block, at.first) - at.first; };
  const auto start_scores = [&] {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      multiply<dim>(s[k], k_major(memory.q.tile(q_count)), 0, k_major(memory.kv.tile(ring_at(i - 2 + k))), 0);
    }
    wgmma_commit();
  };
  for (int key_block = at.first; key_block <= i; ++key_block) memory.kv.wait_full(ring_at(key_block));
  memory.q.wait_full(q_count);
  start_scores();
  bool more = true;
  while (more) {
    wgmma_wait<0>();
    pin(s[0]);
    pin(s[1]);
    pin(s[2]);
    memory.q.release(q_count++);
    {
      const int row = i * block + thread_row;
      const int low = max(row - at.window, -1);  // keys low < key <= row; row + 8: low8 .. row + 8
      const int low8 = max(row + 8 - at.window, -1);
      const int column = (i - 2) * block + 2 * (threadIdx.x % 4);
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        if (k == 1 && at.window >= 128 && i > 0) continue;  // all of the block before is seen
#pragma unroll
        for (int j = 0; j < 8; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int key = column + k * block + 8 * j + e % 2;
            const bool seen =
                k == 2 ? key <= row + e / 2 * 8 && key > (e / 2 ? low8 : low) : key > (e / 2 ? low8 : low);
            if (!seen) s[k][4 * j + e] = -INFINITY;
          }
        }
      }
    }
    float maximum[2], sum[2];
    softmax_192(s, maximum, sum, scale_log2);
    std::uint32_t p[3][16];
#pragma unroll
    for (int k = 0; k < 3; ++k) {
#pragma unroll
      for (int j = 0; j < 16; ++j) p[k][j] = pack(s[k][2 * j], s[k][2 * j + 1]);
      pin(p[k]);
    }
    float o[32];
#pragma unroll
    for (int j = 0; j < 32; ++j) o[j] = 0.0f;
    pin(o);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 3; ++k) add_product(o, p[k], n_major(memory.kv.tile(ring_at(i - 2 + k)) + tile_bytes, 0));
    wgmma_commit();

    // What this block still needs; then on to the next one.
    const int row = i * block + thread_row;
    const std::int64_t position = static_cast<std::int64_t>(at.b) * a.sizes.length + row;
    __nv_bfloat16* out = a.out + at.p * a.out_stride + position * out_row + at.h * dim;
    float* lse = a.lse_out + at.p * a.lse_stride +
                 (static_cast<std::int64_t>(at.b) * a.sizes.heads + at.h) * a.sizes.length + row;
    const int rows = rows_before(row, a.sizes.length);
    const bool sink = a.sink != nullptr && (a.sink_on.data == nullptr || a.sink_on[at.p] != 0);
    const float sink_log2 = sink ? a.sink[at.p * a.sink_stride + at.h] * log2_e : -INFINITY;
    const bool last = i + 1 == at.end;
    const int done_from = ring_at(i - 2), done_to = last ? ring_at(i) : i - 2 >= at.first ? done_from : done_from - 1;
    ++i;
    if (last) {
      item += 2 * static_cast<int>(gridDim.x);
      more = item < items;
      start = done_to + 1;
      if (more) {
        at = Walk(a, trials, item);
        i = at.begin;
        for (int key_block = at.first; key_block < i; ++key_block) memory.kv.wait_full(ring_at(key_block));
      }
    }
    if (more) {
      memory.kv.wait_full(ring_at(i));
      memory.q.wait_full(q_count);
    }
    start_scores();  // with nothing left, of no use: what is under way is the same on every path
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float base = fmaxf(maximum[r], sink_log2);
      const float weight = exp2_fast(maximum[r] - base);
      const float total = sum[r] * weight + exp2_fast(sink_log2 - base);
      factor[r] = weight / total;
      if (threadIdx.x % 4 == 0 && r < rows) lse[8 * r] = (base + log2f(total)) * 0.6931471805599453f;
    }
    wgmma_wait<1>();
    pin(o);
#pragma unroll
    for (int k = 0; k < 3; ++k) pin(p[k]);
    for (int done = done_from; done <= done_to; ++done) memory.kv.release(done);
    store_rows(out, out_row, rows, o, factor);
  }
  wgmma_wait<0>();
}

// ---- backward ------------------------------------------------------------------------------------------------------

struct BackwardMemory {
  static constexpr int kv_stages = 2, q_stages = 4;
  static constexpr int statistics_bytes = block * 4;  // lse, delta: each
  static constexpr int ds_at = (2 * kv_stages + 2 * q_stages) * tile_bytes;
  static constexpr int group_bytes = ds_at + tile_bytes;
  static constexpr int statistics_at = 2 * group_bytes;
  static constexpr int group_statistics = q_stages * 2 * statistics_bytes;
  static constexpr int barriers_at = statistics_at + 2 * group_statistics;
  static constexpr int barrier_bytes = 16 * (kv_stages + q_stages);  // of a warpgroup
  static constexpr int trials_at = barriers_at + 2 * barrier_bytes;
  static constexpr int shared_bytes = trials_at + 2 * most_trials + 16 + 1024;
  Ring<kv_stages, 2 * tile_bytes> kv;  // K, V
  Ring<q_stages, 2 * tile_bytes> q;    // Q, dO
  std::uint32_t ds, statistics_start;
  __device__ __forceinline__ BackwardMemory(std::uint32_t shared, int group)
      : kv{shared + group * group_bytes, shared + barriers_at + group * barrier_bytes},
        q{kv.tiles + kv_stages * 2 * tile_bytes, kv.barriers + 16 * kv_stages},
        ds(shared + group * group_bytes + ds_at),
        statistics_start(shared + statistics_at + group * group_statistics) {}
  __device__ __forceinline__ std::uint32_t statistics(int at) const {
    return statistics_start + at % q_stages * 2 * statistics_bytes;
  }
};
static_assert(BackwardMemory::shared_bytes <= 232448);

__device__ __forceinline__ void produce_backward(const CUtensorMap* qkv, const CUtensorMap* dout, const WindowData& a,
                                                 const std::uint16_t* trials, int items, const BackwardMemory& memory,
                                                 int item) {
  int kv_count = 0, q_count = 0;
  for (; item < items; item += 2 * static_cast<int>(gridDim.x)) {
    const Walk at(a, trials, item);
    const int k_column = (a.sizes.heads + at.kv) * dim, v_column = k_column + a.sizes.kv_heads * dim;
    const std::int64_t head =
        ((static_cast<std::int64_t>(at.p) * a.sizes.batch + at.b) * a.sizes.heads + at.h) * a.padded;
    int i = at.first;
    for (int j = at.first; j < at.end; ++j) {
      memory.kv.wait_empty(kv_count);
      const std::uint32_t full = memory.kv.full(kv_count), tile = memory.kv.tile(kv_count);
      barrier_arrive_expect(full, 2 * tile_bytes);
      load_box(tile, qkv, full, k_column, j * block, at.b, at.p);
      load_box(tile + tile_bytes, qkv, full, v_column, j * block, at.b, at.p);
      ++kv_count;
      for (; i <= j + 2; ++i) {
        memory.q.wait_empty(q_count);
        const std::uint32_t q_full = memory.q.full(q_count), q_tile = memory.q.tile(q_count);
        barrier_arrive_expect(q_full, 2 * tile_bytes + 2 * memory.statistics_bytes);
        load_box(q_tile, qkv, q_full, at.h * dim, i * block, at.b, at.p);
        load_box(q_tile + tile_bytes, dout, q_full, at.h * dim, i * block, at.b, at.p);
        const std::int64_t from = head + min(i * block, a.padded - block);  // beyond T all is masked
        load_bytes(memory.statistics(q_count), a.lse_log2 + from, memory.statistics_bytes, q_full);
        load_bytes(memory.statistics(q_count) + memory.statistics_bytes, a.delta + from, memory.statistics_bytes,
                   q_full);
        ++q_count;
      }
    }
  }
}

__device__ __forceinline__ void consume_backward(const WindowData& a, const std::uint16_t* trials, int items,
                                                 const BackwardMemory& memory, int item) {
  const int lane = threadIdx.x % 32;
  const int group = threadIdx.x / 128 - 1;
  const int thread_row = threadIdx.x % 128 / 32 * 16 + lane / 4;  // and + 8
  const float scale_log2 = a.sizes.scale * log2_e;
  const float scale[2] = {a.sizes.scale, a.sizes.scale}, one[2] = {1.0f, 1.0f};
  const std::int64_t stride = static_cast<std::int64_t>(a.sizes.heads + 2 * a.sizes.kv_heads) * dim;
  int kv_at = 0, q_at = 0;  // ring positions of key block j and query block j
  for (; item < items; item += 2 * static_cast<int>(gridDim.x)) {
    const Walk at(a, trials, item);
    const int first = at.first, begin = at.begin, end = at.end, window = at.window;
    const bool rotated = a.cos != nullptr && a.rope_on[at.p] != 0;
    // Columns of q, of as many k heads and of v follow one another: from dQ to dK and dV it is heads * dim columns
    // each.
    __nv_bfloat16* gradient = a.dqkv + at.p * a.dqkv_stride + at.b * a.sizes.length * stride + at.h * dim;
    float dk[32], dv[32], dq_even[32], dq_odd[32];
    float s[32], dp[32];
    std::uint32_t p_bits[16], ds_bits[16];
#pragma unroll
    for (int n = 0; n < 32; ++n) dq_even[n] = dq_odd[n] = 0.0f;
#pragma unroll
    for (int n = 0; n < 16; ++n) p_bits[n] = ds_bits[n] = 0;

    const auto store = [&](float(&d)[32], int j, int heads_on, bool rotate, const float(&factor)[2]) {
      const int row = j * block + thread_row;
      if (rotate) rotate_back<dim>(d, a.cos, a.sin, row, a.sizes.length);
      store_rows(gradient + row * stride + heads_on * a.sizes.heads * dim, stride, rows_before(row, a.sizes.length), d,
                 factor);
    };
    // Key block j with query block j + ahead, whose dQ is `dq`. `finish` runs when the products of the pair before are
    // done, while this pair's first ones are under way.
    const auto pair = [&](int j, auto which, float(&dq)[32], auto finish) {
      constexpr int ahead = decltype(which)::value;
      const std::uint32_t k = memory.kv.tile(kv_at), v = k + tile_bytes;
      const std::uint32_t q = memory.q.tile(q_at + ahead), dout = q + tile_bytes;
      if (ahead == 0) memory.kv.wait_full(kv_at);
      memory.q.wait_full(q_at + ahead);
      wgmma_wait<0>();
      pin(ds_bits);
      finish();
      wgmma_fence();
      multiply<dim>(s, k_major(k), 0, k_major(q), 0);
      wgmma_commit();
      wgmma_fence();
      multiply<dim>(dp, k_major(v), 0, k_major(dout), 0);
      wgmma_commit();
      wgmma_wait<1>();  // S^T is there
      pin(s);
      const int first_query = (j + ahead) * block;
      // Queries low <= query < high see this thread's key; for key + 8 both are 8 more, within the sequence.
      const int low = thread_row - ahead * block, high = low + window, sequence_end = a.sizes.length - first_query;
      if (ahead != 1 || window < 128 || sequence_end < block) {
        const int column = 2 * (lane % 4);
#pragma unroll
        for (int n = 0; n < 8; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int query = 8 * n + column + e % 2, more = e / 2 * 8;
            if (query < low + more || query >= high + more || query >= sequence_end) s[4 * n + e] = -INFINITY;
          }
        }
      }
      const std::uint32_t statistics = memory.statistics(q_at + ahead) + 8 * (lane % 4);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const float2 lse = load_pair(statistics + 32 * n);
        s[4 * n] = exp2_fast(fmaf(s[4 * n], scale_log2, -lse.x));
        s[4 * n + 1] = exp2_fast(fmaf(s[4 * n + 1], scale_log2, -lse.y));
        s[4 * n + 2] = exp2_fast(fmaf(s[4 * n + 2], scale_log2, -lse.x));
        s[4 * n + 3] = exp2_fast(fmaf(s[4 * n + 3], scale_log2, -lse.y));
        p_bits[2 * n] = pack(s[4 * n], s[4 * n + 1]);
        p_bits[2 * n + 1] = pack(s[4 * n + 2], s[4 * n + 3]);
      }
      pin(p_bits);
      wgmma_fence();
      if constexpr (ahead == 0) {
        product(dv, p_bits, n_major(dout, 0));
      } else {
        add_product(dv, p_bits, n_major(dout, 0));
      }
      wgmma_commit();
      wgmma_wait<0>();  // dP^T is there, and dV done: its operand's registers are free
      pin(dp);
      pin(p_bits);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const float2 delta = load_pair(statistics + memory.statistics_bytes + 32 * n);
        ds_bits[2 * n] = pack(s[4 * n] * (dp[4 * n] - delta.x), s[4 * n + 1] * (dp[4 * n + 1] - delta.y));
        ds_bits[2 * n + 1] = pack(s[4 * n + 2] * (dp[4 * n + 2] - delta.x), s[4 * n + 3] * (dp[4 * n + 3] - delta.y));
      }
      pin(ds_bits);
      const int row = thread_row - lane / 4 + lane % 16;
      named_sync(1 + group, 128);  // the products of all four warps have read dS of the pair before
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        store_matrix_x4(memory.ds + row * 128 + (((2 * n + lane / 16) ^ (row % 8)) << 4), ds_bits[4 * n],
                        ds_bits[4 * n + 1], ds_bits[4 * n + 2], ds_bits[4 * n + 3]);
      }
      fence_async();
      named_sync(1 + group, 128);
      wgmma_fence();
      if constexpr (ahead == 0) {
        product(dk, ds_bits, n_major(q, 0));
      } else {
        add_product(dk, ds_bits, n_major(q, 0));
      }
      wgmma_fence();
      const std::uint64_t left = n_major(memory.ds, 0), right = n_major(k, 0);
      if constexpr (ahead == 2) {
        wgmma_mn_first(dq, left, right);
      } else {
        wgmma_mn(dq, left, right);
      }
#pragma unroll
      for (int n = 1; n < 4; ++n) wgmma_mn(dq, advance(left, n * 2048), advance(right, n * 2048));
      wgmma_commit();
    };

    const auto step = [&](int j, float(&dq0)[32], float(&dq1)[32]) {  // of query blocks j, then j + 2; of j + 1
      const bool stored = j >= begin;
      pair(j, std::integral_constant<int, 0>(), dq0, [] {});
      pair(j, std::integral_constant<int, 1>(), dq1, [&] {  // dQ of block j is complete
        memory.q.release(q_at);
        pin(dq0);
        if (stored) store(dq0, j, 0, rotated, scale);
      });
      pair(j, std::integral_constant<int, 2>(), dq0, [] {});
      wgmma_wait<0>();
      pin(ds_bits);
      memory.kv.release(kv_at);
      pin(dk);
      pin(dv);
      pin(dq0);
      if (stored) {
        store(dk, j, 1, rotated, scale);
        store(dv, j, 2, false, one);
      }
      ++kv_at;
      ++q_at;
    };
    for (int j = first; j < end; j += 2) {
      step(j, dq_even, dq_odd);
      if (j + 1 < end) step(j + 1, dq_odd, dq_even);
    }
    memory.q.release(q_at);
    memory.q.release(q_at + 1);
    q_at += 2;
  }
}

// ---- kernels -------------------------------------------------------------------------------------------------------

template <class Memory, bool forward>
__global__ void __launch_bounds__(threads, 1)
    window_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap dout,
                  const __grid_constant__ WindowData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t begin = shared_offset(shared_memory);
  const std::uint32_t shared = (begin + 1023) / 1024 * 1024;
  unsigned char* memory_start = shared_memory + (shared - begin);
  std::uint16_t* trials = reinterpret_cast<std::uint16_t*>(memory_start + Memory::trials_at);
  int* count = reinterpret_cast<int*>(memory_start + Memory::trials_at + 2 * most_trials);
  if (threadIdx.x < 32) {
    select_trials(a.window, a.sizes, Trials::windowed, trials, count);
  } else if (threadIdx.x == 32) {
    for (int group = 0; group < 2; ++group) {
      const Memory memory(shared, group);
      memory.kv.init();
      memory.q.init();
    }
    barrier_init_fence();
  }
  __syncthreads();
  const int items = *count * a.sizes.batch * a.sizes.heads * a.stretches;
  if (threadIdx.x < 128) {
    registers_down<producer_registers>();
    if (threadIdx.x < 64 && threadIdx.x % 32 == 0) {
      const int group = threadIdx.x / 32;
      const int item = 2 * static_cast<int>(blockIdx.x) + group;
      if constexpr (forward) {
        produce_forward(&qkv, a, trials, items, Memory(shared, group), item);
      } else {
        produce_backward(&qkv, &dout, a, trials, items, Memory(shared, group), item);
      }
    }
  } else {
    registers_up<consumer_registers>();
    const int group = threadIdx.x / 128 - 1;
    const int item = 2 * static_cast<int>(blockIdx.x) + group;
    if constexpr (forward) {
      consume_forward(a, trials, items, Memory(shared, group), item);
    } else {
      consume_backward(a, trials, items, Memory(shared, group), item);
    }
  }
#endif
}

// Cuts the sequences so that the warpgroups at work finish together, were all trials of this kind; returns the blocks.
int plan(const Context& ctx, WindowData& a) {
  const int blocks = (a.sizes.length + block - 1) / block;
  const std::int64_t heads = std::int64_t{a.sizes.trials} * a.sizes.batch * a.sizes.heads;
  const std::int64_t walkers = 2 * ctx.gpu->multiprocessors();
  std::int64_t least = 0;
  for (int stretches = 1; stretches <= blocks && stretches <= 16; ++stretches) {
    const int length = (blocks + stretches - 1) / stretches;
    const std::int64_t time = (heads * stretches + walkers - 1) / walkers * (length + (stretches > 1 ? 2 : 0) + 1);
    if (least != 0 && time >= least) continue;
    least = time;
    a.stretch_blocks = length;
    a.stretches = (blocks + length - 1) / length;
  }
  const std::int64_t items = heads * a.stretches;
  return static_cast<int>(items < walkers ? (items + 1) / 2 : walkers / 2);
}

}  // namespace

void window_forward(Context& ctx, WindowData a, const CUtensorMap& qkv) {
  const int blocks = plan(ctx, a);
  launch(ctx, window_kernel<ForwardMemory, true>, dim3(static_cast<unsigned>(blocks)), dim3(threads),
         ForwardMemory::shared_bytes, qkv, qkv, a);
}

void window_backward(Context& ctx, WindowData a, const CUtensorMap& qkv, const CUtensorMap& dout) {
  const int blocks = plan(ctx, a);
  launch(ctx, window_kernel<BackwardMemory, false>, dim3(static_cast<unsigned>(blocks)), dim3(threads),
         BackwardMemory::shared_bytes, qkv, dout, a);
}

}  // namespace hylas::kernels::cuda::hopper
