// The feed-forward branch in one kernel for Hopper: fused_ffn.cu with wgmma.
//
// A warpgroup has 64 rows and all d columns of their sums in registers. Hidden columns are taken 64 at a time (with
// d < 256 in two steps of 32, so that two blocks fit a multiprocessor): gate and up sums from h and a weight tile in
// shared memory, their product in registers as the next product's A. While one warpgroup computes silu, the others'
// products keep the tensor cores busy.
#include "kernels/cuda/fused_hopper.cuh"
#include "kernels/cuda/fused_hopper.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused;

template <int d>
struct ForwardPlan {
  static constexpr int threads = 256;
  static constexpr int chunk = 64;
  static constexpr int step = d == 256 ? 64 : 32;  // hidden columns of one gate and up product
  static constexpr int steps = chunk / step;
  static constexpr int k = d == 256 ? 128 : d;       // a step of gate and up comes in k_tiles tiles
  static constexpr int k_tiles = d / k;              // [2 step, k]: gate rows, then up rows
  static constexpr int tiles = steps * k_tiles + 1;  // a chunk: first step, down [d, chunk], second step
  static constexpr int gate_up_tile = 2 * step * k;
  static constexpr int down_tile = d * chunk;
  static constexpr int slot = gate_up_tile > down_tile ? gate_up_tile : down_tile;
  static constexpr int slots = 5;
  static constexpr int shared_bytes = 2 * (block_rows * d + slots * slot) + 2 * slots * 8;
};

