// RMSNorm and the projection behind it in one kernel, with an optional rotation of the heads; and its backward pass.
//
// Forward: the normalised rows stay in shared memory, tiles [column_tile, 64] of the weight stream past them, and the
// sums of one column tile leave rotated. A column tile holds whole heads, so both elements of a rotated pair belong to
// one thread. Backward: dy and w stream by, 32 of the N columns at a time, dh [128, d] stays in registers.
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/fused.hpp"
#include "kernels/cuda/fused_hopper.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused;

template <int d, int column_tile>
struct LinearPlan {
  static constexpr int threads = 128;
  static constexpr int k = 64;
  static constexpr int tile = column_tile * k;
  static constexpr int slots = column_tile == 128 ? 3 : 4;
  static constexpr int shared_bytes = 2 * (block_rows * d + slots * tile);
  static constexpr int blocks = column_tile == 128 || d == 256 ? 2 : 3;  // a multiprocessor
};

// Rotates the heads of dimension hd among the first `rotated` of a warp's n fragments.
template <int hd, int n>
__device__ __forceinline__ void rotate(float (&y)[2][n][4], const RopeTable& rope, int row, int rows, int inner,
                                       int rotated) {
  constexpr int apart = hd / 16;  // fragments from one element of a pair to the other
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int r = min(row + 16 * m + 8 * i, rows - 1);
      const std::int64_t table = static_cast<std::int64_t>(r % rope.length) * (hd / 2) + inner;
#pragma unroll
      for (int j = 0; j < apart; ++j) {
        const float2 cos = *reinterpret_cast<const float2*>(rope.cos + table + 8 * j);
        const float2 sin = *reinterpret_cast<const float2*>(rope.sin + table + 8 * j);
#pragma unroll
        for (int head = 0; head < n; head += 2 * apart) {
          if (head >= rotated) continue;
          float* low = y[m][head + j] + 2 * i;
          float* high = y[m][head + j + apart] + 2 * i;
          const float a[2] = {low[0], low[1]};
          low[0] = a[0] * cos.x - high[0] * sin.x;
          low[1] = a[1] * cos.y - high[1] * sin.y;
          high[0] = high[0] * cos.x + a[0] * sin.x;
          high[1] = high[1] * cos.y + a[1] * sin.y;
        }
      }
    }
  }
}

// hd: 0 without rotation, else the heads' dimension.
template <int d, int column_tile, int hd>
__global__ void __launch_bounds__(128, (LinearPlan<d, column_tile>::blocks))
    norm_linear_forward(Trials<const Bf16> x_all, Trials<const float> norm_weight, float eps, Trials<const Bf16> w_all,
                        Trials<Bf16> y_all, RopeTable rope, int rows, int columns) {
  using Plan = LinearPlan<d, column_tile>;
  constexpr int k = Plan::k;
  constexpr int k_tiles = d / k;
  constexpr int n = column_tile / 8;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  Bf16* h = reinterpret_cast<Bf16*>(shared_memory);
  Bf16* ring = h + block_rows * d;

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 32;
  const Bf16* w = w_all[trial];

  const int column_tiles = columns / column_tile;
  const int tiles = column_tiles * k_tiles;
  int next = 0;
  int next_slot = 0;
  auto fetch = [&] {
    if (next < tiles) {
      const Bf16* from = w + static_cast<std::int64_t>(next / k_tiles) * column_tile * d + next % k_tiles * k;
      copy_tile<Straight<k>, column_tile, Plan::threads>(ring + next_slot * Plan::tile, from, d);
      ++next;
      next_slot = next_slot + 1 == Plan::slots ? 0 : next_slot + 1;
    }
    copy_commit();
  };

  for (int i = 0; i < Plan::slots - 1; ++i) fetch();
  normalise_rows<Straight<d>, Plan::threads>(h, nullptr, nullptr, x_all[trial], norm_weight[trial], eps, first_row,
                                             rows);

  bool rotates = false;
  if constexpr (hd > 0) rotates = rope.on[trial * rope.on_stride] != 0;
  const auto lane_h = lane_a<d>(lane);
  const auto lane_w = lane_b<k>(lane);
  int slot = 0;
#pragma unroll 1
  for (int tile = 0; tile < column_tiles; ++tile) {
    float y[2][n][4];
    clear(y);
#pragma unroll 1
    for (int part = 0; part < k_tiles; ++part) {
      copy_wait<Plan::slots - 2>();
      __syncthreads();
      fetch();
      const Bf16* w_tile = ring + slot * Plan::tile;
      slot = slot + 1 == Plan::slots ? 0 : slot + 1;
#pragma unroll
      for (int step = 0; step < k / 16; ++step) {
        std::uint32_t a[2][4];
        load_a<d>(a, h, lane_h, warp_row, part * (k / 8) + 2 * step);
        multiply_rows<n, k>(y, a, w_tile, lane_w, 0, 2 * step);
      }
    }
    if constexpr (hd > 0) {
      const int rotated = rope.columns - tile * column_tile;  // the rest are values
      if (rotates && rotated > 0) {
        rotate<hd, n>(y, rope, first_row + warp_row + lane / 4, rows, lane % 4 * 2, rotated / 8);
      }
    }
    Bf16* to = y_all[trial] + tile * column_tile + lane % 4 * 8;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = first_row + warp_row + 16 * m + 8 * i + lane / 4;
#pragma unroll
        for (int j = 0; j < n; j += 4) {
          const uint4 words = transpose_quad(pack_bf16(y[m][j][2 * i], y[m][j][2 * i + 1]),
                                             pack_bf16(y[m][j + 1][2 * i], y[m][j + 1][2 * i + 1]),
                                             pack_bf16(y[m][j + 2][2 * i], y[m][j + 2][2 * i + 1]),
                                             pack_bf16(y[m][j + 3][2 * i], y[m][j + 3][2 * i + 1]), lane);
          if (row < rows) *reinterpret_cast<uint4*>(to + static_cast<std::int64_t>(row) * columns + j * 8) = words;
        }
      }
    }
  }
}

