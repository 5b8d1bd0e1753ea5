// wgmma for the fused kernels on Hopper (sm_90a), and the panels that its operands live in.
//
// A tile [rows, columns] of bf16 in shared memory is columns / 64 panels [rows, 64], one after another, each row's
// 16-byte pieces permuted by piece XOR (row % 8): the 128-byte swizzle, of a panel that starts at a multiple of 1024
// bytes. A tile of 32 columns is one panel with the 64-byte swizzle, piece XOR (row / 2 % 4).
//
// Fragments of a warpgroup (128 threads; warp w of it, g = lane / 4, t = lane % 4):
//   D (64 x n, fp32) d[4 j + 0..1] = (16 w + g, 8 j + 2 t + 0..1)   d[4 j + 2..3] = the same columns, row + 8
//   A (64 x 16, bf16) as the A of mma m16n8k16, rows 16 w ...
// Source: PTX ISA 9.0, "Asynchronous Warpgroup Level Matrix Shared Memory Layout".
#pragma once

#include <cuda.h>

#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/hopper.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HYLAS_FUSED_WGMMA 1  // device code for wgmma is generated in this pass
#endif

namespace hylas::kernels::cuda::fused {

// A tile of 64 or more columns in panels [rows, 64].
template <int columns_, int rows = block_rows>
struct Panels {
  static constexpr int columns = columns_;
  static constexpr int pitch = 64;
  static __device__ __forceinline__ int offset(int row, int piece) {
    return piece / 8 * (rows * 64) + row * 64 + ((piece % 8) ^ (row & 7)) * 8;
  }
};

// The copy engine's view of matrices [P, rows, columns]: boxes [box_rows, 64], which arrive as panels; or of 32
// columns.
[[nodiscard]] CUtensorMap matrix_map(const Context& ctx, const Trials<const Bf16>& w, std::int64_t trials,
                                     std::int64_t rows, std::int64_t columns, int box_rows, int box_columns = 64);

// A place in a ring of tiles, and the parity of the barriers' phase there.
struct Ring {
  int slots;
  int slot = 0;
  int parity = 0;
  __device__ __forceinline__ void advance() {
    if (++slot == slots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// Descriptors: an operand in panels starts at `tile`, a multiple of 1024 bytes (512 for 64-byte rows); advance() moves
// it along rows or, inside a panel, along columns (a multiple of 16).
//
// k_major: the rows are A's rows or B's columns, and the panel's 64 columns are k.
struct Operand {
  std::uint32_t low, high;  // of the descriptor; only `low` moves
  __device__ __forceinline__ std::uint64_t descriptor() const { return static_cast<std::uint64_t>(high) << 32 | low; }
};
__device__ __forceinline__ Operand k_major(const Bf16* tile) {
  return {(1U << 16) | shared_address(tile) >> 4, (1U << 30) | 1024 >> 4};
}
// n_major: a B operand whose rows are k and whose columns are n, `rows` rows a panel.
template <int rows>
__device__ __forceinline__ Operand n_major(const Bf16* tile) {
  return {(rows * 128U >> 4 << 16) | shared_address(tile) >> 4, (1U << 30) | 1024 >> 4};
}
// The same of a tile of 32 columns.
__device__ __forceinline__ Operand n_major_32(const Bf16* tile) {
  return {(1U << 16) | shared_address(tile) >> 4, (2U << 30) | 512 >> 4};
}
__device__ __forceinline__ Operand advance(Operand operand, int elements) {
  return {operand.low + static_cast<std::uint32_t>(elements * 2 >> 4), operand.high};
}

// Which warpgroup this is, in a form that the compiler knows to be the same for a whole warp.
__device__ __forceinline__ int warpgroup() {
  return __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) / 128, 0);
}

// The box at (column, row, trial) of a map of matrix_map(); writes nothing outside the tensor.
__device__ __forceinline__ void store_box(const CUtensorMap* map, std::uint32_t shared, int column, int row,
                                          int trial) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
               "r"(shared), "r"(column), "r"(row), "r"(0), "r"(trial)
               : "memory");
}
// Four 8x8 bf16 matrices from registers; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void store_matrix_x4(Bf16* to, std::uint32_t r0, std::uint32_t r1, std::uint32_t r2,
                                                std::uint32_t r3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)), "r"(r0),
               "r"(r1), "r"(r2), "r"(r3)
               : "memory");
}

// A warp's 16 rows of 8 n columns to its staging tile in shared memory: v[j][i] is columns 8 j + 2 t of row g + 8 i.
template <int n>
__device__ __forceinline__ void stage_fragments(Bf16* staging, const std::uint32_t (&v)[n][2]) {
  static_assert(n == 4 || n == 8);
  constexpr int columns = 8 * n;
  const int row = static_cast<int>(threadIdx.x) % 16;
  const int piece = static_cast<int>(threadIdx.x) / 16 % 2;
#pragma unroll
  for (int j = 0; j < n; j += 2) {
    store_matrix_x4(staging + row * columns + ((j + piece) ^ swizzle_key<columns>(row)) * 8, v[j][0], v[j][1],
                    v[j + 1][0], v[j + 1][1]);
  }
}
// From there to memory by the copy engine, to (row, column) of the trial. map: boxes [16, 64]. Before the tile is
// written again, and before the block ends, the warp waits with staging_free().
__device__ __forceinline__ void staging_free() {
  if (threadIdx.x % 32 == 0) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  __syncwarp();
}
__device__ __forceinline__ void store_staged(const CUtensorMap* map, const Bf16* staging, int column, int row,
                                             int trial) {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncwarp();
  if (threadIdx.x % 32 == 0) {
    store_box(map, shared_address(staging), column, row, trial);
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
  }
}
// Orders this thread's writes to shared memory before later reads by wgmma.
__device__ __forceinline__ void fence_operands() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Orders register writes before the wgmmas that follow.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most `pending` of the last committed groups are under way.
template <int pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
// Keeps the compiler from moving uses of these registers across this point.
template <int count>
__device__ __forceinline__ void pin(float (&r)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(r[i])::"memory");
}

