// CUDA: add_rmsnorm (kernels/add_rmsnorm.hpp). A group of neighbouring threads takes a row and keeps it in registers:
// part of a warp or a warp for the usual d, a block for long rows. Every tensor is read or written once.
//
// Thread `lane` of a group of `lanes` holds the packets lane, lane + lanes, ... (V of them) of N elements. How a row is
// split depends on d and dtype only, forward and backward alike, so h is made with the same bits by both.
//
// dweight: a block sums its chunk of rows in registers, the chunks (a function of rows and d) are added in order.
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

constexpr int kForwardThreads = 128, kBackwardThreads = 128;
constexpr std::int64_t kMaxWidth = 8192;

struct NormShape {
  std::int64_t rows;  // of one trial
  int d, lanes;
  float eps;
};

struct NormStrides {  // from one trial to the next
  std::int64_t x, branch, weight, h, inv_rms, dh, residual, dx, partial;
};

// Sums over a row's threads. Blocks: `buffer` holds one value a warp; it must not be in use by an earlier sum that some
// warp may still read.
__device__ __forceinline__ float row_sum(float x, int lanes, float* buffer) {
  return lanes <= 32 ? group_sum(x, lanes) : block_sum(x, buffer);
}

// The most threads of a block: `usual` where a warp or less takes a row, what split_of() gives where a block does.
template <class T, int N, int V>
constexpr int most_threads(int usual) {
  return N == 1 ? 1024 : V == 1 ? usual : V == 2 ? 256 : static_cast<int>(kMaxWidth) / (N * V);
}

// Rows a group works on at once in the forward pass: as many as keep enough bytes under way.
template <int N, int V>
constexpr int kRowsAtOnce = N == 1 || V == 4 ? 1 : 4 / V;

template <class T, int N, int V, bool with_branch>
__global__ void __launch_bounds__(most_threads<T, N, V>(kForwardThreads))
    add_rmsnorm_forward_kernel(T* x, const T* __restrict__ branch, const float* __restrict__ weight, T* __restrict__ h,
                               float* __restrict__ inv_rms, NormShape shape, NormStrides strides) {
  constexpr int R = kRowsAtOnce<N, V>;
  __shared__ float buffer[R][32];
  const auto [lane, group, groups] = group_of(shape.lanes);
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * (groups * R) + group;
  const std::int64_t p = blockIdx.y;
  x += p * strides.x;
  if constexpr (with_branch) branch += p * strides.branch;
  const auto at = [&](int r, int k) { return (first_row + r * groups) * shape.d + (k * shape.lanes + lane) * N; };
  const auto here = [&](int r, int k) {
    return first_row + r * groups < shape.rows && (k * shape.lanes + lane) * N < shape.d;
  };
  Packed<T, N> values[R][V], added[R][V];
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      values[r][k] = here(r, k) ? load<T, N>(x + at(r, k)) : zeros<T, N>();
      if constexpr (with_branch) added[r][k] = here(r, k) ? load<T, N>(branch + at(r, k)) : zeros<T, N>();
    }
  }
  float w[V][N];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * shape.lanes + lane) * N;
    if (column < shape.d) load_floats<float, N>(weight + p * strides.weight + column, w[k]);
  }
#pragma unroll
  for (int r = 0; r < R; ++r) {
    float sum = 0;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      float v[N];
      unpack<T, N>(values[r][k], v);
      if constexpr (with_branch) {
        float b[N];
        unpack<T, N>(added[r][k], b);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] += b[j];
        values[r][k] = pack<T, N>(v);
        if (here(r, k)) store<T, N>(x + at(r, k), values[r][k]);
        unpack<T, N>(values[r][k], v);  // the norm is of x as it is stored
      }
#pragma unroll
      for (int j = 0; j < N; ++j) sum += v[j] * v[j];
    }
    sum = row_sum(sum, shape.lanes, buffer[r]);
    const float inv = 1.0F / sqrtf(sum / static_cast<float>(shape.d) + shape.eps);
    const std::int64_t row = first_row + r * groups;
    if (lane == 0 && row < shape.rows) inv_rms[p * strides.inv_rms + row] = inv;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      float v[N];
      unpack<T, N>(values[r][k], v);
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] = w[k][j] * (v[j] * inv);
      if (here(r, k)) store<T, N>(h + p * strides.h + at(r, k), pack<T, N>(v));
    }
  }
}

// A block takes `chunk` rows; its groups take turns. partial [P, chunks, d] receives the block's part of dweight.
template <class T, int N, int V>
__global__ void __launch_bounds__(most_threads<T, N, V>(kBackwardThreads))
    add_rmsnorm_backward_kernel(const T* __restrict__ dh, const T* __restrict__ x, const float* __restrict__ weight,
                                const float* __restrict__ inv_rms, const T* residual, T* dx, T* __restrict__ h,
                                float* __restrict__ partial, int chunk, NormShape shape, NormStrides strides) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ float buffer[2][2][32];  // of every other turn: one barrier a turn is enough
  const auto [lane, group, groups] = group_of(shape.lanes);
  const std::int64_t p = blockIdx.y;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * chunk;
  dh += p * strides.dh;
  x += p * strides.x;
  residual += p * strides.residual;  // may be dx
  dx += p * strides.dx;
  weight += p * strides.weight;
  float w[V][N], dw[V][N];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const int column = (k * shape.lanes + lane) * N;
