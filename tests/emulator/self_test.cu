// The kernels of the emulator's own tests (see self_test.cuh).
#include "tests/emulator/self_test.cuh"

#include "kernels/cuda/mma.cuh"

namespace hylas::kernels::cuda {
namespace {

using Launch = test::Launch;

template <class... Parameters, class... Arguments>
void start(const Launch& launch, void (*kernel)(Parameters...), const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = launch.grid;
  config.blockDim = launch.block;
  config.dynamicSmemBytes = launch.shared_bytes;
  config.stream = launch.stream;
  (void)cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

__global__ void __launch_bounds__(256) sum_blocks_kernel(const float* __restrict__ in, float* __restrict__ out) {
  __shared__ float partial[8];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float x = in[blockIdx.x * 256 + threadIdx.x];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffU, x, offset);
  if (lane == 0) partial[warp] = x;
  __syncthreads();
  if (warp == 0) {
    x = lane < 8 ? partial[lane] : 0.0F;
    for (int offset = 4; offset > 0; offset /= 2) x += __shfl_down_sync(0xffffffffU, x, offset);
    if (lane == 0) out[blockIdx.x] = x;
  }
}

// One thread an element of the tile.
template <bool barrier>
__global__ void transpose_kernel(const float* in, int rows, int columns, float* out) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  auto* tile = reinterpret_cast<float(*)[33]>(shared_memory);
  const int x = static_cast<int>(blockIdx.x * 32 + threadIdx.x), y = static_cast<int>(blockIdx.y * 32 + threadIdx.y);
  if (y < rows && x < columns) tile[threadIdx.y][threadIdx.x] = in[y * columns + x];
  if constexpr (barrier) __syncthreads();
  const int row = static_cast<int>(blockIdx.x * 32 + threadIdx.y),
            column = static_cast<int>(blockIdx.y * 32 + threadIdx.x);
  if (row < columns && column < rows) out[row * rows + column] = tile[threadIdx.x][threadIdx.y];
}

__global__ void product_kernel(const std::uint16_t* a, const std::uint16_t* b, bool b_transposed, float* c) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  auto* a_rows = reinterpret_cast<std::uint16_t*>(shared_memory);  // 16 x 16
  auto* b_rows = a_rows + 256;                                     // 16 x 8 or 8 x 16
  const unsigned lane = threadIdx.x;
  copy_async_16(a_rows + lane * 8, a + lane * 8);
  copy_async_16(b_rows + lane % 16 * 8, b + lane % 16 * 8);
  copy_commit();
  copy_wait<0>();
  __syncwarp();
  std::uint32_t a_fragment[4], b_fragment[4];
  // Matrices: rows 0..7 | 8..15 of columns 0..7, then of columns 8..15.
  load_matrix_x4(a_fragment, a_rows + lane % 16 * 16 + lane / 16 * 8);
  if (b_transposed) {
    // 8 rows (n) of 16 (k): matrix 0 holds k 0..7, matrix 1 k 8..15; 2 and 3 repeat them.
    load_matrix_x4(b_fragment, b_rows + lane % 8 * 16 + lane / 8 % 2 * 8);
  } else {
    load_matrix_x4_transposed(b_fragment, b_rows + lane % 16 * 8);
  }
  float sums[4] = {};
  mma_16x8x16(sums, a_fragment, b_fragment[0], b_fragment[1]);
  const unsigned g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

__global__ void stream_tiles_kernel(const float* in, int tiles, bool wait, float* out) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  auto* buffers = reinterpret_cast<float4*>(shared_memory);
  const auto threads = static_cast<int>(blockDim.x), me = static_cast<int>(threadIdx.x);
  const auto fetch = [&](int tile) {
    const bool inside = tile < tiles;
    copy_async_16(&buffers[tile % 2 * threads + me],
                  in + (static_cast<std::int64_t>(inside ? tile : 0) * threads + me) * 4, inside);
    copy_commit();
  };
  fetch(0);
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    if (wait) copy_wait<1>();
    __syncthreads();
    // A neighbour's part, so that the barriers matter.
    const int neighbour = (me + 33) % threads;
    const float4 x = buffers[tile % 2 * threads + neighbour];
    reinterpret_cast<float4*>(out)[static_cast<std::int64_t>(tile) * threads + neighbour] =
        make_float4(x.x + 1, x.y + 1, x.z + 1, x.w + 1);
    __syncthreads();
  }
  copy_wait<0>();
}

