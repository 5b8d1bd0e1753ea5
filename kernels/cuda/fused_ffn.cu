// The feed-forward branch in one kernel: y = x + (silu(h gate^T) * (h up^T)) down^T with h = RMSNorm(x).
//
// The hidden columns are taken `chunk` at a time: gate and up sums in registers, their product rounded to bf16 and fed
// to the second product, whose sums [128, d] stay in registers to the end. With d = 256 two warps share 32 rows: each
// makes half of a chunk's columns, they exchange them through shared memory, and each sums half of the d columns.
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/fused.hpp"
#include "kernels/cuda/fused_hopper_ffn.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused;

template <int d>
struct ForwardPlan {
  static constexpr int halves = d == 256 ? 2 : 1;
  static constexpr int threads = 128 * halves;
  static constexpr int chunk = 32 * halves;
  static constexpr int k_tiles = halves;      // a chunk of gate and up comes in that many tiles
  static constexpr int k = d / k_tiles;       // [2 chunk, k]: gate rows, then up rows
  static constexpr int columns = d / halves;  // of the output, a warp
  static constexpr int gate_up_tile = 2 * chunk * k;
  static constexpr int down_tile = d * chunk;  // [d, chunk]
  static constexpr int slot = gate_up_tile > down_tile ? gate_up_tile : down_tile;
  static constexpr int slots = 4;  // three tiles are under way while one is used
  static constexpr int exchange = halves == 2 ? block_rows * chunk : 0;
  static constexpr int shared_bytes = 2 * (block_rows * d + slots * slot + exchange);
};

__device__ __forceinline__ float silu(float g) {
  return g * sigmoid(g);
}

template <int d>
__global__ void __launch_bounds__(ForwardPlan<d>::threads, d == 256 ? 1 : 2)
    ffn_forward(Trials<const Bf16> x_all, Trials<const float> norm_weight, float eps, Trials<const Bf16> gate_up_all,
                Trials<const Bf16> down_all, Trials<Bf16> y_all, int rows, int f) {
  using Plan = ForwardPlan<d>;
  constexpr int chunk = Plan::chunk;
  constexpr int k = Plan::k;
  constexpr int n = Plan::columns / 8;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  Bf16* h = reinterpret_cast<Bf16*>(shared_memory);
  Bf16* ring = h + block_rows * d;
  Bf16* exchange = ring + Plan::slots * Plan::slot;

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp % 4 * 32;
  const int half = warp / 4;
  const Bf16* x = x_all[trial];
  const Bf16* gate_up = gate_up_all[trial];
  const Bf16* down = down_all[trial];

  const int chunks = f / chunk;
  int next = 0;  // the next tile to fetch: its place in the ring, its chunk and its part of the chunk
  int next_chunk = 0;
  int next_part = 0;
  auto fetch = [&] {
    if (next_chunk < chunks) {
      Bf16* tile = ring + next * Plan::slot;
      if (next_part < Plan::k_tiles) {
        const Bf16* from = gate_up + static_cast<std::int64_t>(next_chunk) * chunk * d + next_part * k;
        copy_tile<Straight<k>, chunk, Plan::threads>(tile, from, d);
        copy_tile<Straight<k>, chunk, Plan::threads>(tile + chunk * k, from + static_cast<std::int64_t>(f) * d, d);
      } else {
        copy_tile<Straight<chunk>, d, Plan::threads>(tile, down + next_chunk * chunk, f);
      }
      next = (next + 1) % Plan::slots;
      if (++next_part > Plan::k_tiles) {
        next_part = 0;
        ++next_chunk;
      }
    }
    copy_commit();
  };
  int current = Plan::slots - 1;
  auto acquire = [&]() -> const Bf16* {
    copy_wait<Plan::slots - 2>();
    __syncthreads();
    fetch();
    current = (current + 1) % Plan::slots;
    return ring + current * Plan::slot;
  };

  for (int i = 0; i < Plan::slots - 1; ++i) fetch();
  normalise_rows<Straight<d>, Plan::threads>(h, nullptr, nullptr, x, norm_weight[trial], eps, first_row, rows);

  const auto lane_h = lane_a<d>(lane);
  const auto lane_gate_up = lane_b<k>(lane);
  const auto lane_down = lane_b<chunk>(lane);
  const auto lane_act = lane_a<chunk>(lane);
  float y[2][n][4];
  clear(y);
#pragma unroll 1
  for (int c = 0; c < chunks; ++c) {
    float gate[2][4][4];
    float up[2][4][4];
    clear(gate);
    clear(up);
#pragma unroll
    for (int part = 0; part < Plan::k_tiles; ++part) {
      const Bf16* tile = acquire();
#pragma unroll 4
      for (int step = 0; step < k / 16; ++step) {
        std::uint32_t a[2][4];
        load_a<d>(a, h, lane_h, warp_row, part * (k / 8) + 2 * step);
        multiply_rows<4, k>(gate, a, tile, lane_gate_up, half * 32, 2 * step);
        multiply_rows<4, k>(up, a, tile, lane_gate_up, chunk + half * 32, 2 * step);
      }
    }
    // act[s][m] is the A fragment of hidden columns 16 s .. 16 s + 15 of this warp's 32.
    std::uint32_t act[2][2][4];
#pragma unroll
    for (int s = 0; s < 2; ++s) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int j = 2 * s + i / 2;
          const int e = i % 2 * 2;
          act[s][m][i] = pack_bf16(silu(gate[m][j][e]) * up[m][j][e], silu(gate[m][j][e + 1]) * up[m][j][e + 1]);
        }
      }
    }
    if constexpr (Plan::halves == 2) {
#pragma unroll
      for (int s = 0; s < 2; ++s) {
#pragma unroll
        for (int m = 0; m < 2; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int row = warp_row + 16 * m + i % 2 * 8 + lane / 4;
            *reinterpret_cast<std::uint32_t*>(exchange + piece_offset<chunk>(row, half * 4 + 2 * s + i / 2) +
                                              lane % 4 * 2) = act[s][m][i];
          }
        }
      }
    }
    const Bf16* tile = acquire();
    if (c == chunks - 1) {  // h has done its service: x takes its place for the sum
      copy_rows<Straight<d>, Plan::threads>(h, x, d, first_row, rows);
      copy_commit();
    }
