// CUDA: decay_gates (kernels/decay_gates.hpp). A thread takes one head: of one token forward, of every slots-th token
// of its block's chunk backward. All of it is computed in f32 whatever proj is: steps are small differences from zero.
//
// da_log, ddt_bias: each thread sums its tokens, a block its slots in order, the chunks (a function of the number of
// rows and heads) are added in order.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/linear.hpp"
#include "kernels/cuda/row_split.hpp"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;

struct GatesPlan {
  std::int64_t rows;  // of a trial
  int heads, width, step_at, step_stride, beta_at, beta_stride, beta_is_step, unused_at, unused;
  int chunk;                                                   // rows of a block
  std::int64_t proj, a_log, dt_bias, g, beta, dproj, partial;  // strides from one trial to the next
};

// Only e^-|x| is ever taken.
__device__ __forceinline__ float softplus(float x) {
  return fmaxf(x, 0.0F) + log1pf(expf(-fabsf(x)));
}
__device__ __forceinline__ float sigmoid(float x) {
  const float e = expf(-fabsf(x));
  return (x >= 0 ? 1.0F : e) / (1.0F + e);
}

template <class T>
__device__ __forceinline__ float read(const T* p) {
  float x[1];
  load_floats<T, 1>(p, x);
  return x[0];
}
template <class T>
__device__ __forceinline__ void write(T* p, float x) {
  const float one[1] = {x};
  store<T, 1>(p, pack<T, 1>(one));
}

// blockDim.x / heads tokens side by side; the last threads may have none.
template <class T>
__global__ void __launch_bounds__(kThreads)
    decay_gates_forward_kernel(const T* __restrict__ proj, const float* __restrict__ a_log,
                               const float* __restrict__ dt_bias, float* __restrict__ g, float* __restrict__ beta,
                               GatesPlan plan) {
  const int slots = kThreads / plan.heads, slot = static_cast<int>(threadIdx.x) / plan.heads,
            h = static_cast<int>(threadIdx.x) - slot * plan.heads;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * slots + slot, p = blockIdx.y;
  if (slot >= slots || row >= plan.rows) return;
  proj += p * plan.proj + row * plan.width;
  const float step = softplus(read(proj + plan.step_at + h * plan.step_stride) + dt_bias[p * plan.dt_bias + h]);
  const std::int64_t at = row * plan.heads + h;
  g[p * plan.g + at] = -expf(a_log[p * plan.a_log + h]) * step;
  beta[p * plan.beta + at] = plan.beta_is_step != 0 ? step : sigmoid(read(proj + plan.beta_at + h * plan.beta_stride));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    decay_gates_backward_kernel(const T* __restrict__ proj, const float* __restrict__ a_log,
                                const float* __restrict__ dt_bias, const float* __restrict__ dg,
                                const float* __restrict__ dbeta, T* __restrict__ dproj, float* __restrict__ partial,
                                GatesPlan plan) {
  __shared__ float sums[2][kThreads];
  const int slots = kThreads / plan.heads, slot = static_cast<int>(threadIdx.x) / plan.heads,
            h = static_cast<int>(threadIdx.x) - slot * plan.heads;
  const std::int64_t p = blockIdx.y, begin = static_cast<std::int64_t>(blockIdx.x) * plan.chunk;
  const std::int64_t end = min(begin + plan.chunk, plan.rows);
  float a_sum = 0, bias_sum = 0;
  if (slot < slots) {
    const float rate = -expf(a_log[p * plan.a_log + h]), bias = dt_bias[p * plan.dt_bias + h];
    for (std::int64_t row = begin + slot; row < end; row += slots) {
      const std::int64_t at = row * plan.heads + h, step_at = row * plan.width + plan.step_at + h * plan.step_stride;
      const float before = read(proj + p * plan.proj + step_at) + bias;
      const float dgate = dg[p * plan.g + at], dwrite = dbeta[p * plan.beta + at];
      const float dbefore = (rate * dgate + (plan.beta_is_step != 0 ? dwrite : 0.0F)) * sigmoid(before);
      write(dproj + p * plan.dproj + step_at, dbefore);
      a_sum += dgate * (rate * softplus(before));
      bias_sum += dbefore;
      if (plan.beta_is_step != 0) continue;
      const std::int64_t beta_at = row * plan.width + plan.beta_at + h * plan.beta_stride;
      const float x = read(proj + p * plan.proj + beta_at);
      write(dproj + p * plan.dproj + beta_at, dwrite * sigmoid(x) * sigmoid(-x));
    }
  }
  for (std::int64_t i = threadIdx.x; i < (end - begin) * plan.unused; i += kThreads) {
    const std::int64_t row = begin + i / plan.unused;
    write(dproj + p * plan.dproj + row * plan.width + plan.unused_at + i % plan.unused, 0.0F);
  }
  sums[0][threadIdx.x] = a_sum;
  sums[1][threadIdx.x] = bias_sum;
  __syncthreads();
  partial += p * plan.partial + static_cast<std::int64_t>(blockIdx.x) * 2 * plan.heads;
  for (int i = threadIdx.x; i < 2 * plan.heads; i += kThreads) {
    const int which = i / plan.heads, head = i - which * plan.heads;
    float sum = 0;
    for (int s = 0; s < slots; ++s) sum += sums[which][s * plan.heads + head];
    partial[i] = sum;
  }
}

void check_columns(const Checks& check, const char* name, const DecayGates& gates, std::int64_t at, std::int64_t stride,
                   const Tensor& proj) {
  check.require(at >= 0 && stride >= 1 && at + (gates.heads - 1) * stride < proj.dim(-1),
                std::string(name) + " of " + std::to_string(gates.heads) + " heads from column " + std::to_string(at) +
                    " on, " + std::to_string(stride) + " apart, leaves proj " + cpu::describe(proj));
}

GatesPlan plan_of(const Checks& check, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                  const Tensor& dt_bias, const Tensor& g, const Tensor& beta) {
  check.floating("proj", proj);
  const std::int64_t rows = proj.trial_rows(), trials = proj.trials(), heads = gates.heads;
  check.require(heads >= 1 && heads <= kThreads, "1 to 256 heads can be, are " + std::to_string(heads));
  check_columns(check, "the step", gates, gates.step_at, gates.step_stride, proj);
  if (!gates.beta_is_step) check_columns(check, "beta", gates, gates.beta_at, gates.beta_stride, proj);
  check.require(gates.unused >= 0 && gates.unused_at >= 0 && gates.unused_at + gates.unused <= proj.dim(-1),
                "the unused columns leave proj " + cpu::describe(proj));
  check.sized("a_log", a_log, DType::f32, trials, heads).sized("dt_bias", dt_bias, DType::f32, trials, heads);
  check.rows("g or dg", g, DType::f32, trials, rows, heads)
      .rows("beta or dbeta", beta, DType::f32, trials, rows, heads);
  GatesPlan plan{};
  plan.rows = rows;
  plan.heads = static_cast<int>(heads);
  plan.width = static_cast<int>(proj.dim(-1));
  plan.step_at = static_cast<int>(gates.step_at);
  plan.step_stride = static_cast<int>(gates.step_stride);
  plan.beta_at = static_cast<int>(gates.beta_at);
  plan.beta_stride = static_cast<int>(gates.beta_stride);
  plan.beta_is_step = gates.beta_is_step ? 1 : 0;
  plan.unused_at = static_cast<int>(gates.unused_at);
  plan.unused = static_cast<int>(gates.unused);
  plan.proj = proj.trial_stride();
  plan.a_log = a_log.trial_stride();
  plan.dt_bias = dt_bias.trial_stride();
  plan.g = g.trial_stride();
  plan.beta = beta.trial_stride();
  return plan;
}

}  // namespace

