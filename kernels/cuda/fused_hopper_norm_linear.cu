// RMSNorm and the projection behind it in one kernel for Hopper, and its backward pass: fused_norm_linear.cu with
// wgmma.
//
// Forward: a warpgroup has 64 normalised rows in shared memory, weight tiles stream past, and the sums of one column
// tile (whole heads) leave rotated; heads of up to 64 keep their rows' sines in registers. Backward: tiles of 64
// columns of dy and w stream by, x and the residual behind them, while dh [64, d] stays in registers.
#include "kernels/cuda/fused_hopper.cuh"
#include "kernels/cuda/fused_hopper.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused;

template <int d, int column_tile>
struct LinearPlan {
  static constexpr int threads = 256;
  static constexpr int k = d == 128 && column_tile == 64 ? 128 : 64;
  static constexpr int k_tiles = d / k;
  static constexpr int tile = column_tile * k;  // panels [column_tile, 64]
  static constexpr int slots = d == 256 && column_tile == 128 ? 2 : d == 256 ? 4 : 3;
  static constexpr int staging = 16 * 64;  // a warp
  static constexpr int shared_bytes = 2 * (block_rows * d + slots * tile + threads / 32 * staging) + 2 * slots * 8;
};

template <int d, int column_tile, int hd>
__global__ void __launch_bounds__(256, 2)
    norm_linear_forward_hopper(Trials<const Bf16> x_all, Trials<const float> norm_weight, float eps,
                               const __grid_constant__ CUtensorMap w, const __grid_constant__ CUtensorMap y_map,
                               RopeTable rope, int rows, int columns) {
#if defined(HYLAS_FUSED_WGMMA)
  using Plan = LinearPlan<d, column_tile>;
  constexpr int k = Plan::k;
  constexpr int n = column_tile / 8;
  constexpr int apart = hd / 16;             // fragments from one element of a pair to the other
  constexpr bool kept = hd > 0 && hd <= 64;  // sines in registers
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  Bf16* h = reinterpret_cast<Bf16*>(shared_memory);
  Bf16* ring = h + block_rows * d;
  Bf16* staging = ring + Plan::slots * Plan::tile;
  const std::uint32_t full = shared_address(staging + Plan::threads / 32 * Plan::staging);
  const std::uint32_t empty = full + Plan::slots * 8;
  staging += static_cast<int>(threadIdx.x) / 32 * Plan::staging;

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int group = warpgroup();
  const int row = first_row + static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;  // and row + 8
  const bool leader = threadIdx.x == 0;                                            // fetches the tiles
  const int tiles = columns / column_tile * Plan::k_tiles;

  if (leader) {
    for (int i = 0; i < Plan::slots; ++i) {
      hopper::barrier_init(full + i * 8, 1);
      hopper::barrier_init(empty + i * 8, 2);
    }
    hopper::barrier_init_fence();
  }
  __syncthreads();
  auto fetch = [&](int t) {  // the leader only
    if (t >= tiles) return;
    const int slot = t % Plan::slots;
    const std::uint32_t bar = full + slot * 8;
    hopper::barrier_wait(empty + slot * 8, t / Plan::slots % 2 ^ 1);
    hopper::barrier_arrive_expect(bar, Plan::tile * 2);
#pragma unroll 1
    for (int i = 0; i < k / 64; ++i) {
      hopper::load_box(shared_address(ring + slot * Plan::tile + i * column_tile * 64), &w, bar,
                       t % Plan::k_tiles * k + i * 64, t / Plan::k_tiles * column_tile, 0, trial);
    }
  };
  if (leader) {
#pragma unroll 1
    for (int t = 0; t < Plan::slots; ++t) fetch(t);
  }
  __syncwarp();
  normalise_rows<Panels<d>, Plan::threads>(h, nullptr, nullptr, x_all[trial], norm_weight[trial], eps, first_row, rows);
  fence_operands();
  __syncthreads();

  bool rotates = false;
  if constexpr (hd > 0) rotates = rope.on[trial * rope.on_stride] != 0;
  float2 cos[2][kept ? apart : 1];
  float2 sin[2][kept ? apart : 1];
  if constexpr (kept) {
    if (rotates) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const std::int64_t table = static_cast<std::int64_t>((row + 8 * i) % rope.length) * (hd / 2) + lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < apart; ++j) {
          cos[i][j] = *reinterpret_cast<const float2*>(rope.cos + table + 8 * j);
          sin[i][j] = *reinterpret_cast<const float2*>(rope.sin + table + 8 * j);
        }
      }
    }
  }

  float y[column_tile / 2];
