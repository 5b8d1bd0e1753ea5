// What the fused kernels share: swizzled tiles of bf16 in shared memory, the norm of a block of rows on the way in, and
// the norm's backward on the way out.
//
// A thread block owns `block_rows` rows of one trial (blockIdx.y). Its warps stand 4 x halves: warp w has rows
// 32 (w % 4) .. + 31, and column half w / 4. A tile [rows, columns] of shared memory keeps each row's 16-byte pieces
// permuted (piece XOR a key of the row), so that eight rows of one piece column lie in eight different bank groups.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"

namespace hylas::kernels::cuda {
namespace fused {

constexpr int block_rows = 128;
using Bf16 = __nv_bfloat16;

// One trial's part of a tensor is at data + trial * stride.
template <class T>
struct Trials {
  T* data = nullptr;
  std::int64_t stride = 0;
  __device__ __forceinline__ T* operator[](int trial) const { return data + trial * stride; }
};

// The gradient of a norm's weight, summed within each block of rows.
struct NormPartials {
  float* data = nullptr;  // [P, blocks, d]
  int blocks = 0;
};

// unpack_bf16 by shifts: the pair stays one register until it is used (the compiler keeps two 16-bit ones otherwise).
__device__ __forceinline__ float2 widen(std::uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000U));
}

// 1 / (1 + exp(-x)) to about 2 units in the last place; 0 far left.
__device__ __forceinline__ float sigmoid(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(-1.44269504F * x));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0F + y));
  return y;
#else
  return 1.0F / (1.0F + expf(-x));
#endif
}

template <int columns>
__device__ __forceinline__ int swizzle_key(int row) {
  static_assert(columns == 32 || columns % 64 == 0);
  return columns == 32 ? (row >> 1) & 3 : row & 7;
}

// Where a tile's 16-byte pieces (8 elements) lie. Straight: whole rows one after another.
template <int columns_>
struct Straight {
  static constexpr int columns = columns_;
  static constexpr int pitch = columns;  // from a row to the next
  static __device__ __forceinline__ int offset(int row, int piece) {
    return row * columns + (piece ^ swizzle_key<columns>(row)) * 8;
  }
};
template <int columns>
__device__ __forceinline__ int piece_offset(int row, int piece) {
  return Straight<columns>::offset(row, piece);
}

// Where one lane reads its row of a fragment: the same for all fragments whose first row is a multiple of 8 and whose
// first piece is even, but for constants.
template <int columns>
struct LaneOffset {
  int row, piece;
  __device__ __forceinline__ LaneOffset(int lane_row, int lane_piece)
      : row(lane_row * columns), piece((lane_piece ^ swizzle_key<columns>(lane_row)) * 8) {}
  __device__ __forceinline__ int operator()(int first_row, int first_piece) const {
    return first_row * columns + row + (piece ^ (first_piece * 8));
  }
};
// A (16 x 16), and B from a tile [k, n]: with the transposing load.
template <int columns>
__device__ __forceinline__ LaneOffset<columns> lane_a(int lane) {
  return LaneOffset<columns>(lane & 15, lane >> 4);
}
// Two B fragments (k 16, n 8 + 8) from a tile [n, k].
template <int columns>
__device__ __forceinline__ LaneOffset<columns> lane_b(int lane) {
  return LaneOffset<columns>((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
}

// A [rows, columns] piece of a matrix with `pitch` elements a row to a tile; all threads of the block take part.
template <class Layout, int rows, int threads>
__device__ __forceinline__ void copy_tile(Bf16* tile, const Bf16* from, int pitch) {
  constexpr int pieces = Layout::columns / 8;
  constexpr int step = threads / pieces;  // rows a pass
  static_assert(rows % step == 0 && step % 8 == 0);
  const int row = static_cast<int>(threadIdx.x) / pieces;
  const int piece = static_cast<int>(threadIdx.x) % pieces;
  tile += Layout::offset(row, piece);
  from += row * pitch + piece * 8;
#pragma unroll
  for (int i = 0; i < rows / step; ++i) {
    copy_async_16(tile + i * step * Layout::pitch, from);
    from += step * pitch;
  }
}

// The same for the block's rows of an activation; rows from `rows` on become zeros. `from` is the trial's first row.
template <class Layout, int threads>
__device__ __forceinline__ void copy_rows(Bf16* tile, const Bf16* from, std::int64_t pitch, int first_row, int rows) {
  constexpr int pieces = Layout::columns / 8;
  constexpr int step = threads / pieces;
  static_assert(block_rows % step == 0 && step % 8 == 0);
  const int row = static_cast<int>(threadIdx.x) / pieces;
  const int piece = static_cast<int>(threadIdx.x) % pieces;
  tile += Layout::offset(row, piece);
  from += piece * 8;
#pragma unroll 4
  for (int i = 0; i < block_rows / step; ++i) {
    const int source = first_row + row + i * step;
    const bool inside = source < rows;
    copy_async_16(tile + i * step * Layout::pitch, from + (inside ? source : rows - 1) * pitch, inside);
  }
}

// The block's rows from a tile to memory.
template <class Layout, int threads>
__device__ __forceinline__ void store_rows(Bf16* to, const Bf16* tile, int first_row, int rows) {
  constexpr int pieces = Layout::columns / 8;
#pragma unroll
  for (int i = 0; i < block_rows * pieces / threads; ++i) {
    const int index = i * threads + static_cast<int>(threadIdx.x);
    const int row = index / pieces;
    const int piece = index % pieces;
    if (first_row + row >= rows) continue;
    *reinterpret_cast<uint4*>(to + static_cast<std::int64_t>(first_row + row) * Layout::columns + piece * 8) =
        *reinterpret_cast<const uint4*>(tile + Layout::offset(row, piece));
  }
}

// Normalises 8 elements of a row that d / 8 neighbouring lanes hold together: v becomes weight * v * inv_rms.
template <int d>
__device__ __forceinline__ float normalise(uint4& v, const float (&weight)[8], float eps) {
  float2 x[4] = {widen(v.x), widen(v.y), widen(v.z), widen(v.w)};
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) sum += x[i].x * x[i].x + x[i].y * x[i].y;
#pragma unroll
  for (int distance = d / 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  const float inv = rsqrtf(sum * (1.0F / d) + eps);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i].x = weight[2 * i] * x[i].x * inv;
    x[i].y = weight[2 * i + 1] * x[i].y * inv;
  }
  v = make_uint4(pack_bf16(x[0].x, x[0].y), pack_bf16(x[1].x, x[1].y), pack_bf16(x[2].x, x[2].y),
                 pack_bf16(x[3].x, x[3].y));
  return inv;
}

