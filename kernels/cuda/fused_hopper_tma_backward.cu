// The backward pass of the feed-forward branch on Hopper, but for the gradients of its matrices.
//
// A warpgroup keeps h and dy (64 rows each) in shared memory and the sums of dh = dgate gate + dup up (64 x d) in
// registers. Hidden columns are taken in chunks of 64: dact = dy down of a chunk, then per step of 32 (64 with d = 128)
// columns gate and up again from h, and from them act, dgate and dup, which go to memory and, as A operands in
// registers, into dh, whose product is started together with the next step's. At a tile's end x comes back to where h
// was, goes through the norm's backward and leaves as dx.
#include "kernels/cuda/fused_hopper_tma.cuh"
#include "kernels/cuda/fused_hopper_tma.hpp"

namespace hylas::kernels::cuda {
namespace {

using namespace fused_tma;
using namespace hopper;
using fused::Bf16;
using fused::Trials;

template <int d_>
struct BackwardTile {
  static constexpr int d = d_;
  static constexpr int stages = d == 256 ? 3 : 5;
  static constexpr int step = d == 256 ? 32 : 64;  // a tile of weights is [step gate rows, step up rows; d]
  static constexpr int steps = chunk / step;
  static constexpr int panel = 2 * step * 128;
  static constexpr int rows_bytes = rows_of_tile * d * 2;
  static constexpr int dy_at = rows_bytes, ring_at = 2 * rows_bytes;
  static constexpr int inv_rms_at = ring_at + stages * stage_bytes;
  static constexpr int barriers_at = inv_rms_at + rows_of_tile * 4;
  static constexpr int shared_bytes = barriers_at + (2 * stages + 4) * 8 + 1024;  // 1024: to align the start
};

struct BackwardData {
  Items items;
  int f;
  float eps;
  Trials<const Bf16> x, dy;
  Trials<const float> norm_weight;
  Trials<Bf16> act, dgate_up;
  fused::NormPartials partials;  // of 64 rows each
};

template <class Tile>
__device__ __forceinline__ void produce_backward(const CUtensorMap* gate_up_map, const CUtensorMap* down_map,
                                                 const BackwardData& a, Ring<Tile::stages> ring) {
  const auto prefetch = [&](const Trials<const Bf16>& t, int item) {
    if (item >= a.items.count()) return;
    const int trial = item / a.items.tiles;
    const int row = (item - trial * a.items.tiles) * rows_of_tile;
    prefetch_bytes(t[trial] + static_cast<std::int64_t>(row) * Tile::d,
                   min(rows_of_tile, a.items.rows - row) * Tile::d * 2);
  };
  for (int item = static_cast<int>(blockIdx.x); item < a.items.count(); item += static_cast<int>(gridDim.x)) {
    const int trial = item / a.items.tiles;
    for (int c = 0; c < a.items.chunks; ++c) {
      ring.make_room(Tile::d * chunk * 2);
      load_box(ring.tile(), down_map, ring.full(), c * chunk, 0, 0, trial);
      ring.next();
#pragma unroll
      for (int s = 0; s < Tile::steps; ++s) {
        ring.make_room(2 * Tile::step * Tile::d * 2);
#pragma unroll
        for (int p = 0; p < Tile::d / 64; ++p) {
          load_box(ring.tile() + p * Tile::panel, gate_up_map, ring.full(), p * 64, c * chunk + s * Tile::step, 0,
                   trial);
        }
        ring.next();
      }
      if (c == a.items.chunks / 2) {
        prefetch(a.x, item + static_cast<int>(gridDim.x));
        prefetch(a.dy, item + static_cast<int>(gridDim.x));
      }
    }
  }
}

// A warp's part of 32 hidden columns to memory: v[2 j + i] is rows 8 i + lane / 4, columns 8 j + 2 (lane % 4) + 0, 1.
__device__ __forceinline__ void store_hidden(Bf16* to, std::int64_t pitch, const std::uint32_t* v, int row, int rows) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 words = fused::transpose_quad(v[i], v[2 + i], v[4 + i], v[6 + i], lane);
    if (row + 8 * i < rows) *reinterpret_cast<uint4*>(to + (row + 8 * i) * pitch + lane % 4 * 8) = words;
  }
}