#pragma unroll
  for (int i = 0; i < column_tile / 2; ++i) y[i] = 0;
#pragma unroll 1
  for (int first = 0; first < columns; first += column_tile) {
    const int t = first / column_tile * Plan::k_tiles;
#pragma unroll
    for (int part = 0; part < Plan::k_tiles; ++part) {
      const int slot = (t + part) % Plan::slots;
      hopper::barrier_wait(full + slot * 8, (t + part) / Plan::slots % 2);
      const Operand a = k_major(h + part * (k / 64) * (block_rows * 64) + group * (64 * 64));
      const Operand b = k_major(ring + slot * Plan::tile);
      if (part == 0) pin(y);
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < k / 16; ++i) {
        wgmma<false>(y, advance(a, i / 4 * (block_rows * 64) + i % 4 * 16),
                     advance(b, i / 4 * (column_tile * 64) + i % 4 * 16), part + i > 0 ? 1 : 0);
      }
      wgmma_commit();
      if (Plan::k_tiles > Plan::slots && part == Plan::slots - 1) {  // more tiles than slots: give some back midway
        wgmma_wait<0>();
        if (threadIdx.x % 128 == 0) {
          for (int i = 0; i < Plan::slots; ++i) hopper::barrier_arrive(empty + (t + i) % Plan::slots * 8);
        }
        if (leader) {
#pragma unroll 1
          for (int i = 0; i < Plan::slots; ++i) fetch(t + Plan::slots + i);
        }
        __syncwarp();
      }
    }
    wgmma_wait<0>();
    pin(y);
    constexpr int early = Plan::k_tiles > Plan::slots ? Plan::slots : 0;  // tiles that were given back midway
    if (threadIdx.x % 128 == 0) {
#pragma unroll
      for (int i = early; i < Plan::k_tiles; ++i) hopper::barrier_arrive(empty + (t + i) % Plan::slots * 8);
    }
    constexpr bool behind = Plan::k_tiles >= Plan::slots;  // no tile of the next columns is under way
    auto fetch_next = [&] {
      if (leader) {
#pragma unroll 1
        for (int i = early; i < Plan::k_tiles; ++i) fetch(t + Plan::slots + i);
      }
      __syncwarp();
    };
    if constexpr (behind) fetch_next();
    if constexpr (hd > 0) {
      if (rotates && first < rope.columns) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const std::int64_t table = static_cast<std::int64_t>((row + 8 * i) % rope.length) * (hd / 2) + lane % 4 * 2;
#pragma unroll
          for (int j = 0; j < apart; ++j) {
            float2 c, s;
            if constexpr (kept) {
              c = cos[i][j];
              s = sin[i][j];
            } else {
              c = *reinterpret_cast<const float2*>(rope.cos + table + 8 * j);
              s = *reinterpret_cast<const float2*>(rope.sin + table + 8 * j);
            }
#pragma unroll
            for (int head = 0; head < n; head += 2 * apart) {
              if (first + head * 8 >= rope.columns) continue;
              float* low = y + (head + j) * 4 + 2 * i;
              float* high = y + (head + j + apart) * 4 + 2 * i;
              const float a[2] = {low[0], low[1]};
              low[0] = a[0] * c.x - high[0] * s.x;
              low[1] = a[1] * c.y - high[1] * s.y;
              high[0] = high[0] * c.x + a[0] * s.x;
              high[1] = high[1] * c.y + a[1] * s.y;
            }
          }
        }
      }
    }
#pragma unroll
    for (int part = 0; part < n; part += 8) {
      std::uint32_t v[8][2];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int e = 4 * (part + j) + 2 * i;
          v[j][i] = pack_bf16(y[e], y[e + 1]);
        }
      }
      staging_free();
      stage_fragments<8>(staging, v);
      store_staged(&y_map, staging, first + part * 8, row - lane / 4, trial);
    }
    if constexpr (!behind) fetch_next();
  }
  staging_free();
#endif
}

