// What the bf16 kernels of the recurrence are made of: where a cell's data lie, operands of a product read from tiles
// in shared memory in either orientation, and the decays of a chunk. Tiles and fragments are those of
// attention_tiles.cuh.
#pragma once

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/recurrence.hpp"

namespace hylas::kernels::cuda {
namespace recurrence {

using attention::Bf16;
using attention::exp2_fast;
using attention::tile_a;
using attention::tile_b;

constexpr int chunk = recurrence_chunk;
// What a cell has of every token: G in units of log2, beta, e^G and e^{G_C - G}.
constexpr int gate_floats = recurrence_gate_floats, beta_at = chunk, from_start_at = 2 * chunk, to_end_at = 3 * chunk;

template <int columns>
__host__ __device__ constexpr int tile_bytes(int rows) {
  return rows * columns * 2;
}

// A head of a sequence of a trial.
struct Head {
  int p, b, h;

  __device__ __forceinline__ Head(const RecurrenceArguments& a, std::int64_t index)
      : p(static_cast<int>(index / a.heads / a.batch)),
        b(static_cast<int>(index / a.heads % a.batch)),
        h(static_cast<int>(index % a.heads)) {}
  __device__ __forceinline__ std::int64_t index(const RecurrenceArguments& a) const {
    return (static_cast<std::int64_t>(p) * a.batch + b) * a.heads + h;
  }
  __device__ __forceinline__ std::int64_t cell(const RecurrenceArguments& a, int c) const {
    return index(a) * a.chunks + c;
  }
  __device__ __forceinline__ int group(const RecurrenceArguments& a) const { return h / (a.heads / a.groups); }
  // Token 0 of the sequence in a tensor with `width` columns.
  template <class T>
  __device__ __forceinline__ auto sequence(const PerTrial<T>& t, const RecurrenceArguments& a,
                                           std::int64_t width) const {
    using Element = std::conditional_t<std::is_const_v<T>, const Bf16, Bf16>;
    return static_cast<Element*>(t.data) + p * t.stride + static_cast<std::int64_t>(b) * a.length * width;
  }
  // Where token 0's gate is in a tensor [P, B, T, H]; tokens lie H apart.
  template <class T>
  __device__ __forceinline__ T* gate(const PerTrial<T>& t, const RecurrenceArguments& a) const {
    return t.data + p * t.stride + static_cast<std::int64_t>(b) * a.length * a.heads + h;
  }
};

// What a cell keeps for backward, and what backward passes on: [V, K] and [V, C] one after the other.
template <int K, int V>
struct CellParts {
  static constexpr std::int64_t states = std::int64_t{V} * K, values = std::int64_t{V} * chunk;
  static __device__ __forceinline__ Bf16* state(void* data, std::int64_t cell) {
    return static_cast<Bf16*>(data) + cell * (states + values);
  }
  static __device__ __forceinline__ Bf16* value(void* data, std::int64_t cell) { return state(data, cell) + states; }
};
template <bool delta>
__device__ __forceinline__ Bf16* scores_of(void* matrices, std::int64_t cell) {  // P
  return static_cast<Bf16*>(matrices) + cell * ((delta ? 2 : 1) * chunk * chunk) + (delta ? chunk * chunk : 0);
}
__device__ __forceinline__ Bf16* inverse_of(void* matrices, std::int64_t cell) {  // Tm
  return static_cast<Bf16*>(matrices) + cell * (2 * chunk * chunk);
}

// As attention::copy_tile, with little arithmetic where all rows are there.
template <int columns, int rows, int threads>
__device__ __forceinline__ void copy_tile(unsigned char* tile, const Bf16* from, std::int64_t pitch, int first,
                                          int end) {
  constexpr int pieces = columns / 8, step = threads / pieces;
  if (first + rows > end) return attention::copy_tile<columns, rows, threads>(tile, from, pitch, first, end);
  const int row = static_cast<int>(threadIdx.x) / pieces, c = static_cast<int>(threadIdx.x) % pieces;
  const Bf16* p = from + (first + row) * pitch + c * 8;
#pragma unroll
  for (int i = 0; i < rows; i += step) {
    copy_async_16(tile + attention::piece<columns>(row + i, c), p);
    p += step * pitch;
  }
}

// ---- operands

// Left operand [m, k] at multiples of 16, from a tile whose rows are m (rows_are_m) or k.
template <int width, bool rows_are_m>
__device__ __forceinline__ void load_left(std::uint32_t (&r)[4], const unsigned char* tile, int m, int k, int lane) {
  if constexpr (rows_are_m) {
    load_matrix_x4(r, tile_a<width>(tile, lane).at(m, k / 16));
  } else {
    load_matrix_x4_transposed(r, tile_b<width>(tile, lane).at(k, m / 16));
  }
}
// Right operands [k, n] of two n8 tiles from n on, at multiples of 16, from a tile whose rows are k or n.
template <int width, bool rows_are_k>
__device__ __forceinline__ void load_right(std::uint32_t (&r)[4], const unsigned char* tile, int k, int n, int lane) {
  if constexpr (rows_are_k) {
    load_matrix_x4_transposed(r, tile_a<width>(tile, lane).at(k, n / 16));
  } else {
    load_matrix_x4(r, tile_b<width>(tile, lane).at(n, k / 16));
  }
}
// c [16, columns] += left [16, 16] times rows (of k) k .. k + 15 of the tile's operand.
template <int width, bool rows_are_k, int tiles>
__device__ __forceinline__ void multiply(float (&c)[tiles][4], const std::uint32_t (&left)[4],
                                         const unsigned char* tile, int k, int lane) {
#pragma unroll
  for (int n = 0; n < tiles; n += 2) {
    std::uint32_t right[4];
    load_right<width, rows_are_k>(right, tile, k, 8 * n, lane);
    mma_16x8x16(c[n], left, right[0], right[1]);
    mma_16x8x16(c[n + 1], left, right[2], right[3]);
  }
}
// The same where the operand is zero but for columns of 16-block `k / 16` and those before (lower) or after it.
template <int width, bool rows_are_k, bool lower, int tiles>
__device__ __forceinline__ void multiply_triangle(float (&c)[tiles][4], const std::uint32_t (&left)[4],
                                                  const unsigned char* tile, int k, int lane) {
#pragma unroll
  for (int n = 0; n < tiles; n += 2) {
    if (lower ? 8 * n > k : 8 * n < k) continue;
    std::uint32_t right[4];
    load_right<width, rows_are_k>(right, tile, k, 8 * n, lane);
    mma_16x8x16(c[n], left, right[0], right[1]);
    mma_16x8x16(c[n + 1], left, right[2], right[3]);
  }
}

template <int tiles>
__device__ __forceinline__ void clear(float (&c)[tiles][4]) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) c[n][e] = 0;
  }
}
// Columns 16 step .. + 15 of a result as the left operand of the next product.
template <int tiles>
__device__ __forceinline__ void as_left(std::uint32_t (&left)[4], const float (&c)[tiles][4], int step) {
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float* pair = c[2 * step + e / 2] + 2 * (e % 2);
    left[e] = pack_bf16(pair[0], pair[1]);
  }
}
// Columns k .. k + 15 of a left operand, each times scale factor[column].
__device__ __forceinline__ void scale_columns(std::uint32_t (&left)[4], const float* factor, float scale, int k,
                                              int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float2 f = *reinterpret_cast<const float2*>(factor + k + 8 * half + 2 * (lane % 4));
    f.x *= scale, f.y *= scale;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float2 x = unpack_bf16(left[2 * half + row]);
      left[2 * half + row] = pack_bf16(x.x * f.x, x.y * f.y);
    }
  }
}
// Two neighbouring elements of a tile.
template <int width>
__device__ __forceinline__ std::uint32_t* pair_at(unsigned char* tile, int row, int column) {
  return reinterpret_cast<std::uint32_t*>(tile + attention::piece<width>(row, column / 8) + 2 * (column % 8));
}
// Result [16, columns] to a tile with rows first .. first + 15.
template <int width, int tiles>
__device__ __forceinline__ void to_tile(unsigned char* tile, const float (&c)[tiles][4], int first, int lane) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
    const int column = 8 * n + 2 * (lane % 4);
    *pair_at<width>(tile, first + lane / 4, column) = pack_bf16(c[n][0], c[n][1]);
    *pair_at<width>(tile, first + lane / 4 + 8, column) = pack_bf16(c[n][2], c[n][3]);
  }
}
// Result [16, 8 tiles] to rows row_g (of this lane's first row) and 8 below it, where the flags say so.
template <int tiles>
__device__ __forceinline__ void to_rows(Bf16* row_g, bool write_g, Bf16* row_g8, bool write_g8,
                                        const float (&c)[tiles][4], int lane) {
#pragma unroll
  for (int n = 0; n < tiles; n += 4) {
    float four[4][4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) four[j][e] = c[n + j][e];
    }
    attention::store_four_tiles(four, row_g, write_g, row_g8, write_g8, 8 * (n + lane % 4), lane);
  }
}

// ---- decays

// e^{G_i - G_j} from G in units of log2, i >= j.
__device__ __forceinline__ float decay(float gi, float gj) {
  return exp2_fast(fminf(gi - gj, 0.0F));
}
// x D_ij: x may be anything, infinite as well, where j is not visible from i.
__device__ __forceinline__ float decayed(float x, float gi, float gj, bool visible) {
  return visible ? x * decay(gi, gj) : 0.0F;
}

// The sum over the four lanes that share a row of a result.
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffU, x, 1);
  return x + __shfl_xor_sync(0xffffffffU, x, 2);
}

}  // namespace recurrence
}  // namespace hylas::kernels::cuda