// Sums v[i] over the 8 lanes of equal lane % 4; the lane of lane / 4 = q gets those of v[2 q], v[2 q + 1].
__device__ __forceinline__ float2 sum_over_rows(float (&v)[16]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 8; half > 1; half /= 2) {
    const bool upper = (lane & (2 * half)) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float send = upper ? v[i] : v[half + i];
      const float keep = upper ? v[half + i] : v[i];
      v[i] = keep + __shfl_xor_sync(0xffffffffU, send, 2 * half);
    }
  }
  return make_float2(v[0], v[1]);
}

// x (a tile) becomes dx = dy + (d RMSNorm / dx) dh for this thread's rows (row and row + 8 of the warpgroup); the sums
// of dh x inv_rms over the warpgroup's rows go to partial [d].
template <int d>
__device__ __forceinline__ void norm_backward(const float (&dh)[d / 2], unsigned char* x, unsigned char* dy,
                                              const float* inv_rms, const float* weight, int group) {
  const int thread = again(static_cast<int>(threadIdx.x) % 128);
  const int lane = thread % 32;
  const int row = thread / 32 * 16 + lane / 4;
  weight += lane % 4 * 2;
  const float inv[2] = {inv_rms[row], inv_rms[row + 8]};
  float row_sum[2] = {};
  float2 column_sum[d / 64];
#pragma unroll
  for (int block = 0; block < d / 64; ++block) {
    float v[16];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int j = block * 8 + i;
      const float2 w = *reinterpret_cast<const float2*>(weight + j * 8);
      v[2 * i] = v[2 * i + 1] = 0;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 at = fused::widen(*reinterpret_cast<const std::uint32_t*>(x + pair_offset(row + 8 * r, j)));
        const float low = dh[4 * j + 2 * r] * at.x;
        const float high = dh[4 * j + 2 * r + 1] * at.y;
        row_sum[r] += low * w.x + high * w.y;
        v[2 * i] += low * inv[r];
        v[2 * i + 1] += high * inv[r];
      }
    }
    column_sum[block] = sum_over_rows(v);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    row_sum[r] += __shfl_xor_sync(0xffffffffU, row_sum[r], 1);
    row_sum[r] += __shfl_xor_sync(0xffffffffU, row_sum[r], 2);
    row_sum[r] *= inv[r] * inv[r] * inv[r] * (1.0F / d);
  }
#pragma unroll
  for (int j = 0; j < d / 8; ++j) {
    const float2 w = *reinterpret_cast<const float2*>(weight + j * 8);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int offset = pair_offset(row + 8 * r, j);
      const float2 at = fused::widen(*reinterpret_cast<const std::uint32_t*>(x + offset));
      const float2 old = fused::widen(*reinterpret_cast<const std::uint32_t*>(dy + offset));
      *reinterpret_cast<std::uint32_t*>(x + offset) =
          pack_bf16(old.x + inv[r] * dh[4 * j + 2 * r] * w.x - at.x * row_sum[r],
                    old.y + inv[r] * dh[4 * j + 2 * r + 1] * w.y - at.y * row_sum[r]);
    }
  }
  // The warp's own rows of dy's first panel take its column sums [d].
  __syncwarp();
  auto* sums = reinterpret_cast<float*>(dy + thread / 32 * 2048);
#pragma unroll
  for (int block = 0; block < d / 64; ++block) {
    *reinterpret_cast<float2*>(sums + block * 64 + lane / 4 * 8 + lane % 4 * 2) = column_sum[block];
  }
}