template <int d>
struct LinearBackwardPlan {
  static constexpr int threads = 256;
  static constexpr int k = 64;
  static constexpr int dy_tile = block_rows * k;
  static constexpr int tile = dy_tile + k * d;  // dy [128, k], then panels of w [k, d]
  static constexpr int slot = tile > block_rows* d ? tile : block_rows* d;
  static constexpr int slots = 3;
  static constexpr int shared_bytes = 2 * slots * slot + 4 * (block_rows + 8 * d) + 2 * slots * 8;
};

template <int d>
__global__ void __launch_bounds__(256, d == 256 ? 1 : 2)
    norm_linear_backward_hopper(const __grid_constant__ CUtensorMap dy, const __grid_constant__ CUtensorMap x,
                                Trials<const float> norm_weight_all, float eps, const __grid_constant__ CUtensorMap w,
                                const __grid_constant__ CUtensorMap residual, Trials<Bf16> dx_all, Trials<Bf16> h_all,
                                NormPartials partials, int rows, int columns) {
#if defined(HYLAS_FUSED_WGMMA)
  using Plan = LinearBackwardPlan<d>;
  constexpr int threads = Plan::threads;
  constexpr int k = Plan::k;
  constexpr int outputs = d == 256 ? 2 : 1;  // products that make up the d columns
  constexpr int width = d / outputs;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  Bf16* ring = reinterpret_cast<Bf16*>(shared_memory);
  float* inv_rms = reinterpret_cast<float*>(ring + Plan::slots * Plan::slot);
  float* scratch = inv_rms + block_rows;
  const std::uint32_t full = shared_address(scratch + 8 * d);
  const std::uint32_t empty = full + Plan::slots * 8;

  const int trial = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * block_rows;
  const int group = warpgroup();
  const bool leader = threadIdx.x == 0;  // fetches the tiles
  const int tiles = columns / k;         // and then x and the residual

  if (leader) {
    for (int i = 0; i < Plan::slots; ++i) {
      hopper::barrier_init(full + i * 8, 1);
      hopper::barrier_init(empty + i * 8, 2);
    }
    hopper::barrier_init_fence();
  }
  __syncthreads();
  auto fetch = [&](int t) {  // the leader only
    if (t >= tiles + 2) return;
    const int slot = t % Plan::slots;
    const std::uint32_t bar = full + slot * 8;
    const std::uint32_t tile = shared_address(ring + slot * Plan::slot);
    hopper::barrier_wait(empty + slot * 8, t / Plan::slots % 2 ^ 1);
    hopper::barrier_arrive_expect(bar, (t < tiles ? Plan::tile : block_rows * d) * 2);
    if (t < tiles) {
      hopper::load_box(tile, &dy, bar, t * k, first_row, 0, trial);
#pragma unroll 1
      for (int i = 0; i < d / 64; ++i) {
        hopper::load_box(tile + (Plan::dy_tile + i * k * 64) * 2, &w, bar, i * 64, t * k, 0, trial);
      }
    } else {
#pragma unroll 1
      for (int i = 0; i < d / 64; ++i) {
        hopper::load_box(tile + i * block_rows * 128, t == tiles ? &x : &residual, bar, i * 64, first_row, 0, trial);
      }
    }
  };
  if (leader) {
#pragma unroll 1
    for (int t = 0; t < Plan::slots; ++t) fetch(t);
  }
  __syncwarp();

  float dh[outputs][width / 2];
#pragma unroll
  for (int o = 0; o < outputs; ++o) {
#pragma unroll
    for (int i = 0; i < width / 2; ++i) dh[o][i] = 0;
  }
#pragma unroll
  for (int o = 0; o < outputs; ++o) pin(dh[o]);
#pragma unroll 1
  for (int t = 0; t < tiles; ++t) {
    const int slot = t % Plan::slots;
    hopper::barrier_wait(full + slot * 8, t / Plan::slots % 2);
    const Bf16* tile = ring + slot * Plan::slot;
    const Operand a = k_major(tile + group * (64 * 64));
    const Operand b = n_major<k>(tile + Plan::dy_tile);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < k / 16; ++i) {
#pragma unroll
      for (int o = 0; o < outputs; ++o) {
        wgmma<true>(dh[o], advance(a, i * 16), advance(b, o * 2 * (k * 64) + i * 16 * 64));
      }
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (t > 0) {  // the tile before has been read
      if (threadIdx.x % 128 == 0) hopper::barrier_arrive(empty + (t - 1) % Plan::slots * 8);
      if (leader) fetch(t - 1 + Plan::slots);
      __syncwarp();
    }
  }
  wgmma_wait<0>();
#pragma unroll
  for (int o = 0; o < outputs; ++o) pin(dh[o]);
  if (threadIdx.x % 128 == 0) hopper::barrier_arrive(empty + (tiles - 1) % Plan::slots * 8);
  if (leader) fetch(tiles - 1 + Plan::slots);
  __syncwarp();

  Bf16* x_tile = ring + tiles % Plan::slots * Plan::slot;
  const Bf16* residual_tile = ring + (tiles + 1) % Plan::slots * Plan::slot;
  hopper::barrier_wait(full + tiles % Plan::slots * 8, tiles / Plan::slots % 2);
  const float* norm_weight = norm_weight_all[trial];
  {
    constexpr int pieces = d / 8;
    const int piece = static_cast<int>(threadIdx.x) % pieces;
    float weight[8];
    load_norm_weight<d>(weight, norm_weight);
#pragma unroll 2
    for (int i = 0; i < block_rows * pieces / threads; ++i) {
      const int row = (i * threads + static_cast<int>(threadIdx.x)) / pieces;
      uint4 v = *reinterpret_cast<const uint4*>(x_tile + Panels<d>::offset(row, piece));
      const float inv = normalise<d>(v, weight, eps);
      if (piece == 0) inv_rms[row] = inv;
      if (first_row + row < rows) {
        *reinterpret_cast<uint4*>(h_all[trial] + static_cast<std::int64_t>(first_row + row) * d + piece * 8) = v;
      }
    }
  }
  hopper::barrier_wait(full + (tiles + 1) % Plan::slots * 8, (tiles + 1) / Plan::slots % 2);
  __syncthreads();
  float sums[d / 2];
#pragma unroll
  for (int i = 0; i < d / 2; ++i) sums[i] = dh[i / (width / 2)][i % (width / 2)];
  float* partial = partials.data + (static_cast<std::int64_t>(trial) * partials.blocks + blockIdx.x) * d;
  norm_backward_wide<d>(sums, x_tile, residual_tile, inv_rms, norm_weight, scratch, partial);
  store_rows<Panels<d>, threads>(dx_all[trial], x_tile, first_row, rows);
#endif
}

}  // namespace