template <int d>
__device__ __forceinline__ void load_norm_weight(float (&w)[8], const float* weight) {
  const int column = static_cast<int>(threadIdx.x) % (d / 8) * 8;
#pragma unroll
  for (int i = 0; i < 8; ++i) w[i] = weight[column + i];
}

// RMSNorm of the block's rows into a tile; inv_rms [block_rows] and h_out (the trial's first row) only if not null.
template <class Layout, int threads>
__device__ __forceinline__ void normalise_rows(Bf16* tile, float* inv_rms, Bf16* h_out, const Bf16* x,
                                               const float* weight, float eps, int first_row, int rows) {
  constexpr int d = Layout::columns;
  constexpr int pieces = d / 8;
  constexpr int passes = block_rows * pieces / threads;
  constexpr int batch = passes < 8 ? passes : 8;  // loads under way
  static_assert(passes % batch == 0 && threads % pieces == 0);
  const int piece = static_cast<int>(threadIdx.x) % pieces;
  float w[8];
  load_norm_weight<d>(w, weight);
#pragma unroll 1
  for (int pass = 0; pass < passes; pass += batch) {
    uint4 v[batch];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const int row = ((pass + i) * threads + static_cast<int>(threadIdx.x)) / pieces;
      v[i] = make_uint4(0, 0, 0, 0);
      if (first_row + row < rows) {
        v[i] = *reinterpret_cast<const uint4*>(x + static_cast<std::int64_t>(first_row + row) * d + piece * 8);
      }
    }
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const int row = ((pass + i) * threads + static_cast<int>(threadIdx.x)) / pieces;
      const float inv = normalise<d>(v[i], w, eps);
      *reinterpret_cast<uint4*>(tile + Layout::offset(row, piece)) = v[i];
      if (inv_rms != nullptr && piece == 0) inv_rms[row] = inv;
      if (h_out != nullptr && first_row + row < rows) {
        *reinterpret_cast<uint4*>(h_out + static_cast<std::int64_t>(first_row + row) * d + piece * 8) = v[i];
      }
    }
  }
}

// Word i of lane t of a quad becomes word t of lane i: four 8-column fragments become 16 bytes of one of them a lane.
__device__ __forceinline__ uint4 transpose_quad(std::uint32_t r0, std::uint32_t r1, std::uint32_t r2, std::uint32_t r3,
                                                int lane) {
  const bool odd = (lane & 1) != 0;
  const bool high = (lane & 2) != 0;
  std::uint32_t got = __shfl_xor_sync(0xffffffffU, odd ? r0 : r1, 1);
  (odd ? r0 : r1) = got;
  got = __shfl_xor_sync(0xffffffffU, odd ? r2 : r3, 1);
  (odd ? r2 : r3) = got;
  got = __shfl_xor_sync(0xffffffffU, high ? r0 : r2, 2);
  (high ? r0 : r2) = got;
  got = __shfl_xor_sync(0xffffffffU, high ? r1 : r3, 2);
  (high ? r1 : r3) = got;
  return make_uint4(r0, r1, r2, r3);
}

