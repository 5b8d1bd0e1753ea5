// The recurrence's first kernel, one thread block a cell: the gates of the chunk, P = s (Q K^T * D) and, for the delta
// rule, Tm = (I + A)^-1 with A = strictly_lower(beta K K^T * D), in blocks of 16 x 16: forward substitution in the
// blocks on the diagonal in fp32, then T_ij = -T_ii sum_k A_ik T_kj from one diagonal to the next on tensor cores
// (tf32 operands: Tm ends as bf16). Tm is kept without its diagonal of ones, so that what it is applied to enters the
// result in fp32.
#pragma once

#include "kernels/cuda/recurrence_tiles.cuh"

namespace hylas::kernels::cuda {
namespace recurrence {

constexpr int inverse_pitch = chunk + 4;  // floats a row of A and Tm: 16-byte pieces, eight rows in different banks

// Gates, then Q and K; then A and its inverse in their place.
template <int K, bool delta>
struct PreparePlan {
  static constexpr int q = gate_floats * 4;
  static constexpr int k = q + tile_bytes<K>(chunk);
  static constexpr int matrix = q;
  static constexpr int inverse = matrix + chunk * inverse_pitch * 4;
  static constexpr int matrices_end = delta ? inverse + chunk * inverse_pitch * 4 : 0;
  static constexpr int tiles_end = k + tile_bytes<K>(chunk);
  static constexpr int shared_bytes = matrices_end > tiles_end ? matrices_end : tiles_end;
};

// The gates of a chunk, G from inclusive sums of g in fp64, rounded once, by the first warp: to shared memory and to
// the cell's place. Beyond the sequence's end g = 0 and beta = 0.
__device__ __forceinline__ void make_gates(const RecurrenceArguments& a, const Head& head, int first, float* shared,
                                           float* cell, int lane) {
  // 2^-160 is 0 in fp32 and so is all below it; what is as small as that costs G no digits, nor is it infinite.
  constexpr double to_log2 = 1.4426950408889634, least = -160;
  double g[2];
  float beta[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::int64_t t = first + 2 * lane + i;
    const bool inside = t < a.length;
    g[i] = 0;
    if (inside) g[i] = a.fixed_g ? a.g.data[head.h] : head.gate(a.g, a)[t * a.heads];
    g[i] = fmax(g[i] * to_log2, least);
    beta[i] = inside ? 1.0F : 0.0F;
    if (inside && a.beta.data != nullptr) beta[i] = head.gate(a.beta, a)[t * a.heads];
  }
  double sum = g[0] + g[1];
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const double before = __shfl_up_sync(0xffffffffU, sum, offset);
    if (lane >= offset) sum += before;
  }
  const double last = __shfl_sync(0xffffffffU, sum, 31);
  const auto total = make_float2(static_cast<float>(sum - g[1]), static_cast<float>(sum));
  const float2 values[4] = {
      total, make_float2(beta[0], beta[1]), make_float2(exp2_fast(total.x), exp2_fast(total.y)),
      make_float2(exp2_fast(static_cast<float>(last - (sum - g[1]))), exp2_fast(static_cast<float>(last - sum)))};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    reinterpret_cast<float2*>(shared + i * chunk)[lane] = values[i];
    reinterpret_cast<float2*>(cell + i * chunk)[lane] = values[i];
  }
}

// The products of a warp's 16 rows of `rows` with all rows of `others`, times D and `factor` (of the row where
// by_beta).
template <int K, bool strict>
__device__ __forceinline__ void masked_products(float (&c)[chunk / 8][4], const unsigned char* rows,
                                                const unsigned char* others, const float* gates, float scale, int first,
                                                int lane) {
  clear(c);
#pragma unroll
  for (int k = 0; k < K; k += 16) {
    std::uint32_t left[4];
    load_left<K, true>(left, rows, first, k, lane);
    multiply<K, false>(c, left, others, k, lane);
  }
  const int row = first + lane / 4;
#pragma unroll
  for (int n = 0; n < chunk / 8; ++n) {
    const int column = 8 * n + 2 * (lane % 4);
    const float2 gj = *reinterpret_cast<const float2*>(gates + column);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int i = row + 8 * (e / 2), j = column + e % 2;
      const float factor = strict ? gates[beta_at + i] : scale;
      c[n][e] = decayed(factor * c[n][e], gates[i], e % 2 == 0 ? gj.x : gj.y, strict ? i > j : i >= j);
    }
  }
}

// Column j of the inverse of the 16 x 16 block on the diagonal at `first`, for 64 threads: 16 columns of four blocks.
__device__ __forceinline__ void invert_diagonal(const float* matrix, float* inverse, int first, int j) {
  float t[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    float sum = i == j ? 1.0F : 0.0F;
    const float* row = matrix + (first + i) * inverse_pitch + first;
#pragma unroll
    for (int m = 0; m < i; ++m) sum = fmaf(-row[m], t[m], sum);
    t[i] = sum;
  }
#pragma unroll
  for (int i = 0; i < 16; ++i) inverse[(first + i) * inverse_pitch + first + j] = t[i];
}