#pragma unroll
    for (int j = 0; j < N; ++j) w[k][j] = dw[k][j] = 0;
    if (column < shape.d) load_floats<float, N>(weight + column, w[k]);
  }
  // The rows of the next turn are under way while this turn's are worked on, where the registers suffice.
  constexpr bool ahead = N > 1 && V < 4;
  Packed<T, N> xs[V], dhs[V], dxs[V], next_xs[V], next_dhs[V], next_dxs[V];
  float next_inv = 0;
  const auto fetch = [&](int turn) {
    const std::int64_t row = begin + turn + group;
    if (strides.inv_rms >= 0 && turn < chunk && row < shape.rows) next_inv = inv_rms[p * strides.inv_rms + row];
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const int column = (k * shape.lanes + lane) * N;
      const bool here = turn < chunk && row < shape.rows && column < shape.d;
      const std::int64_t at = row * shape.d + column;
      next_xs[k] = here ? load<T, N>(x + at) : zeros<T, N>();
      next_dhs[k] = here ? load<T, N>(dh + at) : zeros<T, N>();
      next_dxs[k] = here ? load<T, N>(residual + at) : zeros<T, N>();
    }
  };
  int odd = 0;
  if constexpr (ahead) fetch(0);
  for (int turn = 0; turn < chunk; turn += groups) {
    if constexpr (!ahead) fetch(turn);
    const std::int64_t row = begin + turn + group;
    const bool valid = row < shape.rows;
    const std::int64_t first = row * shape.d;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      xs[k] = next_xs[k];
      dhs[k] = next_dhs[k];
      dxs[k] = next_dxs[k];
    }
    float inv = next_inv;
    if constexpr (ahead) fetch(turn + groups);
    auto& buffers = buffer[odd];
    odd = 1 - odd;
    float squares = 0, products = 0;  // sums of x^2 and of dh x w
#pragma unroll
    for (int k = 0; k < V; ++k) {
      float v[N], g[N];
      unpack<T, N>(xs[k], v);
      unpack<T, N>(dhs[k], g);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        squares += v[j] * v[j];
        products += g[j] * v[j] * w[k][j];
      }
    }
    if (strides.inv_rms < 0) {
      squares = row_sum(squares, shape.lanes, buffers[0]);
      inv = 1.0F / sqrtf(squares / static_cast<float>(shape.d) + shape.eps);
    }
    products = row_sum(products, shape.lanes, buffers[1]);
    const float mean = products * inv / static_cast<float>(shape.d);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const int column = (k * shape.lanes + lane) * N;
      float v[N], g[N], out[N];
      unpack<T, N>(xs[k], v);
      unpack<T, N>(dhs[k], g);
      unpack<T, N>(dxs[k], out);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        v[j] *= inv;
        dw[k][j] += g[j] * v[j];
        out[j] += (g[j] * w[k][j] - v[j] * mean) * inv;
        v[j] = w[k][j] * v[j];
      }
      if (valid && column < shape.d) {
        store<T, N>(dx + first + column, pack<T, N>(out));
        if (strides.h >= 0) store<T, N>(h + p * strides.h + first + column, pack<T, N>(v));
      }
    }
  }
  partial += p * strides.partial + static_cast<std::int64_t>(blockIdx.x) * shape.d;
  write_column_sums<N, V>(dw, lane, groups, shape.lanes, shape.d, reinterpret_cast<float*>(shared_memory), partial);
}

// Calls f(T, N, V as constants) for the dtype, alignment and split at hand.
template <class F>
void by_layout(DType dtype, bool vector, std::int64_t d, F&& f) {
  const auto packets = [&]<class T, int N>() {
    const Split split = split_of(d, N);
    if constexpr (N == 1) {
      f.template operator()<T, N, 8>(split.lanes);
    } else {
      if (split.packets == 1) f.template operator()<T, N, 1>(split.lanes);
      if (split.packets == 2) f.template operator()<T, N, 2>(split.lanes);
      if (split.packets == 4) f.template operator()<T, N, 4>(split.lanes);
    }
  };
  if (dtype == DType::f32) {
    vector ? packets.template operator()<float, kLanes<float>>() : packets.template operator()<float, 1>();
  } else {
    vector ? packets.template operator()<bf16, kLanes<bf16>>() : packets.template operator()<bf16, 1>();
  }
}

// -1: the tensor is absent.
std::int64_t stride_or_absent(const Tensor& t) {
  return t.defined() ? t.trial_stride() : -1;
}

