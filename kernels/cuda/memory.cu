// CUDA: zero, copy, cast (kernels/memory.hpp), in the largest unit that divides every trial's bytes and addresses.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRepeat = 4;

// n packets of N elements a trial; strides in elements. A null `from` means zeros.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) copy_kernel(const T* __restrict__ from, T* __restrict__ to, std::int64_t n,
                                                        std::int64_t from_stride, std::int64_t to_stride) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * (kThreads * kRepeat) + threadIdx.x;
  to += blockIdx.y * to_stride;
  Packed<T, N> values[kRepeat] = {};
  if (from != nullptr) {
    from += blockIdx.y * from_stride;
#pragma unroll
    for (int k = 0; k < kRepeat; ++k) {
      if (first + k * kThreads < n) values[k] = load<T, N>(from + (first + k * kThreads) * N);
    }
  }
#pragma unroll
  for (int k = 0; k < kRepeat; ++k) {
    if (first + k * kThreads < n) store<T, N>(to + (first + k * kThreads) * N, values[k]);
  }
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    cast_kernel(const float* __restrict__ from, bf16* __restrict__ to, std::int64_t n, std::int64_t from_stride,
                std::int64_t to_stride) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (i >= n) return;
  float x[N];
  load_floats<float, N>(from + blockIdx.y * from_stride + i, x);
  store_floats<bf16, N>(to + blockIdx.y * to_stride + i, x);
}

void move(Context& ctx, const Tensor& from, const Tensor& to) {
  const std::int64_t bytes = to.trial_size() * size_of(to.dtype());
  if (bytes == 0) return;
  const auto in_units = [&]<class T, int N>() {
    const auto element = static_cast<std::int64_t>(sizeof(T)), unit = element * N;
    if (bytes % unit != 0 || !aligned(from, unit) || !aligned(to, unit)) return false;
    const auto stride = [&](const Tensor& t) { return t.trial_stride() * size_of(t.dtype()) / element; };
    launch(ctx, copy_kernel<T, N>,
           dim3(blocks_for(bytes / unit, kThreads * kRepeat), static_cast<unsigned>(to.trials())), dim3(kThreads), 0,
           data_of<T>(from), data_of<T>(to), bytes / unit, stride(from), stride(to));
    return true;
  };
  (void)(in_units.operator()<float, 4>() || in_units.operator()<float, 1>() || in_units.operator()<bf16, 1>());
}

}  // namespace

void zero(Context& ctx, const Tensor& t) {
  Checks("zero").require(t.defined(), "the tensor is absent");
  move(ctx, Tensor(), t);
}

void copy(Context& ctx, const Tensor& from, const Tensor& to) {
  Checks("copy").sized("from", from, to.dtype(), to.trials(), to.trial_size());
  move(ctx, from, to);
}

void cast(Context& ctx, const Tensor& from, const Tensor& to) {
  const std::int64_t n = to.trial_size();
  const Checks check("cast");
  check.sized("from", from, DType::f32, to.trials(), n).sized("to", to, DType::bf16, to.trials(), n);
  const bool vector = n % 8 == 0 && aligned(from, 16) && aligned(to, 16);
  launch(ctx, vector ? cast_kernel<8> : cast_kernel<1>,
         dim3(blocks_for(n, kThreads * (vector ? 8 : 1)), static_cast<unsigned>(to.trials())), dim3(kThreads), 0,
         data_of<float>(from), data_of<bf16>(to), n, from.trial_stride(), to.trial_stride());
}

void require_code() {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, cast_kernel<1>), "this build of hylas has no code for this GPU");
}

}  // namespace hylas::kernels::cuda