template <class Tile>
__device__ __forceinline__ void consume_backward(const CUtensorMap* dy_map, const CUtensorMap* x_map,
                                                 const CUtensorMap* dx_map, const CUtensorMap* h_map,
                                                 const BackwardData& a, unsigned char* memory, Ring<Tile::stages> taken,
                                                 std::uint32_t rows_full) {
  constexpr int d = Tile::d;
  constexpr int step = Tile::step;
  Ring<Tile::stages> released = taken;
  const int group = static_cast<int>(threadIdx.x) / 128 - 1;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  unsigned char* h = memory + group * (rows_of_group * 128);
  unsigned char* dy = h + Tile::dy_at;
  const std::uint32_t h_shared = shared_offset(h);
  const std::uint32_t dy_shared = h_shared + Tile::dy_at;
  float* inv_rms = reinterpret_cast<float*>(memory + Tile::inv_rms_at) + group * rows_of_group;
  const std::uint32_t x_full = rows_full + group * 16, dy_full = x_full + 8;

  float dh[d / 2];
  float dact[chunk / 2];
  float hidden[step];                // gate, then up
  std::uint32_t dgate_up[step / 2];  // A's fragments: dgate, then dup
  std::uint32_t weights = 0;         // the tile of this step
  const auto start_dact = [&] {
    const std::uint64_t b = n_major(taken.take(), 0);
    const std::uint64_t rows = k_major(again(dy_shared));
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < d / 16; ++i) {
      const std::uint64_t at = advance(rows, i / 4 * (rows_of_tile * 128) + i % 4 * 32);
      if (i == 0) {
        wgmma_ss_first<true>(dact, at, b);
      } else {
        wgmma_ss<true>(dact, at, advance(b, i * 2048));
      }
    }
    wgmma_commit();
  };
  const auto start_hidden = [&] {
    weights = taken.take();
    const std::uint64_t b = k_major(weights);
    const std::uint64_t rows = k_major(again(h_shared));
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < d / 16; ++i) {
      const std::uint64_t at = advance(rows, i / 4 * (rows_of_tile * 128) + i % 4 * 32);
      const std::uint64_t b_at = advance(b, i / 4 * Tile::panel + i % 4 * 32);
      if (i == 0) {
        wgmma_ss_first<false>(hidden, at, b_at);
      } else {
        wgmma_ss<false>(hidden, at, b_at);
      }
    }
    wgmma_commit();
  };
  const auto start_dh = [&] {
    const std::uint64_t b = n_major(weights, Tile::panel);
    pin(dh);
    pin(dgate_up);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < 2 * step / 16; ++i) wgmma_rs<true>(dh, dgate_up + 4 * i, advance(b, i * 2048));
    wgmma_commit();
  };

  int item = static_cast<int>(blockIdx.x);
  int trial = 0, first_row = 0;
  RowBatch<d> incoming;
  const auto place = [&] {
    trial = item / a.items.tiles;
    first_row = (item - trial * a.items.tiles) * rows_of_tile + group * rows_of_group;
  };
  if (group == 1) pass_turn(group);
  place();
  incoming.load(a.x[trial], first_row, a.items.rows);
  for (int turn = 0; item < a.items.count(); ++turn) {
    if (thread == 0) load_rows<d>(dy_shared, dy_map, dy_full, first_row, trial);
    normalise_group<d>(incoming, h, a.x[trial], first_row, a.items.rows, a.norm_weight[trial], a.eps, inv_rms);
    fence_async();
    group_sync(group);
    if (thread == 0) store_rows<d>(h_map, h_shared, first_row, trial);
    barrier_wait(dy_full, turn & 1);

    const int row = first_row + again(thread / 32 * 16 + thread % 32 / 4);  // and + 8
    Bf16* act_to = a.act[trial];
    Bf16* dgate_up_to = a.dgate_up[trial];
    // Step s of a chunk: from `hidden` and `dact` to `dgate_up`; what goes to memory is at column `column`.
    const auto differentiate = [&](int s, int column) {
      std::uint32_t act[step / 4];
#pragma unroll
      for (int p = 0; p < step / 4; ++p) {
        float silu[2], by_gate[2], product[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float g = hidden[2 * p + e];
          const float u = hidden[step / 2 + 2 * p + e];
          const float grad = dact[s * step / 2 + 2 * p + e];
          const float sigmoid = fused::sigmoid(g);
          silu[e] = g * sigmoid;
          product[e] = silu[e] * u;
          by_gate[e] = (sigmoid + silu[e] * (1.0F - sigmoid)) * u * grad;
          silu[e] *= grad;
        }
        act[p] = pack_bf16(product[0], product[1]);
        dgate_up[p] = pack_bf16(by_gate[0], by_gate[1]);
        dgate_up[step / 4 + p] = pack_bf16(silu[0], silu[1]);
      }
#pragma unroll
      for (int q = 0; q < step / 32; ++q) {
        const int at = column + q * 32;
        store_hidden(act_to + at, a.f, act + 8 * q, row, a.items.rows);
        store_hidden(dgate_up_to + at, 2 * a.f, dgate_up + 8 * q, row, a.items.rows);
        store_hidden(dgate_up_to + a.f + at, 2 * a.f, dgate_up + step / 4 + 8 * q, row, a.items.rows);
      }
    };

    take_turn(group);
    start_dact();
    start_hidden();
    pass_turn(group);
    wgmma_wait<1>();
    pin(dact);
    released.release();
    wgmma_wait<0>();
    pin(hidden);
#pragma unroll
    for (int i = 0; i < d / 2; ++i) dh[i] = 0.0F;
#pragma unroll 1
    for (int c = 0; c < a.items.chunks - 1; ++c) {
#pragma unroll
      for (int s = 0; s < Tile::steps; ++s) {
        differentiate(s, c * chunk + s * step);
        take_turn(group);
        start_dh();
        if (s + 1 == Tile::steps) start_dact();
        start_hidden();
        pass_turn(group);
        if (s + 1 == Tile::steps) {
          wgmma_wait<2>();
          released.release();
        }
        wgmma_wait<1>();
        pin(dh);
        pin(dgate_up);
        pin(dact);
        released.release();
        wgmma_wait<0>();
        pin(hidden);
      }
    }
    const int last_chunk = (a.items.chunks - 1) * chunk;
    if constexpr (Tile::steps == 2) {
      differentiate(0, last_chunk);
      take_turn(group);
      start_dh();
      start_hidden();
      pass_turn(group);
      wgmma_wait<1>();
      pin(dh);
      pin(dgate_up);
      released.release();
      wgmma_wait<0>();
      pin(hidden);
    }
    if (thread == 0) wait_stored();  // h has been read
    group_sync(group);               // by all warps
    if (thread == 0) load_rows<d>(h_shared, x_map, x_full, first_row, trial);
    differentiate(Tile::steps - 1, last_chunk + (Tile::steps - 1) * step);
    take_turn(group);
    start_dh();
    pass_turn(group);
    wgmma_wait<0>();
    pin(dh);
    pin(dgate_up);
    released.release();
    barrier_wait(x_full, turn & 1);
    norm_backward<d>(dh, h, dy, inv_rms, a.norm_weight[trial], group);
    fence_async();
    group_sync(group);
    if (thread == 0) store_rows<d>(dx_map, h_shared, first_row, trial);
    float* partial =
        a.partials.data + (static_cast<std::int64_t>(trial) * a.partials.blocks + first_row / rows_of_group) * d;
    const auto* sums = reinterpret_cast<const float*>(dy);
    item += static_cast<int>(gridDim.x);
    place();
    if (item < a.items.count()) incoming.load(a.x[trial], first_row, a.items.rows);
#pragma unroll
    for (int c = 0; c < d; c += 128) {
      const float* from = sums + c + thread;
      partial[c + thread] = (from[0] + from[512]) + (from[1024] + from[1536]);
    }
    fence_async();
    if (thread == 0) wait_stored();
    group_sync(group);
  }
}