void decay_gates_forward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                         const Tensor& dt_bias, const Tensor& g, const Tensor& beta) {
  const GatesPlan plan = plan_of(Checks("decay_gates_forward"), gates, proj, a_log, dt_bias, g, beta);
  const dim3 grid(blocks_for(plan.rows, kThreads / plan.heads), static_cast<unsigned>(proj.trials()));
  const auto run = [&]<class T>() {
    launch(ctx, decay_gates_forward_kernel<T>, grid, dim3(kThreads), 0, data_of<T>(proj), data_of<float>(a_log),
           data_of<float>(dt_bias), data_of<float>(g), data_of<float>(beta), plan);
  };
  proj.dtype() == DType::f32 ? run.template operator()<float>() : run.template operator()<bf16>();
}

void decay_gates_backward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                          const Tensor& dt_bias, const Tensor& dg, const Tensor& dbeta, const Tensor& dproj,
                          const Tensor& da_log, const Tensor& ddt_bias) {
  const Checks check("decay_gates_backward");
  GatesPlan plan = plan_of(check, gates, proj, a_log, dt_bias, dg, dbeta);
  const std::int64_t trials = proj.trials();
  check.rows("dproj", dproj, proj.dtype(), trials, plan.rows, proj.dim(-1));
  check.sized("da_log", da_log, DType::f32, trials, gates.heads);
  check.sized("ddt_bias", ddt_bias, DType::f32, trials, gates.heads);
  plan.dproj = dproj.trial_stride();
  plan.chunk = static_cast<int>(chunk_of(plan.rows, kThreads / plan.heads));
  const std::int64_t chunks = (plan.rows + plan.chunk - 1) / plan.chunk, width = 2 * gates.heads;
  const ArenaScope scope(ctx.arena);
  const Tensor partial = ctx.arena.tensor(DType::f32, {trials, chunks, width});
  plan.partial = partial.trial_stride();
  const dim3 grid(static_cast<unsigned>(chunks), static_cast<unsigned>(trials));
  const auto run = [&]<class T>() {
    launch(ctx, decay_gates_backward_kernel<T>, grid, dim3(kThreads), 0, data_of<T>(proj), data_of<float>(a_log),
           data_of<float>(dt_bias), data_of<float>(dg), data_of<float>(dbeta), data_of<T>(dproj),
           data_of<float>(partial), plan);
  };
  proj.dtype() == DType::f32 ? run.template operator()<float>() : run.template operator()<bf16>();
  add_chunks(ctx, partial, chunks, width, 0, da_log);
  add_chunks(ctx, partial, chunks, width, gates.heads, ddt_bias);
}

}  // namespace hylas::kernels::cuda
