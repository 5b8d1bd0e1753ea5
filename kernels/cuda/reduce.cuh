// Sums over neighbouring threads in a fixed order: groups of lanes inside a warp, and whole blocks.
#pragma once

#include <cstdint>

namespace hylas::kernels::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffU;

// How a block is cut into groups of neighbouring threads: `lanes` threads each, a power of two up to 32, or the whole
// block where lanes is more than 32.
struct Group {
  int lane;   // of this thread in its group
  int index;  // of its group in the block
  int count;  // of groups
};
__device__ __forceinline__ Group group_of(int lanes) {
  const int thread = static_cast<int>(threadIdx.x);
  if (lanes > 32) return {thread, 0, 1};
  const int shift = __ffs(lanes) - 1;
  return {thread & (lanes - 1), thread >> shift, static_cast<int>(blockDim.x) >> shift};
}

// The sum over each group of `lanes` (a power of two up to 32) neighbouring lanes, in every lane of the group.
template <class T>
__device__ __forceinline__ T group_sum(T x, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}

// The sum over a block of whole warps (at most 32), in every thread. `buffer` holds one value a warp; it is free again
// after the block's next __syncthreads().
template <class T>
__device__ __forceinline__ T block_sum(T x, T* buffer) {
  x = group_sum(x, 32);
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (threadIdx.x % 32 == 0) buffer[threadIdx.x / 32] = x;
  __syncthreads();
  T total = 0;
  for (int w = 0; w < warps; ++w) total += buffer[w];
  return total;
}

}  // namespace hylas::kernels::cuda
