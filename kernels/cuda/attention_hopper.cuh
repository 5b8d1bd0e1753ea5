// What the forward and backward kernels of attention on Hopper share: sizes, the order of tiles, the rows a tile sees,
// masks, and tensor maps. Tiles of qkv, out and their gradients move in boxes of 64 columns x 64 rows (8 KB, one panel
// of kernels/cuda/hopper.cuh), through one 4-D tensor map (column, t, b, p) a tensor.
#pragma once

#include <cstdint>

#include "kernels/attention.hpp"
#include "kernels/cuda/hopper.cuh"

namespace hylas::kernels::cuda::hopper {

inline constexpr int box_rows = 64;
inline constexpr int box_columns = 64;
inline constexpr int box_bytes = box_rows * box_columns * 2;
inline constexpr float log2_e = 1.4426950408889634f;

struct Sizes {
  int trials = 0, batch = 0, length = 0;  // P, B, T
  int heads = 0, kv_heads = 0;            // H, Hkv
  float scale = 0.0f;                     // hd^-1/2
};

// Whether the copy engine can address t: [P, B, T, columns] bf16.
[[nodiscard]] bool addressable(const Tensor& t);
// The map of t, of boxes 64 columns x 64 rows with SWIZZLE_128B; zeros are read outside it. Throws CudaError.
[[nodiscard]] CUtensorMap tensor_map(const Context& ctx, const Tensor& t);
// Whether these kernels apply to a call at all.
[[nodiscard]] bool applies(const Context& ctx, const Heads& heads, const Tensor& qkv);
[[nodiscard]] Sizes sizes_of(const Heads& heads, const Tensor& qkv);
[[nodiscard]] AttentionData trials_from(const AttentionData& data, std::int64_t p, std::int64_t count);

// One tile of one head: `tile` counts tiles from the start of the sequence, `head` is ((p * B) + b) * heads + h.
struct Item {
  int tile, head;
};

// Items are ordered so that the heads at work share the L2 cache (`together` heads at a time), and within these the
// tiles with most work come first: those at the end of the sequence for queries, at its start for keys.
struct ItemOrder {
  int tiles = 0, heads = 0, together = 1;
  [[nodiscard]] __host__ __device__ int items() const { return tiles * heads; }
  [[nodiscard]] __device__ __forceinline__ Item at(int item, bool last_first) const {
    const int set = item / (tiles * together);
    const int rest = item - set * tiles * together;
    const int members = min(together, heads - set * together);
    const int tile = rest / members;
    return {last_first ? tiles - 1 - tile : tile, set * together + (rest - tile * members)};
  }
};

// One number a trial, `stride` apart.
struct TrialInts {
  const std::int32_t* data = nullptr;
  std::int64_t stride = 0;
  __device__ __forceinline__ std::int32_t operator[](int p) const { return data[p * stride]; }
};
[[nodiscard]] inline TrialInts trial_ints(const Tensor& t) {
  return t.defined() ? TrialInts{t.trial<std::int32_t>(), t.trial_stride()} : TrialInts{};
}

inline constexpr int most_trials = 512;    // of one launch
inline constexpr int walked_window = 128;  // windows up to this take the one-pass kernels, head dim 64

// Which trials a kernel is for.
enum class Trials { all, windowed, other };

// Lists the trials for a kernel, in order, and their number; run by one warp.
__device__ __forceinline__ void select_trials(TrialInts window, const Sizes& sizes, Trials which, std::uint16_t* list,
                                              int* count) {
  int found = 0;
  const int lane = threadIdx.x % 32;
  for (int first = 0; first < sizes.trials; first += 32) {
    const int p = first + lane;
    const bool windowed = p < sizes.trials && min(window[p], sizes.length) <= walked_window;
    const bool mine = p < sizes.trials && (which == Trials::all || windowed == (which == Trials::windowed));
    const unsigned mask = __ballot_sync(0xffffffffu, mine);
    if (mine) list[found + __popc(mask & ((1u << lane) - 1))] = static_cast<std::uint16_t>(p);
    found += __popc(mask);
  }
  if (lane == 0) *count = found;
}

// The items of a kernel: all tiles of the heads of its trials.
struct Items {
  ItemOrder order;
  const std::uint16_t* trials;
  int count;
  __device__ __forceinline__ Items(const ItemOrder& all, const std::uint16_t* list, int selected, const Sizes& sizes)
      : order(all), trials(list) {
    order.heads = all.heads / sizes.trials * selected;
    count = order.items();
  }
};

// What the one-pass kernels work on; forward: out .. sink_on; backward: lse_log2 .. rope_on.
struct WindowData {
  Sizes sizes;
  int stretches = 0, stretch_blocks = 0;  // set by the launch
  TrialInts window;
  __nv_bfloat16* out = nullptr;
  float* lse_out = nullptr;
  std::int64_t out_stride = 0, lse_stride = 0, sink_stride = 0;
  const float* sink = nullptr;  // null: no sink
  TrialInts sink_on;
  const float *lse_log2 = nullptr, *delta = nullptr;  // [P * B * H, padded]
  int padded = 0;
  __nv_bfloat16* dqkv = nullptr;
  std::int64_t dqkv_stride = 0;
  const float *cos = nullptr, *sin = nullptr;  // [T, hd/2]; null: no rotation
  TrialInts rope_on;
};

// For the trials with a window of at most walked_window, head dim 64; backward: as many key heads as query heads.
void window_forward(Context& ctx, WindowData a, const CUtensorMap& qkv);
void window_backward(Context& ctx, WindowData a, const CUtensorMap& qkv, const CUtensorMap& dout);

// How many heads work at one time: those whose `bytes` each fit into `budget` together, a multiple of `unit` heads.
[[nodiscard]] inline int heads_together(std::int64_t bytes, std::int64_t budget, int unit, int heads) {
  const std::int64_t fit = budget / (bytes * unit) * unit;
  return static_cast<int>(fit < unit ? unit : fit > heads ? heads : fit);
}

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// s (64 x n) = A B, A (64 x dim) and B (dim x n) k-major in panels.
template <int dim, int count>
__device__ __forceinline__ void multiply(float (&s)[count], std::uint64_t a, int a_panel, std::uint64_t b,
                                         int b_panel) {
  wgmma_first(s, a, b);
#pragma unroll
  for (int i = 1; i < dim / 16; ++i) {
    wgmma(s, advance(a, i / 4 * a_panel + i % 4 * 32), advance(b, i / 4 * b_panel + i % 4 * 32));
  }
}

// d += A B, A (64 x 4 count) from registers, B (4 count x columns) n-major in panels.
template <int columns2, int count>
__device__ __forceinline__ void add_product(float (&d)[columns2], const std::uint32_t (&a)[count], std::uint64_t b) {
#pragma unroll
  for (int i = 0; i < count / 4; ++i) {
    wgmma(d, a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3], advance(b, i * 2048));
  }
}

