// The backward pass of the feed-forward branch in one kernel, but for the gradients of its matrices.
//
// A chunk of 32 hidden columns at a time: gate and up sums are made again from h, dact = dy down, and from them the
// chunk's act, dgate and dup, which go to memory for the weight gradients and, as operands in registers (through shared
// memory with d = 256, where two warps share 32 rows), into dh += dgate gate + dup up; dh [128, d] stays in registers.
// The norm's backward and the residual sum follow at the end.
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/fused.hpp"
#include "kernels/cuda/fused_hopper.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused;

template <int d>
struct BackwardPlan {
  static constexpr int halves = d == 256 ? 2 : 1;
  static constexpr int threads = 128 * halves;
  static constexpr int chunk = 32;
  static constexpr int columns = d / halves;          // of dh, a warp
  static constexpr int hidden = chunk / halves;       // of a chunk, a warp
  static constexpr int gate_up_tile = 2 * chunk * d;  // [gate rows, then up rows; d], two of them
  static constexpr int down_tile = d * chunk;         // [d, chunk]
  static constexpr int down_tiles = halves == 2 ? 1 : 2;
  static constexpr int exchange = halves == 2 ? block_rows * 2 * chunk : 0;  // [dgate, dup]
  static constexpr int shared_bytes =
      2 * (2 * block_rows * d + 2 * gate_up_tile + down_tiles * down_tile + exchange) + 4 * block_rows;
  static_assert(2 * 2 * gate_up_tile >= 4 * (2 * block_rows + 4 * d));  // norm_backward's scratch
};

// The chunk's part of an activation gradient to memory. v[m][j][i]: rows 16 m + 8 i + lane / 4 of the warp, columns
// 8 j + 2 (lane % 4) + 0, 1.
template <int n>
__device__ __forceinline__ void store_hidden(Bf16* to, std::int64_t pitch, const std::uint32_t (&v)[2][n][2], int row,
                                             int rows, int lane) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    if constexpr (n == 4) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint4 words = transpose_quad(v[m][0][i], v[m][1][i], v[m][2][i], v[m][3][i], lane);
        const int r = row + 16 * m + 8 * i + lane / 4;
        if (r < rows) *reinterpret_cast<uint4*>(to + r * pitch + lane % 4 * 8) = words;
      }
    } else {
      const uint4 words = transpose_quad(v[m][0][0], v[m][1][0], v[m][0][1], v[m][1][1], lane);
      const int r = row + 16 * m + lane % 4 / 2 * 8 + lane / 4;
      if (r < rows) *reinterpret_cast<uint4*>(to + r * pitch + lane % 2 * 8) = words;
    }
  }
}