template <class Tile>
__global__ void __launch_bounds__(threads, 1)
    ffn_backward_tma(const __grid_constant__ CUtensorMap dy_map, const __grid_constant__ CUtensorMap x_map,
                     const __grid_constant__ CUtensorMap dx_map, const __grid_constant__ CUtensorMap h_map,
                     const __grid_constant__ CUtensorMap gate_up_map, const __grid_constant__ CUtensorMap down_map,
                     const __grid_constant__ BackwardData a) {
#ifdef HYLAS_SM90A
  extern __shared__ __align__(128) unsigned char shared_memory[];
  unsigned char* memory = shared_memory + (-shared_offset(shared_memory) & 1023U);
  const std::uint32_t start = shared_offset(memory);
  const Ring<Tile::stages> ring{start + Tile::ring_at, start + Tile::barriers_at};
  const std::uint32_t rows_full = start + Tile::barriers_at + 2 * Tile::stages * 8;
  if (threadIdx.x == 0) {
    init_ring(ring);
    for (int i = 0; i < 4; ++i) barrier_init(rows_full + i * 8, 1);
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    registers_down<24>();
    if (threadIdx.x == 0) produce_backward<Tile>(&gate_up_map, &down_map, a, ring);
  } else {
    registers_up<240>();
    consume_backward<Tile>(&dy_map, &x_map, &dx_map, &h_map, a, memory, ring, rows_full);
  }
#endif
}

}  // namespace

