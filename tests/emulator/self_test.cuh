// The emulator's own tests: kernels that use everything the portable kernels use. Plain CUDA: nvcc compiles them as
// well.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace hylas::test {

struct Launch {
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

// out[block] = sum of the block's 256 floats, by shuffles and shared memory.
void sum_blocks(const Launch& launch, const float* in, float* out);
// out (columns x rows) = in (rows x columns) transposed, in tiles of 32 x 32.
void transpose(const Launch& launch, const float* in, int rows, int columns, float* out);
// The same with the barrier left out.
void transpose_without_barrier(const Launch& launch, const float* in, int rows, int columns, float* out);
// c (16 x 8) = a (16 x 16) b, where b is 16 x 8 (read with ldmatrix.trans) or given transposed as 8 x 16.
void product(const Launch& launch, const std::uint16_t* a, const std::uint16_t* b, bool b_transposed, float* c);
// out[i] = in[i] + 1 for `tiles` tiles of 16 bytes a thread, through two buffers; `wait` false leaves out the wait.
void stream_tiles(const Launch& launch, const float* in, int tiles, bool wait, float* out);
// Half of the threads skip a barrier.
void divergent_barrier(const Launch& launch);
// A lane leaves before a shuffle of all.
void missing_lane(const Launch& launch, int* out);
void past_shared_memory(const Launch& launch);
void past_global_memory(const Launch& launch, float* p, std::int64_t i);
// The votes and the other collectives: out[thread * 12 + ...].
void collectives(const Launch& launch, std::uint32_t* out);
// count += threads, largest = max of the threads' numbers.
void atomics(const Launch& launch, int* count, unsigned long long* largest);

}  // namespace hylas::test