template <int d>
struct LinearBackwardPlan {
  static constexpr int halves = d == 256 ? 2 : 1;
  static constexpr int threads = 128 * halves;
  static constexpr int k = 32;
  static constexpr int dy_tile = block_rows * k;
  static constexpr int slot = dy_tile + k * d;  // dy [128, k], w [k, d]
  static constexpr int slots = 3;
  static constexpr int shared_bytes = 2 * (2 * block_rows * d + slots * slot) + 4 * block_rows;
  static_assert(2 * slots * slot >= 4 * (2 * block_rows + 4 * d));  // norm_backward's scratch
};

template <int d>
__global__ void __launch_bounds__(LinearBackwardPlan<d>::threads, d == 256 ? 1 : 2)
    norm_linear_backward(Trials<const Bf16> dy_all, Trials<const Bf16> x_all, Trials<const float> norm_weight_all,
                         float eps, Trials<const Bf16> w_all, Trials<const Bf16> residual_all, Trials<Bf16> dx_all,
                         Trials<Bf16> h_all, NormPartials partials, int rows, int columns) {
  using Plan = LinearBackwardPlan<d>;
  constexpr int threads = Plan::threads;
  constexpr int k = Plan::k;
  constexpr int n = d / Plan::halves / 8;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  Bf16* x = reinterpret_cast<Bf16*>(shared_memory);
  Bf16* residual = x + block_rows * d;
  Bf16* ring = residual + block_rows * d;
  float* inv_rms = reinterpret_cast<float*>(ring + Plan::slots * Plan::slot);

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp % 4 * 32;
  const int half = warp / 4;
  const Bf16* dy = dy_all[trial];
  const Bf16* w = w_all[trial];
  const float* norm_weight = norm_weight_all[trial];

  const int tiles = columns / k;
  int next = 0;
  int next_slot = 0;
  auto fetch = [&] {
    if (next < tiles) {
      Bf16* tile = ring + next_slot * Plan::slot;
      copy_rows<Straight<k>, threads>(tile, dy + next * k, columns, first_row, rows);
      copy_tile<Straight<d>, k, threads>(tile + Plan::dy_tile, w + static_cast<std::int64_t>(next) * k * d, d);
      ++next;
      next_slot = next_slot + 1 == Plan::slots ? 0 : next_slot + 1;
    }
  };

  fetch();
  copy_commit();
  fetch();  // x and the residual travel with the second tile
  copy_rows<Straight<d>, threads>(x, x_all[trial], d, first_row, rows);
  copy_rows<Straight<d>, threads>(residual, residual_all[trial], d, first_row, rows);
  copy_commit();

  const auto lane_dy = lane_a<k>(lane);
  const auto lane_w = lane_a<d>(lane);
  float dh[2][n][4];
  clear(dh);
  int slot = 0;
#pragma unroll 1
  for (int c = 0; c < tiles; ++c) {
    copy_wait<Plan::slots - 2>();
    __syncthreads();
    fetch();
    copy_commit();
    const Bf16* dy_tile = ring + slot * Plan::slot;
    slot = slot + 1 == Plan::slots ? 0 : slot + 1;
#pragma unroll
    for (int step = 0; step < k / 16; ++step) {
      std::uint32_t a[2][4];
      load_a<k>(a, dy_tile, lane_dy, warp_row, 2 * step);
      multiply_columns<n, d>(dh, a, dy_tile + Plan::dy_tile, lane_w, 16 * step, half * n);
    }
  }
  copy_wait<0>();
  __syncthreads();
  {
    constexpr int pieces = d / 8;
    float weight[8];
    load_norm_weight<d>(weight, norm_weight);
#pragma unroll 4
    for (int i = 0; i < block_rows * pieces / threads; ++i) {
      const int row = (i * threads + static_cast<int>(threadIdx.x)) / pieces;
      const int piece = static_cast<int>(threadIdx.x) % pieces;
      uint4 v = *reinterpret_cast<const uint4*>(x + piece_offset<d>(row, piece));
      const float inv = normalise<d>(v, weight, eps);
      if (piece == 0) inv_rms[row] = inv;
      if (first_row + row < rows) {
        *reinterpret_cast<uint4*>(h_all[trial] + static_cast<std::int64_t>(first_row + row) * d + piece * 8) = v;
      }
    }
  }
  __syncthreads();
  float* partial = partials.data + (static_cast<std::int64_t>(trial) * partials.blocks + blockIdx.x) * d;
  norm_backward<d, Plan::halves>(dh, x, residual, inv_rms, norm_weight, reinterpret_cast<float*>(ring), partial);
  store_rows<Straight<d>, threads>(dx_all[trial], x, first_row, rows);
}

}  // namespace

