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

// Keeps keys `low` < key <= `high` of row r (numbers within the tile, row + 8: + 8); others become -inf.
__device__ __forceinline__ void mask_keys(float (&s)[64], int low, int high) {
  const int column = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int j = 0; j < 16; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = 8 * j + column + e % 2;
      const int shift = e / 2 * 8;
      if (key > high + shift || key <= low + shift) s[4 * j + e] = -INFINITY;
    }
  }
}

// Writes a warpgroup's 64 x columns tile (fragment D, as bf16) to panels `panel_bytes` apart, at row 0 of each.
template <int count>
__device__ __forceinline__ void store_tile(std::uint32_t shared, int panel_bytes, const float (&d)[count],
                                           float factor0, float factor1) {
  const int lane = threadIdx.x % 32;
  const int row = (threadIdx.x / 32) % 4 * 16 + lane % 16;  // matrices 0, 2: rows 0..7; 1, 3: rows 8..15
  const std::uint32_t line = shared + row * 128;
#pragma unroll
  for (int j = 0; j < count / 8; ++j) {  // 16 columns each
    const int chunk = (2 * j) % 8 + lane / 16;
    store_matrix_x4(
        line + (j / 4) * panel_bytes + ((chunk ^ (row % 8)) << 4), pack(d[8 * j] * factor0, d[8 * j + 1] * factor0),
        pack(d[8 * j + 2] * factor1, d[8 * j + 3] * factor1), pack(d[8 * j + 4] * factor0, d[8 * j + 5] * factor0),
        pack(d[8 * j + 6] * factor1, d[8 * j + 7] * factor1));
  }
}

}  // namespace hylas::kernels::cuda::hopper
