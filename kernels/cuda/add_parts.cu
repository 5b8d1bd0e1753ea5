// The ordered sum of partial gradients (see linear.hpp).
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

}  // namespace

void add_parts(Context& ctx, const Tensor& parts, const Tensor& sum) {
  const std::int64_t n = sum.trial_size();
  if (n % 4 != 0 || sum.trial_stride() % 4 != 0) throw std::invalid_argument("add_parts: sizes must be multiples of 4");
  const auto blocks = static_cast<unsigned>((n / 4 + kThreads - 1) / kThreads);
  launch(ctx, add_parts_kernel, dim3(blocks, static_cast<unsigned>(sum.trials())), dim3(kThreads), 0,
         static_cast<const float*>(parts.data()), parts.dim(1), n, static_cast<float*>(sum.data()), sum.trial_stride());
}

}  // namespace hylas::kernels::cuda