void check_norm(const Checks& check, const Tensor& x, const Tensor& weight, const Tensor& inv_rms, bool needs_inv) {
  check.floating("x", x);
  check.require(x.dim(-1) >= 1 && x.dim(-1) <= kMaxWidth, "x should have rows of 1 to 8192 elements");
  check.sized("weight", weight, DType::f32, x.trials(), x.dim(-1));
  if (needs_inv || inv_rms.defined()) check.sized("inv_rms", inv_rms, DType::f32, x.trials(), x.trial_rows());
}

}  // namespace

void add_rmsnorm_forward(Context& ctx, const Tensor& x, const Tensor& branch, const Tensor& weight, double eps,
                         const Tensor& h, const Tensor& inv_rms) {
  const Checks check("add_rmsnorm_forward");
  check_norm(check, x, weight, inv_rms, true);
  const std::int64_t d = x.dim(-1), rows = x.trial_rows(), trials = x.trials();
  check.rows("h", h, x.dtype(), trials, rows, d);
  if (branch.defined()) check.rows("branch", branch, x.dtype(), trials, rows, d);
  const bool vector = d % (16 / size_of(x.dtype())) == 0 && aligned(x, 16) && aligned(branch, 16) &&
                      aligned(weight, 16) && aligned(h, 16);
  by_layout(x.dtype(), vector, d, [&]<class T, int N, int V>(int lanes) {
    const int threads = lanes > 32 ? lanes : kForwardThreads;
    const NormShape shape{rows, static_cast<int>(d), lanes, static_cast<float>(eps)};
    NormStrides strides{};
    strides.x = x.trial_stride();
    strides.branch = branch.trial_stride();
    strides.weight = weight.trial_stride();
    strides.h = h.trial_stride();
    strides.inv_rms = inv_rms.trial_stride();
    launch(ctx,
           branch.defined() ? add_rmsnorm_forward_kernel<T, N, V, true> : add_rmsnorm_forward_kernel<T, N, V, false>,
           dim3(blocks_for(rows, threads / lanes * kRowsAtOnce<N, V>), static_cast<unsigned>(trials)),
           dim3(static_cast<unsigned>(threads)), 0, data_of<T>(x), data_of<T>(branch), data_of<float>(weight),
           data_of<T>(h), data_of<float>(inv_rms), shape, strides);
  });
}

void add_rmsnorm_backward(Context& ctx, const Tensor& dh, const Tensor& x, const Tensor& weight, const Tensor& inv_rms,
                          const Tensor& dx, const Tensor& dweight, const Tensor& h, double eps,
                          const Tensor& residual) {
  const Checks check("add_rmsnorm_backward");
  const Tensor& from = residual.defined() ? residual : dx;
  check_norm(check, x, weight, inv_rms, false);
  const std::int64_t d = x.dim(-1), rows = x.trial_rows(), trials = x.trials();
  check.rows("dh", dh, x.dtype(), trials, rows, d).rows("dx", dx, x.dtype(), trials, rows, d);
  check.rows("residual", from, x.dtype(), trials, rows, d);
  check.sized("dweight", dweight, DType::f32, trials, d);
  if (h.defined()) check.rows("h", h, x.dtype(), trials, rows, d);
  const bool vector = d % (16 / size_of(x.dtype())) == 0 && aligned(x, 16) && aligned(dh, 16) && aligned(dx, 16) &&
                      aligned(from, 16) && aligned(weight, 16) && aligned(h, 16);
  by_layout(x.dtype(), vector, d, [&]<class T, int N, int V>(int lanes) {
    const int threads = lanes > 32 ? lanes : kBackwardThreads;
    const std::int64_t chunk = chunk_of(rows, threads / lanes), chunks = (rows + chunk - 1) / chunk;
    const ArenaScope scope(ctx.arena);
    const std::int64_t width = (d + 3) / 4 * 4;
    const Tensor partial = ctx.arena.tensor(DType::f32, {trials, chunks, width});
    const NormShape shape{rows, static_cast<int>(d), lanes, static_cast<float>(eps)};
    NormStrides strides{};
    strides.x = x.trial_stride();
    strides.weight = weight.trial_stride();
    strides.h = stride_or_absent(h);
    strides.inv_rms = stride_or_absent(inv_rms);
    strides.dh = dh.trial_stride();
    strides.dx = dx.trial_stride();
    strides.residual = from.trial_stride();
    strides.partial = partial.trial_stride();
    const std::size_t shared = lanes > 32 ? 0 : static_cast<std::size_t>(threads / 32 * d) * sizeof(float);
    launch(ctx, add_rmsnorm_backward_kernel<T, N, V>,
           dim3(static_cast<unsigned>(chunks), static_cast<unsigned>(trials)), dim3(static_cast<unsigned>(threads)),
           shared, data_of<T>(dh), data_of<T>(x), data_of<float>(weight), data_of<float>(inv_rms), data_of<T>(from),
           data_of<T>(dx), data_of<T>(h), data_of<float>(partial), static_cast<int>(chunk), shape, strides);
    add_chunks(ctx, partial, chunks, d, 0, dweight);
  });
}

}  // namespace hylas::kernels::cuda