bool hopper_ffn_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight, double eps,
                         const Tensor& gate_up, const Tensor& down, const Tensor& dx_out, const Tensor& h_out,
                         const Tensor& act_out, const Tensor& dgate_up_out, const Tensor& dnorm_weight) {
  const std::int64_t d = x.dim(-1);
  const std::int64_t f = down.dim(-1);
  if (!applies(ctx, d, f)) return false;
  for (const Tensor* t : {&dy, &x, &gate_up, &down, &dx_out, &h_out, &act_out, &dgate_up_out}) {
    if (!addressable(*t, DType::bf16)) return false;
  }
  const fused::Check check("hopper_ffn_backward", x.trials(), x.trial_rows());
  check.require(dx_out.data() != dy.data(), "dx_out must not be dy, which the gradient of `down` still needs");
  BackwardData a{};
  a.dy = check.activation<const Bf16>("dy", dy, d);
  a.x = check.activation<const Bf16>("x", x, d);
  a.norm_weight = check.tensor<const float>("norm_weight", norm_weight, DType::f32, 1, d);
  (void)check.tensor<const Bf16>("gate_up", gate_up, DType::bf16, 2 * f, d);
  (void)check.tensor<const Bf16>("down", down, DType::bf16, d, f);
  (void)check.activation<Bf16>("dx_out", dx_out, d);
  (void)check.activation<Bf16>("h_out", h_out, d);
  a.act = check.activation<Bf16>("act_out", act_out, f);
  a.dgate_up = check.activation<Bf16>("dgate_up_out", dgate_up_out, 2 * f);
  const auto dnorm = check.tensor<float>("dnorm_weight", dnorm_weight, DType::f32, 1, d);
  a.f = static_cast<int>(f);
  a.eps = static_cast<float>(eps);
  const dim3 grid = check.grid();
  if (std::int64_t{grid.x} * grid.y > (1 << 30)) return false;
  a.items = {static_cast<int>(grid.x), static_cast<int>(grid.y), static_cast<int>(x.trial_rows()),
             static_cast<int>(f / chunk)};
  const int blocks = min(a.items.count(), ctx.gpu->multiprocessors());
  const ArenaScope scope(ctx.arena);
  const dim3 groups(2 * grid.x, grid.y);
  a.partials = fused::take_partials(ctx, groups, static_cast<int>(d));
  const auto run = [&]<int width>() {
    using Tile = BackwardTile<width>;
    launch(ctx, ffn_backward_tma<Tile>, dim3(static_cast<unsigned>(blocks)), dim3(threads), Tile::shared_bytes,
           rows_map(ctx, dy), rows_map(ctx, x), rows_map(ctx, dx_out), rows_map(ctx, h_out),
           gate_up_map(ctx, gate_up, Tile::step), down_map(ctx, down), a);
  };
  if (d == 128) {
    run.template operator()<128>();
  } else {
    run.template operator()<256>();
  }
  fused::add_partials(ctx, groups, static_cast<int>(d), a.partials, dnorm);
  return true;
}

}  // namespace hylas::kernels::cuda
