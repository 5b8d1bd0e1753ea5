// CUDA: broadcast_last (kernels/broadcast_last.hpp). Forward: a thread a packet of z. Backward: a thread takes one
// packet of columns of one sequence through all positions, in their order.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSumThreads = 64;                               // few, so that few sequences still spread over the GPU
constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;  // of z, a trial

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* __restrict__ x, const float* __restrict__ position, T* __restrict__ z, unsigned packets,
                   Divisor per_row, Divisor length, std::int64_t x_stride, std::int64_t z_stride) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= packets) return;
  const unsigned row = per_row.quotient(i), column = i - row * per_row.divisor();
  const unsigned b = length.quotient(row), t = row - b * length.divisor();
  const std::int64_t last = static_cast<std::int64_t>((b + 1) * length.divisor() - 1) * per_row.divisor() + column;
  float a[N], code[N];
  load_floats<T, N>(x + blockIdx.y * x_stride + last * N, a);
  load_floats<float, N>(position + (static_cast<std::int64_t>(t) * per_row.divisor() + column) * N, code);
#pragma unroll
  for (int j = 0; j < N; ++j) a[j] = code[j] + a[j];
  store_floats<T, N>(z + blockIdx.y * z_stride + static_cast<std::int64_t>(i) * N, a);
}

template <class T, int N>
__global__ void __launch_bounds__(kSumThreads)
    backward_kernel(const T* __restrict__ dz, T* __restrict__ dx, unsigned columns, Divisor per_row, int length,
                    std::int64_t dz_stride, std::int64_t dx_stride) {
  const unsigned i = blockIdx.x * kSumThreads + threadIdx.x;
  if (i >= columns) return;
  const unsigned b = per_row.quotient(i), column = i - b * per_row.divisor();
  const std::int64_t step = static_cast<std::int64_t>(per_row.divisor()) * N;
  const std::int64_t first = b * length * step + static_cast<std::int64_t>(column) * N;
  dz += blockIdx.y * dz_stride + first;
  dx += blockIdx.y * dx_stride + first;
  float sum[N] = {};
#pragma unroll 8
  for (int t = 0; t < length; ++t) {
    float part[N];
    load_floats<T, N>(dz + t * step, part);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += part[j];
    if (t + 1 < length) store<T, N>(dx + t * step, zeros<T, N>());
  }
  store_floats<T, N>(dx + (length - 1) * step, sum);
}

template <class T, int N>
void forward(Context& ctx, const Tensor& x, const Tensor& position, const Tensor& z) {
  const std::int64_t packets = x.trial_size() / N;
  launch(ctx, forward_kernel<T, N>, dim3(blocks_for(packets, kThreads), static_cast<unsigned>(x.trials())),
         dim3(kThreads), 0, data_of<T>(x), data_of<float>(position), data_of<T>(z), static_cast<unsigned>(packets),
         Divisor(x.dim(3) / N), Divisor(x.dim(2)), x.trial_stride(), z.trial_stride());
}

template <class T, int N>
void backward(Context& ctx, const Tensor& dz, const Tensor& dx) {
  const std::int64_t columns = dz.dim(1) * dz.dim(3) / N;
  launch(ctx, backward_kernel<T, N>, dim3(blocks_for(columns, kSumThreads), static_cast<unsigned>(dz.trials())),
         dim3(kSumThreads), 0, data_of<T>(dz), data_of<T>(dx), static_cast<unsigned>(columns), Divisor(dz.dim(3) / N),
         static_cast<int>(dz.dim(2)), dz.trial_stride(), dx.trial_stride());
}

// `in` decides the shape, `out` has it too and is another tensor.
void check_pair(const Checks& check, const char* in_name, const Tensor& in, const char* out_name, const Tensor& out) {
  check.floating(in_name, in)
      .require(in.rank() == 4, std::string(in_name) + " should be [P, B, T, d], is " + cpu::describe(in))
      .require(in.trial_size() < kMaxElements, "a trial should have less than 2^31 elements")
      .rows(out_name, out, in.dtype(), in.trials(), in.dim(1) * in.dim(2), in.dim(3))
      .require(out.data() != in.data(), std::string(out_name) + " should be another tensor than " + in_name);
}

bool in_packets(const Tensor& a, const Tensor& b) {
  return a.dim(3) % (16 / size_of(a.dtype())) == 0 && aligned(a, 16) && aligned(b, 16);
}

}  // namespace

void broadcast_last_forward(Context& ctx, const Tensor& x, const Tensor& position, const Tensor& z) {
  const Checks check("broadcast_last_forward");
  check_pair(check, "x", x, "z", z);
  check.rows("position", position, DType::f32, 1, x.dim(2), x.dim(3));
  if (x.trial_size() == 0) return;
  const bool vector = in_packets(x, z) && aligned(position, 16);
  if (x.dtype() == DType::f32) {
    vector ? forward<float, kLanes<float>>(ctx, x, position, z) : forward<float, 1>(ctx, x, position, z);
  } else {
    vector ? forward<bf16, kLanes<bf16>>(ctx, x, position, z) : forward<bf16, 1>(ctx, x, position, z);
  }
}

void broadcast_last_backward(Context& ctx, const Tensor& dz, const Tensor& dx) {
  const Checks check("broadcast_last_backward");
  check_pair(check, "dz", dz, "dx", dx);
  if (dz.trial_size() == 0) return;
  const bool vector = in_packets(dz, dx);
  if (dz.dtype() == DType::f32) {
    vector ? backward<float, kLanes<float>>(ctx, dz, dx) : backward<float, 1>(ctx, dz, dx);
  } else {
    vector ? backward<bf16, kLanes<bf16>>(ctx, dz, dx) : backward<bf16, 1>(ctx, dz, dx);
  }
}

}  // namespace hylas::kernels::cuda
