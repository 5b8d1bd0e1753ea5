// CUDA: grad_norm, adamw_update, add_into (kernels/adamw.hpp).
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kUpdateTurns = 4;  // packets a thread updates
constexpr int kNormTurns = 16;   // packets a thread squares; a chunk is kThreads * kNormTurns packets of 4

// N floats at i, of which `count` exist (the others are 0).
template <int N>
__device__ __forceinline__ void load_some(const float* p, std::int64_t count, float (&x)[N]) {
  if (count >= N) {
    load_floats<float, N>(p, x);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = j < count ? p[j] : 0.0F;
  }
}
template <class T, int N>
__device__ __forceinline__ void store_some(T* p, std::int64_t count, const float (&x)[N]) {
  if (count >= N) {
    store_floats<T, N>(p, x);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float one[1] = {x[j]};
      if (j < count) store_floats<T, 1>(p + j, one);
    }
  }
}

// ---- the norm ----

// partial [P, chunks]: the sum of squares of a chunk of 4 * kThreads * kNormTurns elements.
template <int N>
__global__ void __launch_bounds__(kThreads)
    squares_kernel(const float* __restrict__ grads, std::int64_t n, std::int64_t stride, double* partial) {
  __shared__ double buffer[kThreads / 32];
  grads += blockIdx.y * stride;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * (kThreads * kNormTurns * 4);
  double sum[4] = {};
#pragma unroll 4
  for (int turn = 0; turn < kNormTurns; ++turn) {
    const std::int64_t i = begin + (turn * kThreads + static_cast<int>(threadIdx.x)) * 4;
    float x[4];
    if constexpr (N == 4) {
      load_some<4>(grads + i, n - i, x);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] = i + j < n ? grads[i + j] : 0.0F;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const double wide = static_cast<double>(x[j]);
      sum[j] = fma(wide, wide, sum[j]);
    }
  }
  const double total = block_sum((sum[0] + sum[1]) + (sum[2] + sum[3]), buffer);
  if (threadIdx.x == 0) partial[static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = total;
}

// norm [P] from partial [P, chunks]; a block a trial.
__global__ void __launch_bounds__(kThreads)
    norm_kernel(const double* __restrict__ partial, int chunks, float* __restrict__ norm, std::int64_t norm_stride) {
  __shared__ double buffer[kThreads / 32];
  partial += static_cast<std::int64_t>(blockIdx.x) * chunks;
  double sum = 0;
#pragma unroll 4
  for (int c = threadIdx.x; c < chunks; c += kThreads) sum += partial[c];
  sum = block_sum(sum, buffer);
  if (threadIdx.x == 0) norm[blockIdx.x * norm_stride] = static_cast<float>(sqrt(sum));
}

// ---- the update ----

struct UpdateOptions {
  double beta1, beta2;
  float eps;
  std::int64_t decay_count;
};
struct UpdateArrays {  // of trial 0; copy and apply may be null
  float* params;
  const float* grads;
  float *m, *v;
  bf16* copy;
  const float *lr, *weight_decay, *clip_scale;
  const std::int32_t *step, *apply;
  std::int64_t n;
  std::int64_t params_stride, grads_stride, m_stride, v_stride, copy_stride;
  std::int64_t lr_stride, weight_decay_stride, clip_scale_stride, step_stride, apply_stride;
};

// The constants of a trial's update; corrections in double, rounded once, as the CPU makes them.
struct UpdateScales {
  float clip, step_size, inv_sqrt_correction, decay;
};
__device__ __forceinline__ UpdateScales scales_of(const UpdateArrays& a, const UpdateOptions& options, std::int64_t p) {
  const double step = a.step[p * a.step_stride], lr = a.lr[p * a.lr_stride];
  UpdateScales s;
  s.clip = a.clip_scale[p * a.clip_scale_stride];
  s.step_size = static_cast<float>(lr / (1 - pow(options.beta1, step)));
  s.inv_sqrt_correction = static_cast<float>(1 / sqrt(1 - pow(options.beta2, step)));
  s.decay = static_cast<float>(lr * static_cast<double>(a.weight_decay[p * a.weight_decay_stride]));
  return s;
}

// The fused operations are spelled out: both packet sizes give the same bits.
template <int N>
__global__ void __launch_bounds__(kThreads) adamw_kernel(UpdateArrays a, UpdateOptions options) {
  __shared__ UpdateScales shared_scales;
  const std::int64_t p = blockIdx.y;
  if (a.apply != nullptr && a.apply[p * a.apply_stride] == 0) return;
  if (threadIdx.x == 0) shared_scales = scales_of(a, options, p);
  __syncthreads();
  const UpdateScales s = shared_scales;
  const float beta1 = static_cast<float>(options.beta1), beta2 = static_cast<float>(options.beta2);
  const float rest1 = 1.0F - beta1, rest2 = 1.0F - beta2;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * (kThreads * kUpdateTurns * N);
#pragma unroll
  for (int turn = 0; turn < kUpdateTurns; ++turn) {
    const std::int64_t i = begin + (turn * kThreads + static_cast<int>(threadIdx.x)) * N;
    const std::int64_t count = a.n - i;
    if (count <= 0) break;
    float param[N], grad[N], m[N], v[N];
    load_some<N>(a.params + p * a.params_stride + i, count, param);
    load_some<N>(a.grads + p * a.grads_stride + i, count, grad);
    load_some<N>(a.m + p * a.m_stride + i, count, m);
    load_some<N>(a.v + p * a.v_stride + i, count, v);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float g = grad[j] * s.clip;
      m[j] = fmaf(beta1, m[j], rest1 * g);
      v[j] = fmaf(beta2, v[j], rest2 * (g * g));
      const float update = s.step_size * m[j] / fmaf(sqrtf(v[j]), s.inv_sqrt_correction, options.eps);
      const float decay = i + j < options.decay_count ? s.decay : 0.0F;
      param[j] = fmaf(-decay, param[j], param[j] - update);
    }
    store_some<float, N>(a.params + p * a.params_stride + i, count, param);
    store_some<float, N>(a.m + p * a.m_stride + i, count, m);
    store_some<float, N>(a.v + p * a.v_stride + i, count, v);
    if (a.copy != nullptr) store_some<bf16, N>(a.copy + p * a.copy_stride + i, count, param);
  }
}

