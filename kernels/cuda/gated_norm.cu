// CUDA: gated_norm (kernels/gated_norm.hpp). As add_rmsnorm.cu: a group of neighbouring threads takes a row (one group
// of one token) and keeps it in registers. Every tensor is read or written once.
//
// dweight: a block sums its chunk of rows in registers, the chunks (a function of shapes) are added in order.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/linear.hpp"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/row_split.hpp"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kMaxWidth = 8192;

struct GatedPlan {
  std::int64_t rows = 0;  // of one trial: tokens times groups
  Divisor groups{1};
  int dim = 0, lanes = 0, width = 0, z_stride = 0, chunk = 0;
  int gate_first = 0, sigmoid = 0;
  float eps = 0;
  // Strides from one trial to the next.
  std::int64_t x = 0, z = 0, weight = 0, y = 0, inv_rms = 0, dy = 0, dx = 0, dz = 0, partial = 0;

  // Where z of a row begins.
  [[nodiscard]] __device__ __forceinline__ std::int64_t z_at(std::int64_t row) const {
    const unsigned token = groups.quotient(static_cast<unsigned>(row));
    return static_cast<std::int64_t>(token) * width +
           static_cast<std::int64_t>(static_cast<unsigned>(row) - token * groups.divisor()) * z_stride;
  }
};

// The most threads of a block, by what split_of() gives.
template <int N, int V>
constexpr int most_threads() {
  return N == 1 ? 1024 : V == 1 ? kThreads : V == 2 ? 256 : static_cast<int>(kMaxWidth) / (N * V);
}

struct Gate {
  float value, slope;
};
template <class T>
__device__ __forceinline__ Gate gate_of(float z, int sigmoid) {
  const float s = reciprocal<T>(1.0F + exponential<T>(-z));
  const float silu = z * s;
  return sigmoid != 0 ? Gate{s, s * (1.0F - s)} : Gate{silu, s + silu * (1.0F - s)};
}

// A thread's elements of a row, zero where there are none.
template <class T, int N, int V>
__device__ __forceinline__ void read_row(const T* p, int lane, int lanes, int dim, bool here, float (&x)[V][N]) {
  Packed<T, N> packets[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * lanes + lane) * N;
    packets[k] = here && column < dim ? load<T, N>(p + column) : zeros<T, N>();
  }
#pragma unroll
  for (int k = 0; k < V; ++k) unpack<T, N>(packets[k], x[k]);
}
template <class T, int N, int V>
__device__ __forceinline__ void write_row(T* p, int lane, int lanes, int dim, const float (&x)[V][N]) {
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * lanes + lane) * N;
    if (column < dim) store<T, N>(p + column, pack<T, N>(x[k]));
  }
}
template <int N, int V>
__device__ __forceinline__ void read_weight(const float* p, int lane, int lanes, int dim, float (&w)[V][N]) {
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * lanes + lane) * N;
#pragma unroll
    for (int j = 0; j < N; ++j) w[k][j] = 0;
    if (column < dim) load_floats<float, N>(p + column, w[k]);
  }
}

__device__ __forceinline__ float row_sum(float x, int lanes, float* buffer) {
  return lanes <= 32 ? group_sum(x, lanes) : block_sum(x, buffer);
}