__global__ void divergent_barrier_kernel() {
  if (threadIdx.x < 32) __syncthreads();
}

__global__ void missing_lane_kernel(int* out) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x), 0);
}

__global__ void past_shared_memory_kernel(unsigned bytes) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  shared_memory[bytes + threadIdx.x] = 0;
}

__global__ void past_global_memory_kernel(float* p, std::int64_t i) {
  p[i] = 1;
}

__global__ void collectives_kernel(std::uint32_t* out) {
  const unsigned me = threadIdx.x, lane = me % 32;
  const bool odd = me % 2 == 1;
  out += me * 12;
  out[0] = __ballot_sync(0xffffffffU, odd);
  out[1] = static_cast<std::uint32_t>(__any_sync(0xffffffffU, lane == 7));
  out[2] = static_cast<std::uint32_t>(__all_sync(0xffffffffU, lane < 31));
  out[3] = static_cast<std::uint32_t>(__syncthreads_count(odd));
  out[4] = static_cast<std::uint32_t>(__syncthreads_or(me == 63));
  out[5] = static_cast<std::uint32_t>(__syncthreads_and(me != 63));
  out[6] = __shfl_up_sync(0xffffffffU, lane, 3U, 8);
  out[7] = __reduce_add_sync(0xffffffffU, lane);
  // The two halves of a warp apart.
  if (odd) {
    out[8] = __shfl_sync(0xaaaaaaaaU, lane, 9);
  } else {
    out[8] = __shfl_sync(0x55555555U, lane, 8);
  }
  __syncwarp();
  out[9] =
      static_cast<std::uint32_t>(__shfl_xor_sync(0xffffffffU, static_cast<unsigned long long>(lane) << 40, 1) >> 40);
  out[10] = __match_any_sync(0xffffffffU, lane / 8);
  out[11] =
      static_cast<std::uint32_t>(__popc(me) + __clz(static_cast<int>(me)) + __ffs(static_cast<int>(me)) + max(3, 2));
}

__global__ void atomics_kernel(int* count, unsigned long long* largest) {
  atomicAdd(count, 1);
  atomicMax(largest, static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x);
}

}  // namespace
}  // namespace hylas::kernels::cuda

namespace hylas::test {

using namespace kernels::cuda;

void sum_blocks(const Launch& launch, const float* in, float* out) {
  start(launch, sum_blocks_kernel, in, out);
}
void transpose(const Launch& launch, const float* in, int rows, int columns, float* out) {
  start(launch, transpose_kernel<true>, in, rows, columns, out);
}
void transpose_without_barrier(const Launch& launch, const float* in, int rows, int columns, float* out) {
  start(launch, transpose_kernel<false>, in, rows, columns, out);
}
void product(const Launch& launch, const std::uint16_t* a, const std::uint16_t* b, bool b_transposed, float* c) {
  start(launch, product_kernel, a, b, b_transposed, c);
}
void stream_tiles(const Launch& launch, const float* in, int tiles, bool wait, float* out) {
  start(launch, stream_tiles_kernel, in, tiles, wait, out);
}
void divergent_barrier(const Launch& launch) {
  start(launch, divergent_barrier_kernel);
}
void missing_lane(const Launch& launch, int* out) {
  start(launch, missing_lane_kernel, out);
}
void past_shared_memory(const Launch& launch) {
  start(launch, past_shared_memory_kernel, static_cast<unsigned>(launch.shared_bytes));
}
void past_global_memory(const Launch& launch, float* p, std::int64_t i) {
  start(launch, past_global_memory_kernel, p, i);
}
void collectives(const Launch& launch, std::uint32_t* out) {
  start(launch, collectives_kernel, out);
}
void atomics(const Launch& launch, int* count, unsigned long long* largest) {
  start(launch, atomics_kernel, count, largest);
}

}  // namespace hylas::test
