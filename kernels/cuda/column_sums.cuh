// A block's sums of columns: what its groups of threads (see reduce.cuh) added up row after row, as one row, in a fixed
// order: the groups of a warp, then the warps.
#pragma once

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {

// Thread `lane` of each of `groups` groups holds columns (k lanes + lane) N .. + N - 1 in sums[k], of d. `parts` is
// shared memory: a row of d floats a warp, not needed where groups is 1. Writes to[0 .. d).
template <int N, int V>
__device__ __forceinline__ void write_column_sums(float (&sums)[V][N], int lane, int groups, int lanes, int d,
                                                  float* parts, float* __restrict__ to) {
  if (groups == 1) {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const int column = (k * lanes + lane) * N;
      if (column < d) store_floats<float, N>(to + column, sums[k]);
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * lanes + lane) * N;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      for (int offset = lanes; offset < 32; offset *= 2) sums[k][j] += __shfl_xor_sync(kAllLanes, sums[k][j], offset);
    }
    if (static_cast<int>(threadIdx.x) % 32 < lanes && column < d) {
#pragma unroll
      for (int j = 0; j < N; ++j) parts[threadIdx.x / 32 * d + column + j] = sums[k][j];
    }
  }
  __syncthreads();
  for (int column = threadIdx.x; column < d; column += blockDim.x) {
    float sum = 0;
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) sum += parts[warp * d + column];
    to[column] = sum;
  }
}

}  // namespace hylas::kernels::cuda