bool fused_norm_linear_supported(std::int64_t d, std::int64_t columns) {
  return (d == 64 || d == 128 || d == 256) && columns > 0 && columns % 64 == 0 && columns < (1 << 24);
}

bool fused_norm_linear_supported(std::int64_t d, std::int64_t columns, const Heads& rope) {
  return fused_norm_linear_supported(d, columns) && (rope.dim == 32 || rope.dim == 64 || rope.dim == 128) &&
         columns == (rope.query + 2 * rope.kv) * rope.dim;
}

void fused_norm_linear_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps, const Tensor& w,
                               const Tensor& y, const FusedRope* rope) {
  const Check check("fused_norm_linear_forward", x.trials(), x.trial_rows());
  const std::int64_t d = x.dim(-1);
  const std::int64_t columns = y.dim(-1);
  check.require(fused_norm_linear_supported(d, columns),
                "needs d_model 64, 128 or 256 and a number of columns that is a multiple of 64");
  const auto x_view = check.activation<const Bf16>("x", x, d);
  const auto norm_view = check.tensor<const float>("norm_weight", norm_weight, DType::f32, 1, d);
  const auto w_view = check.tensor<const Bf16>("w", w, DType::bf16, columns, d);
  const auto y_view = check.activation<Bf16>("y", y, columns);
  RopeTable table;
  std::int64_t hd = 0;
  if (rope != nullptr) {
    hd = rope->heads.dim;
    check.require(fused_norm_linear_supported(d, columns, rope->heads),
                  "needs heads of dimension 32, 64 or 128 that make up y's columns");
    const std::int64_t length = rope->cos.dim(1);
    const auto fits = [&](const Tensor& t) {
      return t.defined() && t.dtype() == DType::f32 && t.rank() == 3 && t.trials() == 1 && t.dim(1) == length &&
             t.dim(2) == hd / 2;
    };
    check.require(fits(rope->cos) && fits(rope->sin) && x.trial_rows() % length == 0,
                  "cos and sin must be {1, T, hd/2} in f32, and the rows a multiple of T");
    check.require(rope->on.defined() && rope->on.dtype() == DType::i32 && rope->on.size() == x.trials(),
                  "the rope switch must be [P] in i32");
    table = {static_cast<const float*>(rope->cos.data()),
             static_cast<const float*>(rope->sin.data()),
             static_cast<const std::int32_t*>(rope->on.data()),
             rope->on.trial_stride(),
             static_cast<int>(length),
             static_cast<int>((rope->heads.query + rope->heads.kv) * hd)};
  }
  const NormLinearForward p{.grid = check.grid(),
                            .d = static_cast<int>(d),
                            .columns = static_cast<int>(columns),
                            .rows = static_cast<int>(x.trial_rows()),
                            .head = static_cast<int>(hd),
                            .eps = static_cast<float>(eps),
                            .x = x_view,
                            .norm_weight = norm_view,
                            .w = w_view,
                            .y = y_view,
                            .rope = table};
  if (fused_on_hopper(ctx)) return norm_linear_forward_hopper(ctx, p);
  auto start = [&]<int size, int tile, int head>() {
    using Plan = LinearPlan<size, tile>;
    launch(ctx, norm_linear_forward<size, tile, head>, p.grid, dim3(Plan::threads), Plan::shared_bytes, p.x,
           p.norm_weight, p.eps, p.w, p.y, p.rope, p.rows, p.columns);
  };
  auto run = [&]<int size>() {
    if (hd == 0) {
      start.template operator()<size, 64, 0>();
    } else if (hd == 32) {
      start.template operator()<size, 64, 32>();
    } else if (hd == 64) {
      start.template operator()<size, 64, 64>();
    } else {
      start.template operator()<size, 128, 128>();
    }
  };
  by_width(d, run);
}