void norm_linear_forward_hopper(Context& ctx, const NormLinearForward& p) {
  auto start = [&]<int d, int tile, int head>() {
    using Plan = LinearPlan<d, tile>;
    launch(ctx, norm_linear_forward_hopper<d, tile, head>, p.grid, dim3(Plan::threads), Plan::shared_bytes, p.x,
           p.norm_weight, p.eps, matrix_map(ctx, p.w, p.grid.y, p.columns, d, tile),
           matrix_map(ctx, {p.y.data, p.y.stride}, p.grid.y, p.rows, p.columns, 16), p.rope, p.rows, p.columns);
  };
  auto run = [&]<int d>() {
    if (p.head == 0) {
      start.template operator()<d, 64, 0>();
    } else if (p.head == 32) {
      start.template operator()<d, 64, 32>();
    } else if (p.head == 64) {
      start.template operator()<d, 64, 64>();
    } else {
      start.template operator()<d, 128, 128>();
    }
  };
  by_width(p.d, run);
}

void norm_linear_backward_hopper(Context& ctx, const NormLinearBackward& p) {
  auto run = [&]<int d>() {
    using Plan = LinearBackwardPlan<d>;
    launch(ctx, norm_linear_backward_hopper<d>, p.grid, dim3(Plan::threads), Plan::shared_bytes,
           matrix_map(ctx, p.dy, p.grid.y, p.rows, p.columns, block_rows),
           matrix_map(ctx, p.x, p.grid.y, p.rows, d, block_rows), p.norm_weight, p.eps,
           matrix_map(ctx, p.w, p.grid.y, p.columns, d, Plan::k),
           matrix_map(ctx, p.residual, p.grid.y, p.rows, d, block_rows), p.dx, p.h, p.partials, p.rows, p.columns);
  };
  by_width(p.d, run);
}

}  // namespace hylas::kernels::cuda