// c (16 x 16) += left (16 x depth) right (depth x 16), parts of matrices of that pitch in shared memory, by one warp.
__device__ __forceinline__ void add_block_product(float (&c)[2][4], const float* left, const float* right, int depth,
                                                  int lane) {
  const int g = lane / 4, t = lane % 4;
  for (int k = 0; k < depth; k += 8) {
    std::uint32_t a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = round_to_tf32(left[(g + i % 2 * 8) * inverse_pitch + k + t + i / 2 * 4]);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float* b = right + (k + t) * inverse_pitch + 8 * n + g;
      mma_16x8x8_tf32(c[n], a, round_to_tf32(b[0]), round_to_tf32(b[4 * inverse_pitch]));
    }
  }
}

__device__ __forceinline__ void store_block(float* to, const float (&c)[2][4], float factor, int lane) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<float2*>(to + (lane / 4 + 8 * half) * inverse_pitch + 8 * n + 2 * (lane % 4)) =
          make_float2(factor * c[n][2 * half], factor * c[n][2 * half + 1]);
    }
  }
}

// inverse = (I + matrix)^-1, both [C, C] in shared memory, matrix strictly lower; the blocks above the diagonal of
// `inverse` are not written, and those of `matrix` serve as scratch. All 128 threads of the block.
__device__ __forceinline__ void invert(float* matrix, float* inverse) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  if (thread < chunk) invert_diagonal(matrix, inverse, thread / 16 * 16, thread % 16);
  __syncthreads();
  for (int distance = 1; distance < chunk / 16; ++distance) {
    const int j = thread / 32 * 16, i = j + 16 * distance;  // a block a warp
    if (i < chunk) {
      float sum[2][4] = {}, block[2][4] = {};
      float* scratch = matrix + j * inverse_pitch + i;
      add_block_product(sum, matrix + i * inverse_pitch + j, inverse + j * inverse_pitch + j, 16 * distance, lane);
      store_block(scratch, sum, 1, lane);
      __syncwarp();
      add_block_product(block, inverse + i * inverse_pitch + i, scratch, 16, lane);
      store_block(inverse + i * inverse_pitch + j, block, -1, lane);
    }
    __syncthreads();
  }
}

}  // namespace recurrence

template <int K, bool delta>
__global__ __launch_bounds__(128, 5) void recurrence_prepare_kernel(RecurrenceArguments a) {
  using namespace recurrence;
  using Plan = PreparePlan<K, delta>;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const Head head(a, blockIdx.x / a.chunks);
  const int c = static_cast<int>(blockIdx.x % a.chunks);
  const std::int64_t cell = blockIdx.x;
  float* gates = reinterpret_cast<float*>(shared_memory);
  unsigned char* q = shared_memory + Plan::q;
  unsigned char* k = shared_memory + Plan::k;

  const Bf16* sequence = head.sequence(a.qkv, a, a.width) + head.group(a) * K;
  copy_tile<K, chunk, 128>(q, sequence + a.q_at, a.width, c * chunk, a.length);
  copy_tile<K, chunk, 128>(k, sequence + a.k_at, a.width, c * chunk, a.length);
  copy_commit();
  if (warp == 0) make_gates(a, head, c * chunk, gates, a.gates + cell * gate_floats, lane);
  copy_wait<0>();
  __syncthreads();

  float products[chunk / 8][4];
  masked_products<K, false>(products, q, k, gates, a.scale, 16 * warp, lane);
  Bf16* row_g = scores_of<delta>(a.matrices, cell) + (16 * warp + lane / 4) * chunk;
  to_rows(row_g, true, row_g + 8 * chunk, true, products, lane);
  if constexpr (delta) {
    float* matrix = reinterpret_cast<float*>(shared_memory + Plan::matrix);
    float* inverse = reinterpret_cast<float*>(shared_memory + Plan::inverse);
    masked_products<K, true>(products, k, k, gates, 1.0F, 16 * warp, lane);
    __syncthreads();  // all are done with Q and K
#pragma unroll
    for (int n = 0; n < chunk / 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float* row = matrix + (16 * warp + lane / 4 + 8 * half) * inverse_pitch + 8 * n + 2 * (lane % 4);
        *reinterpret_cast<float2*>(row) = make_float2(products[n][2 * half], products[n][2 * half + 1]);
      }
    }
    __syncthreads();
    invert(matrix, inverse);
    uint4* to = reinterpret_cast<uint4*>(inverse_of(a.matrices, cell));
    for (int e = static_cast<int>(threadIdx.x); e < chunk * chunk / 8; e += 128) {
      const int i = e / (chunk / 8), j = e % (chunk / 8) * 8;
      std::uint32_t words[4];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const float* x = inverse + i * inverse_pitch + j + 2 * w;
        words[w] = pack_bf16(j + 2 * w < i ? x[0] : 0.0F, j + 2 * w + 1 < i ? x[1] : 0.0F);
      }
      to[e] = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
}

}  // namespace hylas::kernels::cuda