void fused_norm_linear_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight, double eps,
                                const Tensor& w, const Tensor& residual, const Tensor& dx, const Tensor& h_out,
                                const Tensor& dnorm_weight) {
  const Check check("fused_norm_linear_backward", x.trials(), x.trial_rows());
  const std::int64_t d = x.dim(-1);
  const std::int64_t columns = dy.dim(-1);
  check.require(fused_norm_linear_supported(d, columns),
                "needs d_model 64, 128 or 256 and a number of columns that is a multiple of 64");
  const auto dy_view = check.activation<const Bf16>("dy", dy, columns);
  const auto x_view = check.activation<const Bf16>("x", x, d);
  const auto norm_view = check.tensor<const float>("norm_weight", norm_weight, DType::f32, 1, d);
  const auto w_view = check.tensor<const Bf16>("w", w, DType::bf16, columns, d);
  const auto residual_view = check.activation<const Bf16>("residual", residual, d);
  const auto dx_view = check.activation<Bf16>("dx", dx, d);
  const auto h_view = check.activation<Bf16>("h_out", h_out, d);
  const auto dnorm_view = check.tensor<float>("dnorm_weight", dnorm_weight, DType::f32, 1, d);
  const dim3 grid = check.grid();
  const ArenaScope scope(ctx.arena);
  const NormPartials partials = take_partials(ctx, grid, static_cast<int>(d));
  const NormLinearBackward p{.grid = grid,
                             .d = static_cast<int>(d),
                             .columns = static_cast<int>(columns),
                             .rows = static_cast<int>(x.trial_rows()),
                             .eps = static_cast<float>(eps),
                             .dy = dy_view,
                             .x = x_view,
                             .norm_weight = norm_view,
                             .w = w_view,
                             .residual = residual_view,
                             .dx = dx_view,
                             .h = h_view,
                             .partials = partials};
  auto run = [&]<int size>() {
    using Plan = LinearBackwardPlan<size>;
    launch(ctx, norm_linear_backward<size>, grid, dim3(Plan::threads), Plan::shared_bytes, p.dy, p.x, p.norm_weight,
           p.eps, p.w, p.residual, p.dx, p.h, p.partials, p.rows, p.columns);
  };
  if (fused_on_hopper(ctx)) {
    norm_linear_backward_hopper(ctx, p);
  } else {
    by_width(d, run);
  }
  add_partials(ctx, grid, static_cast<int>(d), partials, dnorm_view);
}

}  // namespace hylas::kernels::cuda
