// The backward pass of the feed-forward branch for Hopper: fused_ffn_backward.cu with wgmma.
//
// A warpgroup has 64 rows and, in registers, all d columns of their dh. Of 32 hidden columns at a time: gate and up
// from h, dact from dy; act, dgate and dup go to memory, and from registers into dh += [dgate, dup] [gate; up], whose
// right side is the tile that made gate and up, read the other way round.
#include "kernels/cuda/fused_hopper.cuh"
#include "kernels/cuda/fused_hopper.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused;

template <int d>
struct BackwardPlan {
  static constexpr int threads = 256;
  static constexpr int chunk = 32;
  static constexpr int gate_up_tile = 2 * chunk * d;  // panels of [64, 64]: gate rows, then up rows; two of them
  static constexpr int down_tile = d * chunk;         // [d, 32], two of them
  static constexpr int barriers = 8;                  // full and empty, two tiles of both kinds
  static constexpr int shared_bytes =
      2 * (2 * block_rows * d + 2 * gate_up_tile + 2 * down_tile) + 4 * block_rows + 8 * barriers;
};

// The warpgroup's 32 columns of an activation gradient to memory: v[j][i] is columns 8 j + 2 (lane % 4) + 0, 1 of row
// row + 8 i.
__device__ __forceinline__ void store_hidden(Bf16* to, std::int64_t pitch, const std::uint32_t (&v)[4][2], int row,
                                             int rows, int lane) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 words = transpose_quad(v[0][i], v[1][i], v[2][i], v[3][i], lane);
    if (row + 8 * i < rows) *reinterpret_cast<uint4*>(to + (row + 8 * i) * pitch + lane % 4 * 8) = words;
  }
}

template <int d>
__global__ void __launch_bounds__(256, d == 256 ? 1 : 2)
    ffn_backward_hopper(Trials<const Bf16> dy_all, Trials<const Bf16> x_all, Trials<const float> norm_weight_all,
                        float eps, const __grid_constant__ CUtensorMap gate_up,
                        const __grid_constant__ CUtensorMap down, Trials<Bf16> dx_all, Trials<Bf16> h_all,
                        Trials<Bf16> act_all, Trials<Bf16> dgate_up_all, NormPartials partials, int rows, int f) {
#if defined(HYLAS_FUSED_WGMMA)
  using Plan = BackwardPlan<d>;
  constexpr int chunk = Plan::chunk;
  constexpr int threads = Plan::threads;
  constexpr int outputs = d == 256 ? 2 : 1;  // products that make up the d columns
  constexpr int width = d / outputs;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  Bf16* h = reinterpret_cast<Bf16*>(shared_memory);
  Bf16* dy = h + block_rows * d;
  Bf16* gate_up_tiles = dy + block_rows * d;
  Bf16* down_tiles = gate_up_tiles + 2 * Plan::gate_up_tile;
  float* inv_rms = reinterpret_cast<float*>(down_tiles + 2 * Plan::down_tile);
  const std::uint32_t barriers = shared_address(inv_rms + block_rows);
  const auto full_gate_up = [=](int c) { return barriers + c % 2 * 8; };
  const auto empty_gate_up = [=](int c) { return barriers + 16 + c % 2 * 8; };
  const auto full_down = [=](int c) { return barriers + 32 + c % 2 * 8; };
  const auto empty_down = [=](int c) { return barriers + 48 + c % 2 * 8; };

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int row = first_row + static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;  // and row + 8
  const bool leader = threadIdx.x == 0;                                            // fetches the tiles
  const int chunks = f / chunk;

  if (leader) {
    for (int i = 0; i < 2; ++i) {
      hopper::barrier_init(full_gate_up(i), 1);
      hopper::barrier_init(full_down(i), 1);
      hopper::barrier_init(empty_gate_up(i), 2);
      hopper::barrier_init(empty_down(i), 2);
    }
    hopper::barrier_init_fence();
  }
  __syncthreads();

  auto fetch = [&](int c) {  // the leader only
    if (c >= chunks) return;
    const int parity = c / 2 % 2 ^ 1;
    const std::uint32_t tile = shared_address(gate_up_tiles + c % 2 * Plan::gate_up_tile);
    hopper::barrier_wait(empty_gate_up(c), parity);
    hopper::barrier_arrive_expect(full_gate_up(c), Plan::gate_up_tile * 2);
#pragma unroll 1
    for (int i = 0; i < d / 64; ++i) {
      const std::uint32_t panel = tile + i * (2 * chunk * 128);
      hopper::load_box(panel, &gate_up, full_gate_up(c), i * 64, c * chunk, 0, trial);
      hopper::load_box(panel + chunk * 128, &gate_up, full_gate_up(c), i * 64, f + c * chunk, 0, trial);
    }
    hopper::barrier_wait(empty_down(c), parity);
    hopper::barrier_arrive_expect(full_down(c), Plan::down_tile * 2);
    hopper::load_box(shared_address(down_tiles + c % 2 * Plan::down_tile), &down, full_down(c), c * chunk, 0, 0, trial);
  };
  auto release = [&](std::uint32_t barrier) {
    if (threadIdx.x % 128 == 0) hopper::barrier_arrive(barrier);
  };

  if (leader) fetch(0);
  __syncwarp();
  copy_rows<Panels<d>, threads>(dy, dy_all[trial], d, first_row, rows);
  copy_commit();
  normalise_rows<Panels<d>, threads>(h, inv_rms, h_all[trial], x_all[trial], norm_weight_all[trial], eps, first_row,
                                     rows);
  copy_wait<0>();
  fence_operands();
  __syncthreads();

  float dh[outputs][width / 2];
  float hidden[32];  // gate, then up: [64, 2 chunk] of the warpgroup
  float dact[16];
#pragma unroll
  for (int o = 0; o < outputs; ++o) {
#pragma unroll
    for (int i = 0; i < width / 2; ++i) dh[o][i] = 0;
  }
#pragma unroll
  for (int i = 0; i < 32; ++i) hidden[i] = 0;
#pragma unroll
  for (int i = 0; i < 16; ++i) dact[i] = 0;
#pragma unroll 1
  for (int c = 0; c < chunks; ++c) {
    const Bf16* gate_up_tile = gate_up_tiles + c % 2 * Plan::gate_up_tile;
    hopper::barrier_wait(full_gate_up(c), c / 2 % 2);
    {
      const Operand a = k_major(h + group * (64 * 64));
      const Operand b = k_major(gate_up_tile);
      pin(hidden);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < d / 16; ++i) {
        wgmma<false>(hidden, advance(a, i / 4 * (block_rows * 64) + i % 4 * 16),
                     advance(b, i / 4 * (2 * chunk * 64) + i % 4 * 16), i > 0 ? 1 : 0);
      }
      wgmma_commit();
    }
    if (leader) fetch(c + 1);
    __syncwarp();
    hopper::barrier_wait(full_down(c), c / 2 % 2);
    auto multiply_dy = [&] {
      const Operand a = k_major(dy + group * (64 * 64));
      const Operand b = n_major_32(down_tiles + c % 2 * Plan::down_tile);
      pin(dact);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < d / 16; ++i) {
        wgmma<true>(dact, advance(a, i / 4 * (block_rows * 64) + i % 4 * 16), advance(b, i * 16 * chunk),
                    i > 0 ? 1 : 0);
      }
      wgmma_commit();
    };
    wgmma_wait<0>();
    pin(hidden);
    multiply_dy();

    // d act / d gate and d act / d up as pairs of bf16; act itself goes to memory.
    std::uint32_t by_gate[4][2];
    std::uint32_t by_up[4][2];
    {
      std::uint32_t act[4][2];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float s[2];
          float silu[2];
          const float* up = hidden + 16 + 4 * j + 2 * i;
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const float g = hidden[4 * j + 2 * i + e];
            s[e] = sigmoid(g);
            silu[e] = g * s[e];
            s[e] = (s[e] + silu[e] * (1.0F - s[e])) * up[e];
          }
          act[j][i] = pack_bf16(silu[0] * up[0], silu[1] * up[1]);
          by_gate[j][i] = pack_bf16(s[0], s[1]);
          by_up[j][i] = pack_bf16(silu[0], silu[1]);
        }
      }
      store_hidden(act_all[trial] + c * chunk, f, act, row, rows, lane);
    }
    wgmma_wait<0>();
    pin(dact);
    release(empty_down(c));
    // They become dgate and dup.
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float low = dact[4 * j + 2 * i];
        const float high = dact[4 * j + 2 * i + 1];
        float2 by = widen(by_gate[j][i]);
        by_gate[j][i] = pack_bf16(low * by.x, high * by.y);
        by = widen(by_up[j][i]);
        by_up[j][i] = pack_bf16(low * by.x, high * by.y);
      }
    }
    Bf16* dgate_up = dgate_up_all[trial] + c * chunk;
    store_hidden(dgate_up, 2 * f, by_gate, row, rows, lane);
    store_hidden(dgate_up + f, 2 * f, by_up, row, rows, lane);
    {
      const Operand b = n_major<2 * chunk>(gate_up_tile);
#pragma unroll
      for (int o = 0; o < outputs; ++o) pin(dh[o]);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        std::uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int j = 2 * (step % 2) + i / 2;
          a[i] = step < 2 ? by_gate[j][i % 2] : by_up[j][i % 2];
        }