template <int d>
__global__ void __launch_bounds__(BackwardPlan<d>::threads, d == 256 ? 1 : 2)
    ffn_backward(Trials<const Bf16> dy_all, Trials<const Bf16> x_all, Trials<const float> norm_weight_all, float eps,
                 Trials<const Bf16> gate_up_all, Trials<const Bf16> down_all, Trials<Bf16> dx_all, Trials<Bf16> h_all,
                 Trials<Bf16> act_all, Trials<Bf16> dgate_up_all, NormPartials partials, int rows, int f) {
  using Plan = BackwardPlan<d>;
  constexpr int chunk = Plan::chunk;
  constexpr int threads = Plan::threads;
  constexpr int n = Plan::columns / 8;
  constexpr int nh = Plan::hidden / 8;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  Bf16* h = reinterpret_cast<Bf16*>(shared_memory);
  Bf16* dy = h + block_rows * d;
  Bf16* gate_up_tiles = dy + block_rows * d;
  Bf16* down_tiles = gate_up_tiles + 2 * Plan::gate_up_tile;
  Bf16* exchange = down_tiles + Plan::down_tiles * Plan::down_tile;
  float* inv_rms = reinterpret_cast<float*>(exchange + Plan::exchange);

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp % 4 * 32;
  const int half = warp / 4;
  const Bf16* x = x_all[trial];
  const Bf16* gate_up = gate_up_all[trial];
  const Bf16* down = down_all[trial];
  const float* norm_weight = norm_weight_all[trial];

  const int chunks = f / chunk;
  auto fetch_gate_up = [&](int c) {
    if (c < chunks) {
      Bf16* tile = gate_up_tiles + c % 2 * Plan::gate_up_tile;
      const Bf16* from = gate_up + static_cast<std::int64_t>(c) * chunk * d;
      copy_tile<Straight<d>, chunk, threads>(tile, from, d);
      copy_tile<Straight<d>, chunk, threads>(tile + chunk * d, from + static_cast<std::int64_t>(f) * d, d);
    }
  };
  auto fetch_down = [&](int c) {
    if (c < chunks) {
      copy_tile<Straight<chunk>, d, threads>(down_tiles + c % Plan::down_tiles * Plan::down_tile, down + c * chunk, f);
    }
  };

  fetch_gate_up(0);
  fetch_down(0);
  copy_rows<Straight<d>, threads>(dy, dy_all[trial], d, first_row, rows);
  copy_commit();
  normalise_rows<Straight<d>, threads>(h, inv_rms, h_all[trial], x, norm_weight, eps, first_row, rows);

  const auto lane_rows = lane_a<d>(lane);      // h, dy, and gate and up as [k, n]
  const auto lane_gate_up = lane_b<d>(lane);   // gate and up as [n, k]
  const auto lane_down = lane_a<chunk>(lane);  // down as [k, n]
  const auto lane_exchange = lane_a<2 * chunk>(lane);
  float dh[2][n][4];
  clear(dh);
#pragma unroll 1
  for (int c = 0; c < chunks; ++c) {
    copy_wait<0>();
    __syncthreads();
    fetch_gate_up(c + 1);
    if constexpr (Plan::down_tiles == 2) fetch_down(c + 1);
    copy_commit();
    const Bf16* gate_up_tile = gate_up_tiles + c % 2 * Plan::gate_up_tile;
    const Bf16* down_tile = down_tiles + c % Plan::down_tiles * Plan::down_tile;
    const int column = c * chunk + half * Plan::hidden;

    // d act / d gate and d act / d up as pairs of bf16; act itself goes to memory.
    std::uint32_t by_gate[2][nh][2];
    std::uint32_t by_up[2][nh][2];
    {
      float gate[2][nh][4];
      float up[2][nh][4];
      clear(gate);
      clear(up);
#pragma unroll 4
      for (int step = 0; step < d / 16; ++step) {
        std::uint32_t a[2][4];
        load_a<d>(a, h, lane_rows, warp_row, 2 * step);
        multiply_rows<nh, d>(gate, a, gate_up_tile, lane_gate_up, half * Plan::hidden, 2 * step);
        multiply_rows<nh, d>(up, a, gate_up_tile, lane_gate_up, chunk + half * Plan::hidden, 2 * step);
      }
      std::uint32_t act[2][nh][2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int j = 0; j < nh; ++j) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            float s[2];
            float silu[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              const float g = gate[m][j][2 * i + e];
              s[e] = sigmoid(g);
              silu[e] = g * s[e];
              s[e] = (s[e] + silu[e] * (1.0F - s[e])) * up[m][j][2 * i + e];
            }
            act[m][j][i] = pack_bf16(silu[0] * up[m][j][2 * i], silu[1] * up[m][j][2 * i + 1]);
            by_gate[m][j][i] = pack_bf16(s[0], s[1]);
            by_up[m][j][i] = pack_bf16(silu[0], silu[1]);
          }
        }
      }
      store_hidden<nh>(act_all[trial] + column, f, act, first_row + warp_row, rows, lane);
    }
    // They become dgate and dup.
    {
      float dact[2][nh][4];
      clear(dact);
#pragma unroll 4
      for (int step = 0; step < d / 16; ++step) {
        std::uint32_t a[2][4];
        load_a<d>(a, dy, lane_rows, warp_row, 2 * step);
        multiply_columns<nh, chunk>(dact, a, down_tile, lane_down, 16 * step, half * nh);
      }
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int j = 0; j < nh; ++j) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const float low = dact[m][j][2 * i];
            const float high = dact[m][j][2 * i + 1];
            float2 by = widen(by_gate[m][j][i]);
            by_gate[m][j][i] = pack_bf16(low * by.x, high * by.y);
            by = widen(by_up[m][j][i]);
            by_up[m][j][i] = pack_bf16(low * by.x, high * by.y);
          }
        }
      }
    }
    Bf16* dgate_up = dgate_up_all[trial] + column;
    store_hidden<nh>(dgate_up, 2 * f, by_gate, first_row + warp_row, rows, lane);
    store_hidden<nh>(dgate_up + f, 2 * f, by_up, first_row + warp_row, rows, lane);

    if constexpr (Plan::halves == 2) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int j = 0; j < nh; ++j) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int row = warp_row + 16 * m + 8 * i + lane / 4;
            const int piece = half * nh + j;
            Bf16* to = exchange + lane % 4 * 2;
            *reinterpret_cast<std::uint32_t*>(to + piece_offset<2 * chunk>(row, piece)) = by_gate[m][j][i];
            *reinterpret_cast<std::uint32_t*>(to + piece_offset<2 * chunk>(row, chunk / 8 + piece)) = by_up[m][j][i];
          }
        }
      }
      __syncthreads();
      fetch_down(c + 1);
      copy_commit();