// ---- the sum of chunks ----

template <int N>
__global__ void __launch_bounds__(kThreads)
    add_into_kernel(const float* __restrict__ part, float* __restrict__ sum, std::int64_t n, std::int64_t part_stride,
                    std::int64_t sum_stride) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (i >= n) return;
  part += blockIdx.y * part_stride + i;
  sum += blockIdx.y * sum_stride + i;
  float x[N], y[N];
  load_some<N>(part, n - i, x);
  load_some<N>(sum, n - i, y);
#pragma unroll
  for (int j = 0; j < N; ++j) y[j] += x[j];
  store_some<float, N>(sum, n - i, y);
}

}  // namespace

void grad_norm(Context& ctx, const Tensor& grads, const Tensor& norm) {
  const Checks check("grad_norm");
  const std::int64_t trials = grads.trials(), n = grads.trial_size();
  check.sized("grads", grads, DType::f32, trials, n).sized("norm", norm, DType::f32, trials, 1);
  const ArenaScope scope(ctx.arena);
  const auto chunks = static_cast<unsigned>((n + kThreads * kNormTurns * 4 - 1) / (kThreads * kNormTurns * 4));
  auto* partial = ctx.arena.take<double>(trials * chunks);
  const dim3 grid(chunks, static_cast<unsigned>(trials));
  const float* data = data_of<float>(grads);
  if (aligned(grads, 16)) {
    launch(ctx, squares_kernel<4>, grid, dim3(kThreads), 0, data, n, grads.trial_stride(), partial);
  } else {
    launch(ctx, squares_kernel<1>, grid, dim3(kThreads), 0, data, n, grads.trial_stride(), partial);
  }
  launch(ctx, norm_kernel, dim3(static_cast<unsigned>(trials)), dim3(kThreads), 0, partial, static_cast<int>(chunks),
         data_of<float>(norm), norm.trial_stride());
}

void adamw_update(Context& ctx, const AdamW& options, const AdamWData& data, const Tensor& params, const Tensor& grads,
                  const Tensor& m, const Tensor& v, const Tensor& copy, const Tensor& apply) {
  const Checks check("adamw_update");
  const std::int64_t trials = params.trials(), n = params.trial_size();
  check.sized("params", params, DType::f32, trials, n).sized("grads", grads, DType::f32, trials, n);
  check.sized("m", m, DType::f32, trials, n).sized("v", v, DType::f32, trials, n);
  check.sized("lr", data.lr, DType::f32, trials, 1).sized("weight_decay", data.weight_decay, DType::f32, trials, 1);
  check.sized("clip_scale", data.clip_scale, DType::f32, trials, 1).sized("step", data.step, DType::i32, trials, 1);
  if (copy.defined()) check.sized("copy", copy, DType::bf16, trials, n);
  if (apply.defined()) check.sized("apply", apply, DType::i32, trials, 1);
  check.require(options.decay_count >= 0 && options.decay_count <= n,
                "decay_count should be 0.." + std::to_string(n) + ", is " + std::to_string(options.decay_count));
  const UpdateArrays arrays{data_of<float>(params),
                            data_of<float>(grads),
                            data_of<float>(m),
                            data_of<float>(v),
                            data_of<bf16>(copy),
                            data_of<float>(data.lr),
                            data_of<float>(data.weight_decay),
                            data_of<float>(data.clip_scale),
                            data_of<std::int32_t>(data.step),
                            data_of<std::int32_t>(apply),
                            n,
                            params.trial_stride(),
                            grads.trial_stride(),
                            m.trial_stride(),
                            v.trial_stride(),
                            copy.trial_stride(),
                            data.lr.trial_stride(),
                            data.weight_decay.trial_stride(),
                            data.clip_scale.trial_stride(),
                            data.step.trial_stride(),
                            apply.trial_stride()};
  const UpdateOptions constants{options.beta1, options.beta2, static_cast<float>(options.eps), options.decay_count};
  const bool vector = aligned(params, 16) && aligned(grads, 16) && aligned(m, 16) && aligned(v, 16) && aligned(copy, 8);
  const int packet = vector ? 4 : 1;
  const dim3 grid(blocks_for(n, kThreads * kUpdateTurns * packet), static_cast<unsigned>(trials));
  launch(ctx, vector ? adamw_kernel<4> : adamw_kernel<1>, grid, dim3(kThreads), 0, arrays, constants);
}

void add_into(Context& ctx, const Tensor& part, const Tensor& sum) {
  const Checks check("add_into");
  const std::int64_t trials = sum.trials(), n = sum.trial_size();
  check.sized("part", part, DType::f32, trials, n).sized("sum", sum, DType::f32, trials, n);
  const bool vector = aligned(part, 16) && aligned(sum, 16);
  launch(ctx, vector ? add_into_kernel<4> : add_into_kernel<1>,
         dim3(blocks_for(n, kThreads * (vector ? 4 : 1)), static_cast<unsigned>(trials)), dim3(kThreads), 0,
         data_of<float>(part), data_of<float>(sum), n, part.trial_stride(), sum.trial_stride());
}

}  // namespace hylas::kernels::cuda