// d = A B, the same operands, 64 columns.
template <int count>
__device__ __forceinline__ void product(float (&d)[32], const std::uint32_t (&a)[count], std::uint64_t b) {
  wgmma_first(d, a[0], a[1], a[2], a[3], b);
#pragma unroll
  for (int i = 1; i < count / 4; ++i) {
    wgmma(d, a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3], advance(b, i * 2048));
  }
}

// Keeps keys `low` < key <= `high` of row r (numbers within the tile, row + 8: + 8); others become -inf.
template <int count>
__device__ __forceinline__ void mask_keys(float (&s)[count], int low, int high) {
  const int column = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int j = 0; j < count / 4; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = 8 * j + column + e % 2;
      const int shift = e / 2 * 8;
      if (key > high + shift || key <= low + shift) s[4 * j + e] = -INFINITY;
    }
  }
}

// Hands the words v[j] of tile j (8 columns) that the four lanes of a quad hold to lane j of it, in order of lanes.
__device__ __forceinline__ uint4 transpose_quad(const std::uint32_t (&v)[4]) {
  const bool odd = threadIdx.x % 2 != 0, upper = threadIdx.x % 4 >= 2;
  const std::uint32_t a = __shfl_xor_sync(0xffffffffu, odd ? v[0] : v[1], 1);
  const std::uint32_t b = __shfl_xor_sync(0xffffffffu, odd ? v[2] : v[3], 1);
  const std::uint32_t low0 = odd ? a : v[0], low1 = odd ? v[1] : a;    // tile 0 or 1: words of lanes 0, 1 or 2, 3
  const std::uint32_t high0 = odd ? b : v[2], high1 = odd ? v[3] : b;  // tile 2 or 3
  const std::uint32_t c = __shfl_xor_sync(0xffffffffu, upper ? low0 : high0, 2);
  const std::uint32_t d = __shfl_xor_sync(0xffffffffu, upper ? low1 : high1, 2);
  return upper ? make_uint4(c, d, high0, high1) : make_uint4(low0, low1, c, d);
}

// Writes a warpgroup's fragment D of 64 x (2 count) as bf16, row r times factor[r]: `to` is this thread's row at column
// 0, the second one lies 8 * stride elements further; the first `rows` of the two are written. 16 bytes a lane, 64 a
// row.
template <int count>
__device__ __forceinline__ void store_rows(__nv_bfloat16* to, std::int64_t stride, int rows, const float (&d)[count],
                                           const float (&factor)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int j = 0; j < count / 16; ++j) {
      std::uint32_t words[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        words[k] = pack(d[16 * j + 4 * k + 2 * r] * factor[r], d[16 * j + 4 * k + 2 * r + 1] * factor[r]);
      }
      const uint4 line = transpose_quad(words);
      if (r < rows) *reinterpret_cast<uint4*>(to + r * 8 * stride + j * 32 + threadIdx.x % 4 * 8) = line;
    }
  }
}

// How many of the rows `row` and row + 8 lie before `end`.
__device__ __forceinline__ int rows_before(int row, int end) {
  return row + 8 < end ? 2 : row < end ? 1 : 0;
}

// The transposed rotation of a fragment whose rows are the positions row and row + 8.
template <int dim>
__device__ __forceinline__ void rotate_back(float (&d)[dim / 2], const float* cos, const float* sin, int row,
                                            int length) {
  const int column = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const std::int64_t line = static_cast<std::int64_t>(min(row + 8 * r, length - 1)) * (dim / 2) + column;
#pragma unroll
    for (int j = 0; j < dim / 16; ++j) {
      const float2 c = *reinterpret_cast<const float2*>(cos + line + 8 * j);
      const float2 s = *reinterpret_cast<const float2*>(sin + line + 8 * j);
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

// Two neighbouring floats in shared memory.
__device__ __forceinline__ float2 load_pair(std::uint32_t shared) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(shared));
  return v;
}

}  // namespace hylas::kernels::cuda::hopper