// d = A B (+ d), m64n32k16: A in shared memory, k-major.
template <bool b_n_major>
__device__ __forceinline__ void wgmma(float (&d)[16], Operand a, Operand b, int add = 1) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
      "}, %16, %17, p, 1, 1, 0, %19;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
      : "l"(a.descriptor()), "l"(b.descriptor()), "r"(add), "n"(b_n_major ? 1 : 0));
}

// d = A B (+ d), m64n64k16: A in shared memory, k-major.
template <bool b_n_major>
__device__ __forceinline__ void wgmma(float (&d)[32], Operand a, Operand b, int add = 1) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, %35;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "l"(a.descriptor()), "l"(b.descriptor()), "r"(add), "n"(b_n_major ? 1 : 0));
}

// d = A B (+ d), m64n128k16: A in shared memory, k-major.
template <bool b_n_major>
__device__ __forceinline__ void wgmma(float (&d)[64], Operand a, Operand b, int add = 1) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, %67;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a.descriptor()), "l"(b.descriptor()), "r"(add), "n"(b_n_major ? 1 : 0));
}

// d += A B, m64n64k16: A in registers.
template <bool b_n_major>
__device__ __forceinline__ void wgmma(float (&d)[32], const std::uint32_t (&a)[4], Operand b, int add = 1) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor()), "r"(add), "n"(b_n_major ? 1 : 0));
}

// d += A B, m64n128k16: A in registers.
template <bool b_n_major>
__device__ __forceinline__ void wgmma(float (&d)[64], const std::uint32_t (&a)[4], Operand b, int add = 1) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor()), "r"(add), "n"(b_n_major ? 1 : 0));
}

// norm_backward() for warpgroups: dh [64, d] of each, tiles in panels, scratch [8, d] in shared memory.
template <int d>
__device__ __forceinline__ void norm_backward_wide(const float (&dh)[d / 2], Bf16* x, const Bf16* residual,
                                                   const float* inv_rms, const float* weight, float* scratch,
                                                   float* partial) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first = warp * 16 + lane / 4;  // the thread's rows are first and first + 8
  const int inner = lane % 4 * 2;
  const float inv[2] = {inv_rms[first], inv_rms[first + 8]};
  float row_sum[2] = {};
#pragma unroll
  for (int j = 0; j < d / 8; ++j) {
    const float2 w = *reinterpret_cast<const float2*>(weight + j * 8 + inner);
    float column_sum[2] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float2 v = widen(*reinterpret_cast<const std::uint32_t*>(x + Panels<d>::offset(first + 8 * i, j) + inner));
      const float low = dh[4 * j + 2 * i] * v.x;
      const float high = dh[4 * j + 2 * i + 1] * v.y;
      row_sum[i] += low * w.x + high * w.y;
      column_sum[0] += low * inv[i];
      column_sum[1] += high * inv[i];
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2) {
        column_sum[e] += __shfl_xor_sync(0xffffffffU, column_sum[e], distance);
      }
    }
    if (lane < 4) {
      *reinterpret_cast<float2*>(scratch + warp * d + j * 8 + inner) = make_float2(column_sum[0], column_sum[1]);
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    row_sum[i] += __shfl_xor_sync(0xffffffffU, row_sum[i], 1);
    row_sum[i] += __shfl_xor_sync(0xffffffffU, row_sum[i], 2);
    const float scale = inv[i] * inv[i] * inv[i] * row_sum[i] * (1.0F / d);
#pragma unroll
    for (int j = 0; j < d / 8; ++j) {
      const int offset = Panels<d>::offset(first + 8 * i, j) + inner;
      const float2 w = *reinterpret_cast<const float2*>(weight + j * 8 + inner);
      const float2 v = widen(*reinterpret_cast<const std::uint32_t*>(x + offset));
      const float2 old = widen(*reinterpret_cast<const std::uint32_t*>(residual + offset));
      const float low = old.x + inv[i] * dh[4 * j + 2 * i] * w.x - v.x * scale;
      const float high = old.y + inv[i] * dh[4 * j + 2 * i + 1] * w.y - v.y * scale;
      *reinterpret_cast<std::uint32_t*>(x + offset) = pack_bf16(low, high);
    }
  }
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < d; c += 256) {
    float sum = 0;
    for (int i = 0; i < 8; ++i) sum += scratch[i * d + c];
    partial[c] = sum;
  }
}

}  // namespace hylas::kernels::cuda::fused