// acc (32 rows x 8 n columns of a warp) += A B with A's fragments a and B from a tile [n, columns] at (first_row,
// piece).
template <int n, int columns>
__device__ __forceinline__ void multiply_rows(float (&acc)[2][n][4], const std::uint32_t (&a)[2][4], const Bf16* tile,
                                              const LaneOffset<columns>& lane, int first_row, int piece) {
#pragma unroll
  for (int j = 0; j < n / 2; ++j) {
    std::uint32_t b[4];
    load_matrix_x4(b, tile + lane(first_row + 16 * j, piece));
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      mma_16x8x16(acc[m][2 * j], a[m], b[0], b[1]);
      mma_16x8x16(acc[m][2 * j + 1], a[m], b[2], b[3]);
    }
  }
}
// The same with B from a tile [k, n].
template <int n, int columns>
__device__ __forceinline__ void multiply_columns(float (&acc)[2][n][4], const std::uint32_t (&a)[2][4],
                                                 const Bf16* tile, const LaneOffset<columns>& lane, int first_row,
                                                 int piece) {
#pragma unroll
  for (int j = 0; j < n / 2; ++j) {
    std::uint32_t b[4];
    load_matrix_x4_transposed(b, tile + lane(first_row, piece + 2 * j));
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      mma_16x8x16(acc[m][2 * j], a[m], b[0], b[1]);
      mma_16x8x16(acc[m][2 * j + 1], a[m], b[2], b[3]);
    }
  }
}

template <int columns>
__device__ __forceinline__ void load_a(std::uint32_t (&a)[2][4], const Bf16* tile, const LaneOffset<columns>& lane,
                                       int first_row, int piece) {
  load_matrix_x4(a[0], tile + lane(first_row, piece));
  load_matrix_x4(a[1], tile + lane(first_row + 16, piece));
}

template <int n>
__device__ __forceinline__ void clear(float (&acc)[2][n][4]) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int j = 0; j < n; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) acc[m][j][i] = 0;
    }
  }
}

// dx = residual + (d RMSNorm / dx) dh for the block's rows, and the sums of dh x inv_rms over them.
//
// dh: the warps' accumulators, [32, d / halves] each. x and residual: tiles [block_rows, d]; dx replaces x. inv_rms
// [block_rows] and scratch [2 block_rows + 4 d] in shared memory. Starts and ends with tiles that all threads can read.
template <int d, int halves>
__device__ __forceinline__ void norm_backward(const float (&dh)[2][d / halves / 8][4], Bf16* x, const Bf16* residual,
                                              const float* inv_rms, const float* weight, float* scratch,
                                              float* partial) {
  constexpr int n = d / halves / 8;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int half = warp / 4;
  const int first = warp % 4 * 32 + lane / 4;  // the thread's rows are first + 0, 8, 16, 24
  const int inner = lane % 4 * 2;
  float* sums = scratch;                      // [halves, block_rows]
  float* columns = scratch + 2 * block_rows;  // [4, d]
  float row_sum[4] = {};
#pragma unroll
  for (int j = 0; j < n; ++j) {
    const int piece = half * n + j;
    const float2 w = *reinterpret_cast<const float2*>(weight + piece * 8 + inner);
    float column_sum[2] = {};
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = first + 8 * r;
      const float2 v = widen(*reinterpret_cast<const std::uint32_t*>(x + piece_offset<d>(row, piece) + inner));
      const float inv = inv_rms[row];
      const float low = dh[r / 2][j][r % 2 * 2] * v.x;
      const float high = dh[r / 2][j][r % 2 * 2 + 1] * v.y;
      row_sum[r] += low * w.x + high * w.y;
      column_sum[0] += low * inv;
      column_sum[1] += high * inv;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2) {
        column_sum[i] += __shfl_xor_sync(0xffffffffU, column_sum[i], distance);
      }
    }
    if (lane < 4) {
      columns[warp % 4 * d + piece * 8 + inner] = column_sum[0];
      columns[warp % 4 * d + piece * 8 + inner + 1] = column_sum[1];
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    row_sum[r] += __shfl_xor_sync(0xffffffffU, row_sum[r], 1);
    row_sum[r] += __shfl_xor_sync(0xffffffffU, row_sum[r], 2);
    if (lane % 4 == 0) sums[half * block_rows + first + 8 * r] = row_sum[r];
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int row = first + 8 * r;
    const float inv = inv_rms[row];
    float sum = sums[row];
    if constexpr (halves == 2) sum += sums[block_rows + row];
    const float scale = inv * inv * inv * sum * (1.0F / d);
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const int piece = half * n + j;
      const int offset = piece_offset<d>(row, piece) + inner;
      const float2 w = *reinterpret_cast<const float2*>(weight + piece * 8 + inner);
      const float2 v = widen(*reinterpret_cast<const std::uint32_t*>(x + offset));
      const float2 old = widen(*reinterpret_cast<const std::uint32_t*>(residual + offset));
      const float low = old.x + inv * dh[r / 2][j][r % 2 * 2] * w.x - v.x * scale;
      const float high = old.y + inv * dh[r / 2][j][r % 2 * 2 + 1] * w.y - v.y * scale;
      *reinterpret_cast<std::uint32_t*>(x + offset) = pack_bf16(low, high);
    }
  }
  for (int c = static_cast<int>(threadIdx.x); c < d; c += 128 * halves) {
    partial[c] = (columns[c] + columns[d + c]) + (columns[2 * d + c] + columns[3 * d + c]);
  }
  __syncthreads();
}

}  // namespace fused

