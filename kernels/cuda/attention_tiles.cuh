// Tiles of bf16 in shared memory, fragments of mma m16n8k16, and rows of an accumulator on their way to memory: what
// the bf16 attention kernels are made of.
//
// A tile is rows x hd, row-major, in pieces of 16 bytes. Piece c of row r lies where piece c ^ key(r) would, so that
// the eight rows that an ldmatrix reads at once lie in different banks (hd 64 and 128: key = r mod 8; hd 32, where two
// rows share 128 bytes: key = r / 2 mod 4).
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/mma.cuh"

namespace hylas::kernels::cuda::attention {

using Bf16 = __nv_bfloat16;

__device__ __forceinline__ float exp2_fast(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

constexpr float log2_e = 1.4426950408889634F;
constexpr float ln_2 = 0.6931471805599453F;

template <class T>
__device__ __forceinline__ T* trial(const PerTrial<T>& t, int p) {
  return t.data + p * t.stride;
}
// Trial p of untyped bf16 data.
__device__ __forceinline__ const Bf16* trial_bf16(const PerTrial<const void>& t, int p) {
  return static_cast<const Bf16*>(t.data) + p * t.stride;
}
__device__ __forceinline__ Bf16* trial_bf16(const PerTrial<void>& t, int p) {
  return static_cast<Bf16*>(t.data) + p * t.stride;
}

// Where query head h of sequence b of trial p lies in a [P, B, H, ...] array.
__device__ __forceinline__ std::int64_t head_index(const AttentionShape& s, int p, int b, int h) {
  return (static_cast<std::int64_t>(p) * s.batch + b) * s.heads + h;
}

__device__ __forceinline__ bool sink_is_on(const AttentionShape& s, int p) {
  return s.sink.data != nullptr && (s.sink_on.data == nullptr || *trial(s.sink_on, p) != 0);
}
__device__ __forceinline__ int window_of(const AttentionShape& s, int p) {
  return max(1, min(*trial(s.window, p), s.length));
}

// ---- tiles

template <int hd>
__device__ __forceinline__ int swizzle(int row) {
  static_assert(hd == 32 || hd % 64 == 0);
  return hd == 32 ? (row >> 1) & 3 : row & 7;
}
// Bytes from the start of a tile to piece c of row r.
template <int hd>
__device__ __forceinline__ int piece(int row, int c) {
  return row * (hd * 2) + ((c ^ swizzle<hd>(row)) << 4);
}

// A lane's share of an ldmatrix in a tile: rows first + lane_row, pieces 2 k + lane_piece; first is a multiple of 16.
template <int hd>
class LaneTile {
 public:
  __device__ __forceinline__ LaneTile(const unsigned char* tile, int lane_row, int lane_piece)
      : tile_(tile), offset_(piece<hd>(lane_row, lane_piece)) {}
  __device__ __forceinline__ const void* at(int first_row, int k) const {
    return tile_ + (first_row * (hd * 2) + (offset_ ^ (k << 5)));
  }

 private:
  const unsigned char* tile_;
  int offset_;
};
// A [m, k] from a tile whose rows are m: r = a. Also, transposed, B [k, n] from a tile whose rows are k: the first two
// registers are n 0..7, the others n 8..15.
template <int hd>
__device__ __forceinline__ LaneTile<hd> tile_a(const unsigned char* tile, int lane) {
  return LaneTile<hd>(tile, lane & 15, lane >> 4);
}
// B [k, n] from a tile whose rows are n: registers 0, 1 are n 0..7, registers 2, 3 n 8..15. Also, transposed, A [m, k]
// from a tile whose rows are k.
template <int hd>
__device__ __forceinline__ LaneTile<hd> tile_b(const unsigned char* tile, int lane) {
  return LaneTile<hd>(tile, (lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
}

// Rows first .. first + rows - 1 of a matrix with `pitch` elements a row to a tile, zeros from row `end` on. All
// threads of the block; first < end.
template <int hd, int rows, int threads>
__device__ __forceinline__ void copy_tile(unsigned char* tile, const Bf16* from, std::int64_t pitch, int first,
                                          int end) {
  constexpr int pieces = hd / 8;
  constexpr int step = threads / pieces;
  static_assert(threads % pieces == 0 && rows % step == 0);
  const int row = static_cast<int>(threadIdx.x) / pieces;
  const int c = static_cast<int>(threadIdx.x) % pieces;
#pragma unroll
  for (int i = 0; i < rows; i += step) {
    const int r = first + row + i;
    copy_async_16(tile + piece<hd>(row + i, c), from + min(r, end - 1) * pitch + c * 8, r < end);
  }
}

// ---- rows of accumulators

// The four lanes of a quad each hold word `lane % 4` of the same row of four n8 tiles (8 bf16, four words, each).
// Afterwards lane t holds all four words of tile t.
__device__ __forceinline__ void transpose_quad(std::uint32_t (&v)[4], int lane) {
  const bool odd = (lane & 1) != 0;
  const bool upper = (lane & 2) != 0;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const std::uint32_t got = __shfl_xor_sync(0xffffffffU, odd ? v[i] : v[i + 1], 1);
    if (odd) {
      v[i] = got;
    } else {
      v[i + 1] = got;
    }
  }
  const std::uint32_t got0 = __shfl_xor_sync(0xffffffffU, upper ? v[0] : v[2], 2);
  const std::uint32_t got1 = __shfl_xor_sync(0xffffffffU, upper ? v[1] : v[3], 2);
  if (upper) {
    v[0] = got0;
    v[1] = got1;
  } else {
    v[2] = got0;
    v[3] = got1;
  }
}

// Rows g and g + 8 of an m16 accumulator: tiles c[0 .. 4) are the columns column, column + 8, ... of `row_g` and
// `row_g8` (pointers to column 0; written only where the flag says so). All lanes of the warp take part.
__device__ __forceinline__ void store_four_tiles(const float (&c)[4][4], Bf16* row_g, bool write_g, Bf16* row_g8,
                                                 bool write_g8, int column, int lane) {
  std::uint32_t low[4], high[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    low[i] = pack_bf16(c[i][0], c[i][1]);
    high[i] = pack_bf16(c[i][2], c[i][3]);
  }
  transpose_quad(low, lane);
  transpose_quad(high, lane);
  if (write_g) *reinterpret_cast<uint4*>(row_g + column) = make_uint4(low[0], low[1], low[2], low[3]);
  if (write_g8) *reinterpret_cast<uint4*>(row_g8 + column) = make_uint4(high[0], high[1], high[2], high[3]);
}

// The transposed rotation (kernels/qkv_rope.hpp) of the pairs in two n8 tiles hd/2 columns apart, rows g and g + 8 of
// positions t and t + 8; `column` is that of this lane's first value in `first`.
__device__ __forceinline__ void rotate_back(float (&first)[4], float (&second)[4], const float* cos, const float* sin,
                                            int half, int t, int last, int column) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::int64_t at = static_cast<std::int64_t>(min(t + 8 * i, last)) * half + column;
    const float2 c = *reinterpret_cast<const float2*>(cos + at);
    const float2 s = *reinterpret_cast<const float2*>(sin + at);
    const float x0 = first[2 * i], x1 = first[2 * i + 1], y0 = second[2 * i], y1 = second[2 * i + 1];
    first[2 * i] = x0 * c.x + y0 * s.x;
    first[2 * i + 1] = x1 * c.y + y1 * s.y;
    second[2 * i] = y0 * c.x - x0 * s.x;
    second[2 * i + 1] = y1 * c.y - x1 * s.y;
  }
}

}  // namespace hylas::kernels::cuda::attention