#pragma unroll
        for (int o = 0; o < outputs; ++o) {
          wgmma<true>(dh[o], a, advance(b, o * 2 * (2 * chunk * 64) + step * 16 * 64));
        }
      }
      wgmma_commit();
    }
    wgmma_wait<0>();
#pragma unroll
    for (int o = 0; o < outputs; ++o) pin(dh[o]);
    release(empty_gate_up(c));
  }
  __syncthreads();
  copy_rows<Panels<d>, threads>(h, x_all[trial], d, first_row, rows);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  float sums[d / 2];
#pragma unroll
  for (int i = 0; i < d / 2; ++i) sums[i] = dh[i / (width / 2)][i % (width / 2)];
  float* partial = partials.data + (static_cast<std::int64_t>(trial) * partials.blocks + blockIdx.x) * d;
  norm_backward_wide<d>(sums, h, dy, inv_rms, norm_weight_all[trial], reinterpret_cast<float*>(gate_up_tiles), partial);
  store_rows<Panels<d>, threads>(dx_all[trial], h, first_row, rows);
#endif
}

}  // namespace

void ffn_backward_hopper(Context& ctx, const FfnBackward& p) {
  auto run = [&]<int d>() {
    using Plan = BackwardPlan<d>;
    launch(ctx, ffn_backward_hopper<d>, p.grid, dim3(Plan::threads), Plan::shared_bytes, p.dy, p.x, p.norm_weight,
           p.eps, matrix_map(ctx, p.gate_up, p.grid.y, 2 * p.f, d, Plan::chunk),
           matrix_map(ctx, p.down, p.grid.y, d, p.f, d, Plan::chunk), p.dx, p.h, p.act, p.dgate_up, p.partials, p.rows,
           p.f);
  };
  by_width(p.d, run);
}

}  // namespace hylas::kernels::cuda
