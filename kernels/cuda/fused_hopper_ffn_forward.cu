// The feed-forward branch forward on Hopper: y = x + (silu(h gate^T) * (h up^T)) down^T with h = RMSNorm(x).
//
// A warpgroup keeps h (64 rows) in shared memory and the sums of its 64 x d outputs in registers. Per 64 hidden columns
// it starts the gate and up sums of these and the product of the 64 before with `down`, and computes silu while that
// product and the other warpgroup's run. At a tile's end x comes back to where h was, and leaves as y.
#include "kernels/cuda/fused_hopper_ffn.cuh"
#include "kernels/cuda/fused_hopper_ffn.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused_tma;
using namespace hopper;
using fused::Bf16;
using fused::Trials;

template <int d_>
struct ForwardTile {
  static constexpr int d = d_;
  static constexpr int stages = 5;
  static constexpr int k = d == 256 ? 128 : d;  // gate_up comes in tiles [64 gate rows, 64 up rows; k]
  static constexpr int k_tiles = d / k;
  static constexpr int panel = 2 * chunk * 128;  // bytes, of 64 of these columns
  static constexpr int h_bytes = rows_of_tile * d * 2;
  static constexpr int ring_at = h_bytes;
  static constexpr int barriers_at = ring_at + stages * stage_bytes;
  static constexpr int shared_bytes = barriers_at + (2 * stages + 2) * 8 + 1024;  // 1024: to align the start
};

struct ForwardData {
  Items items;
  float eps;
  Trials<const Bf16> x;
  Trials<const float> norm_weight;
};

template <class Tile>
__device__ __forceinline__ void produce_forward(const CUtensorMap* gate_up_map, const CUtensorMap* down_map,
                                                const ForwardData& a, Ring<Tile::stages> ring) {
  const auto prefetch = [&](int item) {
    if (item >= a.items.count()) return;
    const int trial = item / a.items.tiles;
    const int row = (item - trial * a.items.tiles) * rows_of_tile;
    prefetch_bytes(a.x[trial] + static_cast<std::int64_t>(row) * Tile::d,
                   min(rows_of_tile, a.items.rows - row) * Tile::d * 2);
  };
  for (int item = static_cast<int>(blockIdx.x); item < a.items.count(); item += static_cast<int>(gridDim.x)) {
    const int trial = item / a.items.tiles;
    for (int c = 0; c <= a.items.chunks; ++c) {
      if (c < a.items.chunks) {
#pragma unroll
        for (int part = 0; part < Tile::k_tiles; ++part) {
          ring.make_room(2 * chunk * Tile::k * 2);
#pragma unroll
          for (int p = 0; p < Tile::k / 64; ++p) {
            load_box(ring.tile() + p * Tile::panel, gate_up_map, ring.full(), part * Tile::k + p * 64, c * chunk, 0,
                     trial);
          }
          ring.next();
        }
      }
      if (c > 0) {
        ring.make_room(Tile::d * chunk * 2);
        load_box(ring.tile(), down_map, ring.full(), (c - 1) * chunk, 0, 0, trial);
        ring.next();
      }
      if (c == 0) prefetch(item + static_cast<int>(gridDim.x));
    }
  }
}