#pragma unroll
      for (int step = 0; step < 2 * chunk / 16; ++step) {
        std::uint32_t a[2][4];
        load_a<2 * chunk>(a, exchange, lane_exchange, warp_row, 2 * step);
        multiply_columns<n, d>(dh, a, gate_up_tile, lane_rows, 16 * step, half * n);
      }
    } else {
#pragma unroll
      for (int step = 0; step < 2 * chunk / 16; ++step) {
        std::uint32_t a[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int j = 2 * (step % 2) + i / 2;
            a[m][i] = step < 2 ? by_gate[m][j][i % 2] : by_up[m][j][i % 2];
          }
        }
        multiply_columns<n, d>(dh, a, gate_up_tile, lane_rows, 16 * step, 0);
      }
    }
  }
  __syncthreads();
  copy_rows<Straight<d>, threads>(h, x, d, first_row, rows);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  float* partial = partials.data + (static_cast<std::int64_t>(trial) * partials.blocks + blockIdx.x) * d;
  norm_backward<d, Plan::halves>(dh, h, dy, inv_rms, norm_weight, reinterpret_cast<float*>(gate_up_tiles), partial);
  store_rows<Straight<d>, threads>(dx_all[trial], h, first_row, rows);
}

}  // namespace

void fused_ffn_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight, double eps,
                        const Tensor& gate_up, const Tensor& down, const Tensor& dx_out, const Tensor& h_out,
                        const Tensor& act_out, const Tensor& dgate_up_out, const Tensor& dnorm_weight) {
  const Check check("fused_ffn_backward", x.trials(), x.trial_rows());
  const std::int64_t d = x.dim(-1);
  const std::int64_t f = down.dim(-1);
  check.require(fused_ffn_supported(d, f), "needs d_model 64, 128 or 256 and an ffn width that is a multiple of 64");
  check.require(dx_out.data() != dy.data(), "dx_out must not be dy, which the gradient of `down` still needs");
  const auto dy_view = check.activation<const Bf16>("dy", dy, d);
  const auto x_view = check.activation<const Bf16>("x", x, d);
  const auto norm_view = check.tensor<const float>("norm_weight", norm_weight, DType::f32, 1, d);
  const auto gate_up_view = check.tensor<const Bf16>("gate_up", gate_up, DType::bf16, 2 * f, d);
  const auto down_view = check.tensor<const Bf16>("down", down, DType::bf16, d, f);
  const auto dx_view = check.activation<Bf16>("dx_out", dx_out, d);
  const auto h_view = check.activation<Bf16>("h_out", h_out, d);
  const auto act_view = check.activation<Bf16>("act_out", act_out, f);
  const auto dgate_up_view = check.activation<Bf16>("dgate_up_out", dgate_up_out, 2 * f);
  const auto dnorm_view = check.tensor<float>("dnorm_weight", dnorm_weight, DType::f32, 1, d);
  const dim3 grid = check.grid();
  const int width = static_cast<int>(d);
  const ArenaScope scope(ctx.arena);
  const NormPartials partials = take_partials(ctx, grid, width);
  const FfnBackward p{.grid = grid,
                      .d = width,
                      .f = static_cast<int>(f),
                      .rows = static_cast<int>(x.trial_rows()),
                      .eps = static_cast<float>(eps),
                      .dy = dy_view,
                      .x = x_view,
                      .norm_weight = norm_view,
                      .gate_up = gate_up_view,
                      .down = down_view,
                      .dx = dx_view,
                      .h = h_view,
                      .act = act_view,
                      .dgate_up = dgate_up_view,
                      .partials = partials};
  auto run = [&]<int size>() {
    using Plan = BackwardPlan<size>;
    launch(ctx, ffn_backward<size>, grid, dim3(Plan::threads), Plan::shared_bytes, p.dy, p.x, p.norm_weight, p.eps,
           p.gate_up, p.down, p.dx, p.h, p.act, p.dgate_up, p.partials, p.rows, p.f);
  };
  if (fused_on_hopper(ctx)) {
    ffn_backward_hopper(ctx, p);
  } else {
    by_width(width, run);
  }
  add_partials(ctx, grid, width, partials, dnorm_view);
}

}  // namespace hylas::kernels::cuda