template <int d>
__global__ void __launch_bounds__(256, d == 256 ? 1 : 2)
    ffn_forward_hopper(Trials<const Bf16> x_all, Trials<const float> norm_weight, float eps,
                       const __grid_constant__ CUtensorMap gate_up, const __grid_constant__ CUtensorMap down,
                       Trials<Bf16> y_all, int rows, int f) {
#if defined(HYLAS_FUSED_WGMMA)
  using Plan = ForwardPlan<d>;
  constexpr int chunk = Plan::chunk;
  constexpr int step = Plan::step;
  constexpr int k = Plan::k;
  constexpr int outputs = d == 256 ? 2 : 1;  // products that make up the d columns
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  Bf16* h = reinterpret_cast<Bf16*>(shared_memory);
  Bf16* ring = h + block_rows * d;
  const std::uint32_t full = shared_address(ring + Plan::slots * Plan::slot);
  const std::uint32_t empty = full + Plan::slots * 8;

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16;
  const bool leader = threadIdx.x == 0;  // fetches the tiles
  const Bf16* x = x_all[trial];
  const int chunks = f / chunk;

  if (leader) {
    for (int i = 0; i < Plan::slots; ++i) {
      hopper::barrier_init(full + i * 8, 1);
      hopper::barrier_init(empty + i * 8, 2);
    }
    hopper::barrier_init_fence();
  }
  __syncthreads();

  // Tiles are numbered through the chunks: c * tiles + place in the chunk. Tile t is in slot t % slots.
  auto fetch = [&](int t) {  // the leader only
    const int c = t / Plan::tiles;
    const int place = t % Plan::tiles;
    if (c >= chunks) return;
    const int slot = t % Plan::slots;
    hopper::barrier_wait(empty + slot * 8, t / Plan::slots % 2 ^ 1);
    const std::uint32_t bar = full + slot * 8;
    const std::uint32_t tile = shared_address(ring) + slot * (Plan::slot * 2);
    if (place == Plan::k_tiles) {
      hopper::barrier_arrive_expect(bar, Plan::down_tile * 2);
      hopper::load_box(tile, &down, bar, c * chunk, 0, 0, trial);
    } else {
      hopper::barrier_arrive_expect(bar, Plan::gate_up_tile * 2);
      const int part = place > Plan::k_tiles ? place - 1 : place;
      const int row = c * chunk + part / Plan::k_tiles * step;
      const int column = part % Plan::k_tiles * k;
#pragma unroll 1
      for (int i = 0; i < k / 64; ++i) {
        const std::uint32_t panel = tile + i * (2 * step * 128);
        hopper::load_box(panel, &gate_up, bar, column + i * 64, row, 0, trial);
        hopper::load_box(panel + step * 128, &gate_up, bar, column + i * 64, f + row, 0, trial);
      }
    }
  };
  auto acquire = [&](int t) -> int {  // its slot, once it is there
    const int slot = t % Plan::slots;
    hopper::barrier_wait(full + slot * 8, t / Plan::slots % 2);
    return slot;
  };
  auto release = [&](int slot) {
    if (threadIdx.x % 128 == 0) hopper::barrier_arrive(empty + slot * 8);
  };

  if (leader) {
#pragma unroll 1
    for (int t = 0; t < Plan::slots; ++t) fetch(t);
  }
  __syncwarp();
  normalise_rows<Panels<d>, Plan::threads>(h, nullptr, nullptr, x, norm_weight[trial], eps, first_row, rows);
  fence_operands();
  __syncthreads();

  float y[outputs][d / outputs / 2];
  float hidden[step];  // gate, then up: [64, 2 step] of the warpgroup
#pragma unroll
  for (int o = 0; o < outputs; ++o) {
#pragma unroll
    for (int i = 0; i < d / outputs / 2; ++i) y[o][i] = 0;
  }
#pragma unroll
  for (int i = 0; i < step; ++i) hidden[i] = 0;
#pragma unroll 1
  for (int c = 0; c < chunks; ++c) {
#pragma unroll 1
    for (int s = 0; s < Plan::steps; ++s) {
      int slots[Plan::k_tiles];
#pragma unroll
      for (int part = 0; part < Plan::k_tiles; ++part) {
        slots[part] = acquire(c * Plan::tiles + (s > 0 ? Plan::k_tiles + 1 : 0) + part);
        const Operand a = k_major(h + part * (k / 64) * (block_rows * 64) + group * (64 * 64));
        const Operand b = k_major(ring + slots[part] * Plan::slot);
        if (part == 0) pin(hidden);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < k / 16; ++i) {
          wgmma<false>(hidden, advance(a, i / 4 * (block_rows * 64) + i % 4 * 16),
                       advance(b, i / 4 * (2 * step * 64) + i % 4 * 16), part + i > 0 ? 1 : 0);
        }
        wgmma_commit();
      }
      wgmma_wait<0>();  // this step's gate and up, and the last step's product with `down`
      pin(hidden);
#pragma unroll
      for (int o = 0; o < outputs; ++o) pin(y[o]);
#pragma unroll
      for (int part = 0; part < Plan::k_tiles; ++part) release(slots[part]);
      if (s == 0) {
        if (c > 0) release(((c - 1) * Plan::tiles + Plan::k_tiles) % Plan::slots);
        acquire(c * Plan::tiles + Plan::k_tiles);
      }
      std::uint32_t act[step / 16][4];
#pragma unroll
      for (int i = 0; i < step / 16; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int e = 8 * i + 2 * j;
          act[i][j] = pack_bf16(hidden[e] * sigmoid(hidden[e]) * hidden[step / 2 + e],
                                hidden[e + 1] * sigmoid(hidden[e + 1]) * hidden[step / 2 + e + 1]);
        }
      }
      const int down_slot = (c * Plan::tiles + Plan::k_tiles) % Plan::slots;
      const Operand b = k_major(ring + down_slot * Plan::slot + s * step);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < step / 16; ++i) {
#pragma unroll
        for (int o = 0; o < outputs; ++o) wgmma<false>(y[o], act[i], advance(b, o * 128 * 64 + i * 16));
      }
      wgmma_commit();
      // What both warpgroups have released, or soon will: this chunk's first step, of the last one the rest.
      if (s == 0 && leader) {
        const int end = Plan::slots + c * Plan::tiles + Plan::k_tiles;
#pragma unroll 1
        for (int t = c > 0 ? end - Plan::tiles : Plan::slots; t < end; ++t) fetch(t);
      }
      if (s == 0) __syncwarp();
      if constexpr (d == 128) wgmma_wait<0>();  // with 128 registers nothing may start before act is free
    }
  }
  __syncthreads();  // h has done its service: x takes its place for the sum
  copy_rows<Panels<d>, Plan::threads>(h, x, d, first_row, rows);
  copy_commit();
  copy_wait<0>();
  wgmma_wait<0>();
#pragma unroll
  for (int o = 0; o < outputs; ++o) pin(y[o]);
  __syncthreads();
#pragma unroll
  for (int j = 0; j < d / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = warp_row + 8 * i + lane / 4;
      auto* pair = reinterpret_cast<std::uint32_t*>(h + Panels<d>::offset(row, j) + lane % 4 * 2);
      const float2 old = widen(*pair);
      const float* sum = y[j / (d / outputs / 8)] + j % (d / outputs / 8) * 4 + 2 * i;
      *pair = pack_bf16(old.x + sum[0], old.y + sum[1]);
    }
  }
  __syncthreads();
  store_rows<Panels<d>, Plan::threads>(y_all[trial], h, first_row, rows);
#endif
}

}  // namespace

void ffn_forward_hopper(Context& ctx, const FfnForward& p) {
  auto run = [&]<int d>() {
    using Plan = ForwardPlan<d>;
    launch(ctx, ffn_forward_hopper<d>, p.grid, dim3(Plan::threads), Plan::shared_bytes, p.x, p.norm_weight, p.eps,
           matrix_map(ctx, p.gate_up, p.grid.y, 2 * p.f, d, Plan::step), matrix_map(ctx, p.down, p.grid.y, d, p.f, d),
           p.y, p.rows, p.f);
  };
  by_width(p.d, run);
}

}  // namespace hylas::kernels::cuda