template <class T, int N, int V>
__global__ void __launch_bounds__(most_threads<N, V>())
    gated_norm_forward_kernel(const T* x, const T* __restrict__ z, const float* __restrict__ weight, T* y,
                              float* __restrict__ inv_rms, GatedPlan plan) {
  __shared__ float buffer[32];
  const auto [lane, group, groups] = group_of(plan.lanes);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * groups + group, p = blockIdx.y;
  const bool here = row < plan.rows;
  float u[V][N], gates[V][N], w[V][N];
  read_row<T, N, V>(x + p * plan.x + row * plan.dim, lane, plan.lanes, plan.dim, here, u);
  read_row<T, N, V>(z + p * plan.z + (here ? plan.z_at(row) : 0), lane, plan.lanes, plan.dim, here, gates);
  read_weight<N, V>(weight + p * plan.weight, lane, plan.lanes, plan.dim, w);
  float sum = 0;
#pragma unroll
  for (int k = 0; k < V; ++k) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      gates[k][j] = gate_of<T>(gates[k][j], plan.sigmoid).value;
      if (plan.gate_first != 0) u[k][j] *= gates[k][j];
      sum += u[k][j] * u[k][j];
    }
  }
  sum = row_sum(sum, plan.lanes, buffer);
  const float inv = 1.0F / sqrtf(sum / static_cast<float>(plan.dim) + plan.eps);
  if (!here) return;
  if (lane == 0) inv_rms[p * plan.inv_rms + row] = inv;
#pragma unroll
  for (int k = 0; k < V; ++k) {
#pragma unroll
    for (int j = 0; j < N; ++j) u[k][j] = w[k][j] * (u[k][j] * inv) * (plan.gate_first != 0 ? 1.0F : gates[k][j]);
  }
  write_row<T, N, V>(y + p * plan.y + row * plan.dim, lane, plan.lanes, plan.dim, u);
}

// A block takes `chunk` rows; its groups take turns. partial [P, chunks, dim] receives the block's part of dweight.
template <class T, int N, int V>
__global__ void __launch_bounds__(most_threads<N, V>())
    gated_norm_backward_kernel(const T* __restrict__ x, const T* __restrict__ z, const float* __restrict__ weight,
                               const float* __restrict__ inv_rms, const T* __restrict__ dy, T* __restrict__ dx,
                               T* __restrict__ dz, float* __restrict__ partial, GatedPlan plan) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ float buffer[2][32];  // of every other turn: one barrier a turn is enough
  const auto [lane, group, groups] = group_of(plan.lanes);
  const std::int64_t p = blockIdx.y, begin = static_cast<std::int64_t>(blockIdx.x) * plan.chunk;
  float w[V][N], dw[V][N];
  read_weight<N, V>(weight + p * plan.weight, lane, plan.lanes, plan.dim, w);
#pragma unroll
  for (int k = 0; k < V; ++k) {
#pragma unroll
    for (int j = 0; j < N; ++j) dw[k][j] = 0;
  }
  int odd = 0;
  for (int turn = 0; turn < plan.chunk; turn += groups) {
    const std::int64_t row = begin + turn + group, first = row * plan.dim;
    const bool here = row < plan.rows;
    const std::int64_t z_at = here ? plan.z_at(row) : 0;
    float xs[V][N], zs[V][N], ds[V][N];
    read_row<T, N, V>(x + p * plan.x + first, lane, plan.lanes, plan.dim, here, xs);
    read_row<T, N, V>(z + p * plan.z + z_at, lane, plan.lanes, plan.dim, here, zs);
    read_row<T, N, V>(dy + p * plan.dy + first, lane, plan.lanes, plan.dim, here, ds);
    const float inv = here ? inv_rms[p * plan.inv_rms + row] : 0.0F;
    float sum = 0;  // of dy weight gate times the normed x
#pragma unroll
    for (int k = 0; k < V; ++k) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float product = ds[k][j] * gate_of<T>(zs[k][j], plan.sigmoid).value * (xs[k][j] * inv);
        dw[k][j] += product;
        sum += product * w[k][j];
      }
    }
    sum = row_sum(sum, plan.lanes, buffer[odd]);
    odd = 1 - odd;
    const float mean = sum / static_cast<float>(plan.dim);
