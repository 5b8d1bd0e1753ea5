// The ordered sums of partial gradients (see linear.hpp): of many columns, and of many chunks.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/linear.hpp"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// One float4 a thread; n a multiple of 4.
__global__ void __launch_bounds__(kThreads)
    add_parts_kernel(const float* parts, std::int64_t chunks, std::int64_t n, float* sum, std::int64_t sum_stride) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 4;
  if (i >= n) return;
  const float* part = parts + static_cast<std::int64_t>(blockIdx.y) * chunks * n + i;
  float* out = sum + static_cast<std::int64_t>(blockIdx.y) * sum_stride + i;
  float4 total = *reinterpret_cast<const float4*>(part);
#pragma unroll 8
  for (std::int64_t c = 1; c < chunks; ++c) {
    const float4 x = *reinterpret_cast<const float4*>(part + c * n);
    total.x += x.x, total.y += x.y, total.z += x.z, total.w += x.w;
  }
  float4 before = *reinterpret_cast<const float4*>(out);
  before.x += total.x, before.y += total.y, before.z += total.z, before.w += total.w;
  *reinterpret_cast<float4*>(out) = before;
}

// 32 slices of chunks side by side, each in order, then the slices in order. A block of 32 columns x 32 slices.
__global__ void __launch_bounds__(1024)
    add_chunks_kernel(const float* __restrict__ parts, int chunks, int width, int n, float* __restrict__ sum_out,
                      std::int64_t parts_stride, std::int64_t sum_stride) {
  __shared__ float slices[32][32];
  const int column = blockIdx.x * 32 + threadIdx.x % 32, slice = threadIdx.x / 32;
  const int length = (chunks + 31) / 32;
  float sum = 0;
  if (column < n) {
    parts += blockIdx.y * parts_stride + column;
    const int end = min(chunks, (slice + 1) * length);
#pragma unroll 16
    for (int c = slice * length; c < end; ++c) sum += parts[static_cast<std::int64_t>(c) * width];
  }
  slices[slice][threadIdx.x % 32] = sum;
  __syncthreads();
  if (slice > 0 || column >= n) return;
  for (int s = 1; s < 32; ++s) sum += slices[s][threadIdx.x];
  sum_out[blockIdx.y * sum_stride + column] += sum;
}

}  // namespace

void add_chunks(Context& ctx, const Tensor& parts, std::int64_t chunks, std::int64_t width, std::int64_t first,
                const Tensor& sum) {
  const std::int64_t n = sum.trial_size();
  launch(ctx, add_chunks_kernel, dim3(static_cast<unsigned>((n + 31) / 32), static_cast<unsigned>(sum.trials())),
         dim3(1024), 0, static_cast<const float*>(parts.data()) + first, static_cast<int>(chunks),
         static_cast<int>(width), static_cast<int>(n), static_cast<float*>(sum.data()), parts.trial_stride(),
         sum.trial_stride());
}

void add_parts(Context& ctx, const Tensor& parts, const Tensor& sum) {
  const std::int64_t n = sum.trial_size();
  if (n % 4 != 0 || sum.trial_stride() % 4 != 0) throw std::invalid_argument("add_parts: sizes must be multiples of 4");
  const auto blocks = static_cast<unsigned>((n / 4 + kThreads - 1) / kThreads);
  launch(ctx, add_parts_kernel, dim3(blocks, static_cast<unsigned>(sum.trials())), dim3(kThreads), 0,
         static_cast<const float*>(parts.data()), parts.dim(1), n, static_cast<float*>(sum.data()), sum.trial_stride());
}

}  // namespace hylas::kernels::cuda