// dweight [P, d] += the partials, in the order of the blocks: grid (d / 32, P), block (32, 8).
static __global__ void add_norm_partials(fused::NormPartials partials, int d, fused::Trials<float> dweight) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  float(*sums)[32] = reinterpret_cast<float(*)[32]>(shared_memory);  // [8, 32]
  const int trial = static_cast<int>(blockIdx.y);
  const int column = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
  const float* from = partials.data + static_cast<std::int64_t>(trial) * partials.blocks * d + column;
  float sum = 0;
  for (int b = static_cast<int>(threadIdx.y); b < partials.blocks; b += 8)
    sum += from[static_cast<std::int64_t>(b) * d];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0) return;
  sum = 0;
  for (int i = 0; i < 8; ++i) sum += sums[i][threadIdx.x];
  dweight[trial][column] += sum;
}

namespace fused {

// Host side: what an operator's tensors must be.
class Check {
 public:
  Check(const char* op, std::int64_t trials, std::int64_t rows) : op_(op), trials_(trials), rows_(rows) {
    require(trials > 0 && trials < 65536 && rows > 0 && rows < (std::int64_t{1} << 31) - block_rows,
            "cannot serve this number of trials or rows");
  }
  void require(bool holds, const std::string& what) const {
    if (!holds) throw std::invalid_argument(std::string(op_) + ": " + what);
  }
  // `rows` times `columns` elements a trial.
  template <class T>
  Trials<T> tensor(const char* name, const Tensor& t, DType dtype, std::int64_t rows, std::int64_t columns) const {
    const bool fits = t.defined() && t.rank() > 1 && t.dtype() == dtype && t.device().kind == DeviceKind::cuda &&
                      t.trials() == trials_ && t.dim(-1) == columns && t.trial_size() == rows * columns;
    require(fits, std::string(name) + " has the wrong dtype, device or dims; expected " + std::to_string(trials_) +
                      " trials of " + std::to_string(rows) + " x " + std::to_string(columns));
    require(t.trial_stride() * size_of(dtype) % 16 == 0,
            std::string(name) + "'s trials must lie a multiple of 16 bytes apart");
    return {static_cast<T*>(t.data()), t.trial_stride()};
  }
  // An activation [P, ..., columns] in bf16.
  template <class T>
  Trials<T> activation(const char* name, const Tensor& t, std::int64_t columns) const {
    return tensor<T>(name, t, DType::bf16, rows_, columns);
  }
  [[nodiscard]] dim3 grid() const {
    return {static_cast<unsigned>((rows_ + block_rows - 1) / block_rows), static_cast<unsigned>(trials_), 1};
  }

 private:
  const char* op_;
  std::int64_t trials_, rows_;
};

// f<d>() for the d_model at hand: 64, 128 or 256.
template <class F>
void by_width(std::int64_t d, const F& f) {
  if (d == 64) {
    f.template operator()<64>();
  } else if (d == 128) {
    f.template operator()<128>();
  } else {
    f.template operator()<256>();
  }
}

// Scratch for the partial sums; give it back after add_partials().
inline NormPartials take_partials(Context& ctx, const dim3& grid, int d) {
  return {ctx.arena.take<float>(static_cast<std::int64_t>(grid.x) * grid.y * d), static_cast<int>(grid.x)};
}
inline void add_partials(Context& ctx, const dim3& grid, int d, const NormPartials& partials,
                         const Trials<float>& dweight) {
  launch(ctx, add_norm_partials, dim3(static_cast<unsigned>(d / 32), grid.y), dim3(32, 8), 8 * 32 * sizeof(float),
         partials, d, dweight);
}

}  // namespace fused
}  // namespace hylas::kernels::cuda