#pragma unroll
    for (int k = 0; k < V; ++k) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const Gate gate = gate_of<T>(zs[k][j], plan.sigmoid);
        const float dnormed = ds[k][j] * w[k][j];
        const float opened = plan.gate_first != 0 ? dnormed : dnormed * gate.value;
        const float u = plan.gate_first != 0 ? xs[k][j] * gate.value : xs[k][j];
        const float du = (opened - u * inv * mean) * inv;
        zs[k][j] = (plan.gate_first != 0 ? du * xs[k][j] : dnormed * (xs[k][j] * inv)) * gate.slope;
        xs[k][j] = plan.gate_first != 0 ? du * gate.value : du;
      }
    }
    if (!here) continue;
    write_row<T, N, V>(dx + p * plan.dx + first, lane, plan.lanes, plan.dim, xs);
    write_row<T, N, V>(dz + p * plan.dz + z_at, lane, plan.lanes, plan.dim, zs);
  }
  partial += p * plan.partial + static_cast<std::int64_t>(blockIdx.x) * plan.dim;
  write_column_sums<N, V>(dw, lane, groups, plan.lanes, plan.dim, reinterpret_cast<float*>(shared_memory), partial);
}

// Calls f(T, N, V as constants) for rows of `dim` of which `n` neighbouring elements may be moved at once.
template <class F>
void by_layout(DType dtype, int n, int packets, F&& f) {
  const auto split = [&]<class T, int N>() {
    if constexpr (N == 1) {
      f.template operator()<T, N, 8>();
    } else {
      if (packets == 1) f.template operator()<T, N, 1>();
      if (packets == 2) f.template operator()<T, N, 2>();
      if (packets == 4) f.template operator()<T, N, 4>();
    }
  };
  if (dtype == DType::f32) {
    n == 4 ? split.template operator()<float, 4>() : split.template operator()<float, 1>();
  } else if (n == 8) {
    split.template operator()<bf16, 8>();
  } else {
    n == 4 ? split.template operator()<bf16, 4>() : split.template operator()<bf16, 1>();
  }
}

int packet_of(const GatedNorm& norm, const Tensor& proj, const Tensor& weight,
              std::initializer_list<const Tensor*> tensors) {
  const std::int64_t size = size_of(proj.dtype());
  const auto fits = [&](std::int64_t n) {
    bool good = norm.dim % n == 0 && norm.z_at % n == 0 && (norm.groups == 1 || norm.z_stride % n == 0) &&
                proj.dim(-1) % n == 0 && aligned(weight, 16) && aligned(proj, n * size);
    for (const Tensor* t : tensors) good = good && aligned(*t, n * size);
    return good;
  };
  if (size == 2 && fits(8)) return 8;
  return fits(4) ? 4 : 1;
}

GatedPlan plan_of(const Checks& check, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                  const Tensor& inv_rms) {
  check.floating("x", x);
  check.require(norm.groups >= 1 && norm.dim >= 1 && norm.dim <= kMaxWidth, "groups should have 1 to 8192 elements");
  const std::int64_t tokens = x.trial_rows(), trials = x.trials(), width = proj.defined() ? proj.dim(-1) : 0;
  check.rows("x", x, x.dtype(), trials, tokens, norm.groups * norm.dim);
  check.rows("proj", proj, x.dtype(), trials, tokens, width);
  check.require(
      norm.z_at >= 0 && norm.z_stride >= 0 && norm.z_at + (norm.groups - 1) * norm.z_stride + norm.dim <= width,
      "z, " + std::to_string(norm.groups) + " groups of " + std::to_string(norm.dim) + " from column " +
          std::to_string(norm.z_at) + " on, " + std::to_string(norm.z_stride) + " apart, leaves proj " +
          cpu::describe(proj));
  check.require(tokens * norm.groups < std::int64_t{1} << 31, "2^31 groups a trial are the limit");
  check.sized("weight", weight, DType::f32, trials, norm.dim);
  check.sized("inv_rms", inv_rms, DType::f32, trials, tokens * norm.groups);
  GatedPlan plan;
  plan.rows = tokens * norm.groups;
  plan.groups = Divisor(norm.groups);
  plan.dim = static_cast<int>(norm.dim);
  plan.width = static_cast<int>(width);
  plan.z_stride = static_cast<int>(norm.z_stride);
  plan.gate_first = norm.form == GatedNormForm::silu_norm ? 1 : 0;
  plan.sigmoid = norm.form == GatedNormForm::norm_sigmoid ? 1 : 0;
  plan.eps = static_cast<float>(norm.eps);
  plan.x = x.trial_stride();
  plan.z = proj.trial_stride();
  plan.weight = weight.trial_stride();
  plan.inv_rms = inv_rms.trial_stride();
  return plan;
}

}  // namespace