#pragma unroll
    for (int step = 0; step < chunk / 16; ++step) {
      if constexpr (Plan::halves == 2) {
        std::uint32_t a[2][4];
        load_a<chunk>(a, exchange, lane_act, warp_row, 2 * step);
        multiply_rows<n, chunk>(y, a, tile, lane_down, half * Plan::columns, 2 * step);
      } else {
        multiply_rows<n, chunk>(y, act[step], tile, lane_down, 0, 2 * step);
      }
    }
  }
  copy_wait<0>();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int j = 0; j < n; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = warp_row + 16 * m + 8 * i + lane / 4;
        auto* pair = reinterpret_cast<std::uint32_t*>(h + piece_offset<d>(row, half * n + j) + lane % 4 * 2);
        const float2 old = widen(*pair);
        *pair = pack_bf16(old.x + y[m][j][2 * i], old.y + y[m][j][2 * i + 1]);
      }
    }
  }
  __syncthreads();
  store_rows<Straight<d>, Plan::threads>(y_all[trial], h, first_row, rows);
}

}  // namespace

// A thread block needs up to 225 KiB at d 256, 113 KiB at d 128 and half of that at d 64.
bool fused_fits(const Context& ctx, std::int64_t d) {
  const int capability = ctx.gpu->capability();
  if (capability == 90 || (capability >= 100 && capability < 120)) return true;  // 227 KiB a thread block
  return d <= (capability == 80 || capability == 87 ? 128 : 64);                 // 163 KiB; 99 KiB
}

bool fused_ffn_supported(std::int64_t d, std::int64_t f) {
  return (d == 64 || d == 128 || d == 256) && f > 0 && f % 64 == 0 && f < (1 << 24);
}

void fused_ffn_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps, const Tensor& gate_up,
                       const Tensor& down, const Tensor& y) {
  const Check check("fused_ffn_forward", x.trials(), x.trial_rows());
  const std::int64_t d = x.dim(-1);
  const std::int64_t f = down.dim(-1);
  check.require(fused_ffn_supported(d, f), "needs d_model 64, 128 or 256 and an ffn width that is a multiple of 64");
  const auto x_view = check.activation<const Bf16>("x", x, d);
  const auto norm_view = check.tensor<const float>("norm_weight", norm_weight, DType::f32, 1, d);
  const auto gate_up_view = check.tensor<const Bf16>("gate_up", gate_up, DType::bf16, 2 * f, d);
  const auto down_view = check.tensor<const Bf16>("down", down, DType::bf16, d, f);
  const auto y_view = check.activation<Bf16>("y", y, d);
  if (hopper_ffn_forward(ctx, x, norm_weight, eps, gate_up, down, y)) return;
  auto run = [&]<int size>() {
    using Plan = ForwardPlan<size>;
    launch(ctx, ffn_forward<size>, check.grid(), dim3(Plan::threads), Plan::shared_bytes, x_view, norm_view,
           static_cast<float>(eps), gate_up_view, down_view, y_view, static_cast<int>(x.trial_rows()),
           static_cast<int>(f));
  };
  by_width(d, run);
}

}  // namespace hylas::kernels::cuda