template <class Tile>
__device__ __forceinline__ void consume_forward(const CUtensorMap* x_map, const CUtensorMap* y_map,
                                                const ForwardData& a, unsigned char* memory, Ring<Tile::stages> taken,
                                                std::uint32_t x_full) {
  constexpr int d = Tile::d;
  Ring<Tile::stages> released = taken;
  const int group = static_cast<int>(threadIdx.x) / 128 - 1;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  unsigned char* tile = memory + group * (rows_of_group * 128);
  const std::uint32_t tile_shared = shared_offset(tile);
  x_full += group * 8;

  float y[d / 2];
  float hidden[chunk];           // gate, then up: 64 x 64 each
  std::uint32_t act[chunk / 2];  // the last 64 columns' silu(gate) * up, A's fragments
  const auto start_hidden = [&] {
    const std::uint64_t h = k_major(again(tile_shared));
#pragma unroll
    for (int part = 0; part < Tile::k_tiles; ++part) {
      const std::uint64_t b = k_major(taken.take());
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < Tile::k / 16; ++i) {
        const int column = part * Tile::k / 16 + i;
        const std::uint64_t a_at = advance(h, column / 4 * (rows_of_tile * 128) + column % 4 * 32);
        const std::uint64_t b_at = advance(b, i / 4 * Tile::panel + i % 4 * 32);
        if (column == 0) {
          wgmma_ss_first<false>(hidden, a_at, b_at);
        } else {
          wgmma_ss<false>(hidden, a_at, b_at);
        }
      }
    }
    wgmma_commit();
  };
  const auto start_down = [&] {
    const std::uint64_t b = k_major(taken.take());
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < chunk / 16; ++i) wgmma_rs<false>(y, act + 4 * i, advance(b, i * 32));
    wgmma_commit();
  };
  const auto release_hidden = [&] {
#pragma unroll
    for (int part = 0; part < Tile::k_tiles; ++part) released.release();
  };
  const auto apply_silu = [&] {
#pragma unroll
    for (int i = 0; i < chunk / 2; ++i) hidden[i] = hidden[i] * fused::sigmoid(hidden[i]) * hidden[chunk / 2 + i];
  };
  const auto pack_act = [&] {
#pragma unroll
    for (int i = 0; i < chunk / 4; ++i) act[i] = pack_bf16(hidden[2 * i], hidden[2 * i + 1]);
  };

  if (group == 1) pass_turn(group);
  RowBatch<d> incoming;
  int item = static_cast<int>(blockIdx.x);
  const auto load_incoming = [&](int of) {
    const int trial = of / a.items.tiles;
    const int first = (of - trial * a.items.tiles) * rows_of_tile + group * rows_of_group;
    if (of < a.items.count()) incoming.load(a.x[trial], first, a.items.rows);
  };
  load_incoming(item);
  for (int turn = 0; item < a.items.count(); ++turn) {
    const int trial = item / a.items.tiles;
    const int first_row = (item - trial * a.items.tiles) * rows_of_tile + group * rows_of_group;
    normalise_group<d>(incoming, tile, a.x[trial], first_row, a.items.rows, a.norm_weight[trial], a.eps, nullptr);
    fence_async();
    group_sync(group);

    take_turn(group);
    start_hidden();
    pass_turn(group);
    wgmma_wait<0>();
    pin(hidden);
    release_hidden();
    apply_silu();
    pack_act();
#pragma unroll
    for (int i = 0; i < d / 2; ++i) y[i] = 0.0F;
#pragma unroll 1
    for (int c = 1; c < a.items.chunks; ++c) {
      take_turn(group);
      pin(y);
      pin(act);
      start_hidden();
      start_down();
      pass_turn(group);
      wgmma_wait<1>();
      pin(hidden);
      release_hidden();
      apply_silu();
      wgmma_wait<0>();
      pin(y);
      pin(act);
      released.release();
      pack_act();
    }
    group_sync(group);  // no warp reads h any more
    if (thread == 0) load_rows<d>(tile_shared, x_map, x_full, first_row, trial);
    take_turn(group);
    pin(y);
    pin(act);
    start_down();
    pass_turn(group);
    item += static_cast<int>(gridDim.x);
    load_incoming(item);
    wgmma_wait<0>();
    pin(y);
    pin(act);
    released.release();
    barrier_wait(x_full, turn & 1);
    const int row = again(thread / 32 * 16 + thread % 32 / 4);  // and + 8
#pragma unroll
    for (int j = 0; j < d / 8; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        auto* pair = reinterpret_cast<std::uint32_t*>(tile + pair_offset(row + 8 * r, j));
        const float2 old = fused::widen(*pair);
        *pair = pack_bf16(old.x + y[4 * j + 2 * r], old.y + y[4 * j + 2 * r + 1]);
      }
    }
    fence_async();
    group_sync(group);
    if (thread == 0) {
      store_rows<d>(y_map, tile_shared, first_row, trial);
      wait_stored();
    }
    group_sync(group);
  }
}

template <class Tile>
__global__ void __launch_bounds__(threads, 1)
    ffn_forward_tma(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap y_map,
                    const __grid_constant__ CUtensorMap gate_up_map, const __grid_constant__ CUtensorMap down_map,
                    const __grid_constant__ ForwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  unsigned char* memory = shared_memory + (-shared_offset(shared_memory) & 1023U);
  const std::uint32_t start = shared_offset(memory);
  const Ring<Tile::stages> ring{start + Tile::ring_at, start + Tile::barriers_at};
  const std::uint32_t x_full = start + Tile::barriers_at + 2 * Tile::stages * 8;
  if (threadIdx.x == 0) {
    init_ring(ring);
    barrier_init(x_full, 1);
    barrier_init(x_full + 8, 1);
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    registers_down<24>();
    if (threadIdx.x == 0) produce_forward<Tile>(&gate_up_map, &down_map, a, ring);
  } else {
    registers_up<240>();
    consume_forward<Tile>(&x_map, &y_map, a, memory, ring, x_full);
  }
#endif
}

}  // namespace

bool hopper_ffn_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps, const Tensor& gate_up,
                        const Tensor& down, const Tensor& y) {
  const std::int64_t d = x.dim(-1);
  const std::int64_t f = down.dim(-1);
  if (!applies(ctx, d, f)) return false;
  for (const Tensor* t : {&x, &gate_up, &down, &y}) {
    if (!addressable(*t, DType::bf16)) return false;
  }
  const fused::Check check("hopper_ffn_forward", x.trials(), x.trial_rows());
  ForwardData a{};
  a.x = check.activation<const Bf16>("x", x, d);
  a.norm_weight = check.tensor<const float>("norm_weight", norm_weight, DType::f32, 1, d);
  (void)check.tensor<const Bf16>("gate_up", gate_up, DType::bf16, 2 * f, d);
  (void)check.tensor<const Bf16>("down", down, DType::bf16, d, f);
  (void)check.activation<Bf16>("y", y, d);
  a.eps = static_cast<float>(eps);
  const dim3 grid = check.grid();
  if (std::int64_t{grid.x} * grid.y > (1 << 30)) return false;
  a.items = {static_cast<int>(grid.x), static_cast<int>(grid.y), static_cast<int>(x.trial_rows()),
             static_cast<int>(f / chunk)};
  const int blocks = min(a.items.count(), ctx.gpu->multiprocessors());
  const auto run = [&]<int width>() {
    using Tile = ForwardTile<width>;
    launch(ctx, ffn_forward_tma<Tile>, dim3(static_cast<unsigned>(blocks)), dim3(threads), Tile::shared_bytes,
           rows_map(ctx, x), rows_map(ctx, y), gate_up_map(ctx, gate_up, chunk), down_map(ctx, down), a);
  };
  if (d == 128) {
    run.template operator()<128>();
  } else {
    run.template operator()<256>();
  }
  return true;
}

}  // namespace hylas::kernels::cuda