void gated_norm_forward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                        const Tensor& y, const Tensor& inv_rms) {
  const Checks check("gated_norm_forward");
  GatedPlan plan = plan_of(check, norm, x, proj, weight, inv_rms);
  check.rows("y", y, x.dtype(), x.trials(), x.trial_rows(), x.dim(-1));
  const int n = packet_of(norm, proj, weight, {&x, &y});
  const Split split = split_of(norm.dim, n);
  plan.lanes = split.lanes;
  plan.y = y.trial_stride();
  by_layout(x.dtype(), n, split.packets, [&]<class T, int N, int V>() {
    const int threads = plan.lanes > 32 ? plan.lanes : kThreads;
    launch(ctx, gated_norm_forward_kernel<T, N, V>,
           dim3(blocks_for(plan.rows, plan.lanes > 32 ? 1 : threads / plan.lanes), static_cast<unsigned>(x.trials())),
           dim3(static_cast<unsigned>(threads)), 0, data_of<T>(x), data_of<T>(proj) + norm.z_at, data_of<float>(weight),
           data_of<T>(y), data_of<float>(inv_rms), plan);
  });
}

void gated_norm_backward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                         const Tensor& inv_rms, const Tensor& dy, const Tensor& dx, const Tensor& dproj,
                         const Tensor& dweight) {
  const Checks check("gated_norm_backward");
  GatedPlan plan = plan_of(check, norm, x, proj, weight, inv_rms);
  const std::int64_t tokens = x.trial_rows(), trials = x.trials();
  check.rows("dy", dy, x.dtype(), trials, tokens, x.dim(-1)).rows("dx", dx, x.dtype(), trials, tokens, x.dim(-1));
  check.rows("dproj", dproj, x.dtype(), trials, tokens, proj.dim(-1));
  check.sized("dweight", dweight, DType::f32, trials, norm.dim);
  const int n = packet_of(norm, proj, weight, {&x, &dy, &dx, &dproj});
  const Split split = split_of(norm.dim, n);
  plan.lanes = split.lanes;
  plan.dy = dy.trial_stride();
  plan.dx = dx.trial_stride();
  plan.dz = dproj.trial_stride();
  const int threads = plan.lanes > 32 ? plan.lanes : kThreads;
  plan.chunk = static_cast<int>(chunk_of(plan.rows, threads / plan.lanes));
  const std::int64_t chunks = (plan.rows + plan.chunk - 1) / plan.chunk, width = (norm.dim + 3) / 4 * 4;
  const ArenaScope scope(ctx.arena);
  const Tensor partial = ctx.arena.tensor(DType::f32, {trials, chunks, width});
  plan.partial = partial.trial_stride();
  by_layout(x.dtype(), n, split.packets, [&]<class T, int N, int V>() {
    const std::size_t shared = plan.lanes > 32 ? 0 : static_cast<std::size_t>(threads / 32 * plan.dim) * sizeof(float);
    launch(ctx, gated_norm_backward_kernel<T, N, V>, dim3(static_cast<unsigned>(chunks), static_cast<unsigned>(trials)),
           dim3(static_cast<unsigned>(threads)), shared, data_of<T>(x), data_of<T>(proj) + norm.z_at,
           data_of<float>(weight), data_of<float>(inv_rms), data_of<T>(dy), data_of<T>(dx),
           data_of<T>(dproj) + norm.z_at, data_of<float>(partial), plan);
  });
  add_chunks(ctx, partial, chunks, norm.dim, 0, dweight);
}

}  // namespace hylas::kernels::cuda
