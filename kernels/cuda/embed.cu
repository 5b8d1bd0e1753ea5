// CUDA: embed (kernels/embed.hpp).
//
// The gradient of the table: the positions of a trial are sorted by token (stable, so those of a token stay in the
// order of (b, t)), then summed token by token. The sorted positions are cut into windows; a token whose positions all
// lie in one window is added to the table at once, the sums of others are parts, added window after window by a second
// kernel. Sort and windows depend on one trial's tokens and shapes only, no sum on the order of threads.
//
// Sort: one counting pass over all bits of a token up to 4096 tokens, two passes of half the bits each above. A block
// takes a tile of 4096 positions, a warp 512 of them in order; ranks come from ballots. Counts of (tile, digit) are
// turned into places by one block a trial.
#include "kernels/backends.hpp"
#include "kernels/cuda/checks.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// ---- forward ----

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const T* __restrict__ table, const std::int32_t* __restrict__ tokens, T* __restrict__ x,
                  unsigned packets, Divisor per_row, std::int64_t table_stride, std::int64_t tokens_stride,
                  std::int64_t x_stride) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= packets) return;
  const unsigned row = per_row.quotient(i), packet = i - row * per_row.divisor();
  const std::int64_t token = tokens[blockIdx.y * tokens_stride + row];
  store<T, N>(x + blockIdx.y * x_stride + static_cast<std::int64_t>(i) * N,
              load<T, N>(table + blockIdx.y * table_stride + (token * per_row.divisor() + packet) * N));
}

// ---- the sort ----

constexpr int kWarps = kThreads / 32;
constexpr int kRounds = 16;                   // of 32 positions a warp
constexpr int kTile = kWarps * kRounds * 32;  // positions of a block
constexpr int kMaxDigitBits = 12;
constexpr int kScanThreads = 1024;
constexpr int kNearTiles = 16;

struct SortPass {
  const std::int32_t* tokens;  // [P, n]
  const int2* from;            // [P, n] (position, token) after the pass before, or null
  int2* to;                    // [P, n]
  std::int32_t* places;        // [P, tiles, digits]: counts, then where a tile's digit begins
  int n, tiles, digits, shift;
  std::int64_t tokens_stride;
};

// Ranks the tile's positions among those of the same warp and digit, and counts digits a warp: counts [warps, digits].
// digit_and_rank[round] = digit << 16 | rank.
struct TileRanks {
  int2 entry[kRounds];
  std::uint32_t digit_and_rank[kRounds];
};

__device__ __forceinline__ int first_of_warp() {
  return static_cast<int>(blockIdx.x) * kTile + static_cast<int>(threadIdx.x) / 32 * (kRounds * 32) +
         static_cast<int>(threadIdx.x) % 32;
}

__device__ __forceinline__ void rank_tile(const SortPass& pass, std::uint16_t* counts, TileRanks& ranks) {
  const std::int64_t p = blockIdx.y;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = first_of_warp() + round * 32;
    if (i < pass.n) {
      ranks.entry[round] =
          pass.from != nullptr ? pass.from[p * pass.n + i] : make_int2(i, pass.tokens[p * pass.tokens_stride + i]);
    }
  }
  auto* words = reinterpret_cast<std::uint32_t*>(counts);
  for (int i = static_cast<int>(threadIdx.x); i < kWarps * pass.digits / 2; i += kThreads) words[i] = 0;
  __syncthreads();
  std::uint16_t* mine = counts + warp * pass.digits;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const bool here = first_of_warp() + round * 32 < pass.n;
    const int digit = here ? (ranks.entry[round].y >> pass.shift) & (pass.digits - 1) : 0;
    unsigned peers = __ballot_sync(kAllLanes, here);
    for (int bit = 1; bit < pass.digits; bit *= 2) {
      const unsigned set = __ballot_sync(kAllLanes, (digit & bit) != 0);
      peers &= (digit & bit) != 0 ? set : ~set;
    }
    const unsigned before = here ? mine[digit] : 0U;
    __syncwarp();
    const auto rank = static_cast<unsigned>(__popc(peers & ((1U << lane) - 1U)));
    if (here && rank == 0) mine[digit] = static_cast<std::uint16_t>(before + static_cast<unsigned>(__popc(peers)));
    __syncwarp();
    ranks.digit_and_rank[round] = static_cast<std::uint32_t>(digit) << 16 | (before + rank);
  }
  __syncthreads();
}

// The counts need no order: integer additions in shared memory.
__global__ void __launch_bounds__(kThreads) count_kernel(SortPass pass) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  auto* counts = reinterpret_cast<int*>(shared_memory);
  const std::int64_t p = blockIdx.y;
  for (int digit = static_cast<int>(threadIdx.x); digit < pass.digits; digit += kThreads) counts[digit] = 0;
  int tokens[kRounds];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = first_of_warp() + round * 32;
    tokens[round] = i >= pass.n            ? -1
                    : pass.from != nullptr ? pass.from[p * pass.n + i].y
                                           : pass.tokens[p * pass.tokens_stride + i];
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    if (tokens[round] >= 0) atomicAdd(&counts[(tokens[round] >> pass.shift) & (pass.digits - 1)], 1);
  }
  __syncthreads();
  std::int32_t* out = pass.places + (p * pass.tiles + blockIdx.x) * pass.digits;
  for (int digit = static_cast<int>(threadIdx.x); digit < pass.digits; digit += kThreads) out[digit] = counts[digit];
}

// counts [tiles, digits] of a trial become places: digits in order, the tiles of a digit in order.
__global__ void __launch_bounds__(kScanThreads) place_kernel(std::int32_t* places, int tiles, int digits) {
  __shared__ int sums[kScanThreads / 32];
  places += static_cast<std::int64_t>(blockIdx.x) * tiles * digits;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int begin = 0;  // of the digits of this turn
  for (int first = 0; first < digits; first += kScanThreads) {
    const int digit = first + static_cast<int>(threadIdx.x);
    std::int32_t* column = places + digit;
    int near[kNearTiles];  // counts of the first tiles
    int count = 0;
#pragma unroll
    for (int tile = 0; tile < kNearTiles; ++tile) {
      near[tile] = digit < digits && tile < tiles ? column[tile * digits] : 0;
    }
#pragma unroll
    for (int tile = 0; tile < kNearTiles; ++tile) count += near[tile];
    if (digit < digits) {
#pragma unroll 8
      for (int tile = kNearTiles; tile < tiles; ++tile) count += column[static_cast<std::int64_t>(tile) * digits];
    }
    int upto = count;  // of the warp's digits up to this one
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(kAllLanes, upto, offset);
      if (lane >= offset) upto += other;
    }
    if (lane == 31) sums[warp] = upto;
    __syncthreads();
    int place = begin + upto - count;
    for (int w = 0; w < kScanThreads / 32; ++w) {
      if (w < warp) place += sums[w];
      begin += sums[w];
    }
#pragma unroll
    for (int tile = 0; tile < kNearTiles; ++tile) {
      if (digit < digits && tile < tiles) column[tile * digits] = place;
      place += near[tile];
    }
    if (digit < digits) {
      for (int tile = kNearTiles; tile < tiles; ++tile) {
        std::int32_t& at = column[static_cast<std::int64_t>(tile) * digits];
        const int here = at;
        at = place;
        place += here;
      }
    }
    __syncthreads();  // before sums are written again
  }
}

__global__ void __launch_bounds__(kThreads) scatter_kernel(SortPass pass) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  auto* counts = reinterpret_cast<std::uint16_t*>(shared_memory);
  TileRanks ranks;
  rank_tile(pass, counts, ranks);
  // Counts become what earlier warps of the tile have of the digit.
  for (int digit = static_cast<int>(threadIdx.x); digit < pass.digits; digit += kThreads) {
    unsigned sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      std::uint16_t& at = counts[warp * pass.digits + digit];
      const unsigned here = at;
      at = static_cast<std::uint16_t>(sum);
      sum += here;
    }
  }
  __syncthreads();
  const std::int64_t p = blockIdx.y;
  const std::int32_t* places = pass.places + (p * pass.tiles + blockIdx.x) * pass.digits;
  const std::uint16_t* mine = counts + static_cast<int>(threadIdx.x) / 32 * pass.digits;
  int place[kRounds];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const std::uint32_t digit = ranks.digit_and_rank[round] >> 16, rank = ranks.digit_and_rank[round] & 0xffffU;
    place[round] = places[digit] + mine[digit] + static_cast<int>(rank);
  }
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    if (first_of_warp() + round * 32 < pass.n) pass.to[p * pass.n + place[round]] = ranks.entry[round];
  }
}

// ---- the sums ----

constexpr int kSumThreads = 128;

struct SumArrays {
  const int2* order;  // [P, n] (position, token), sorted
  float* table;       // dtable
  float* parts;       // [P, windows, 2, d]: of the token that began before the window; of the one that goes on after it
  int n, d, window, windows;
  int lanes;  // threads of a slab
  int slabs;  // of lanes * N columns
  std::int64_t order_stride, x_stride, table_stride, parts_stride;
};

// Which window and which columns this thread works on.
template <int N>
__device__ __forceinline__ bool place_of(const SumArrays& a, int& window, int& column) {
  const int item = static_cast<int>(blockIdx.x) * (kSumThreads / a.lanes) + group_of(a.lanes).index;
  window = item / a.slabs;
  column = (item - window * a.slabs) * a.lanes * N + group_of(a.lanes).lane * N;
  return window < a.windows && column < a.d;
}

// kUnroll rows are under way at once; where tokens are rare, so are the rows of the table they will be added to.
template <class T, int N, int kUnroll, bool rare>
__global__ void __launch_bounds__(kSumThreads) sum_windows_kernel(const T* __restrict__ dx, SumArrays a) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::int64_t p = blockIdx.y;
  int window = 0, column = 0;
  const bool valid = place_of<N>(a, window, column);
  const int begin = window * a.window, end = min(a.n, begin + a.window);
  // The window's entries, with one before and one after it; no token where there is none.
  const Group group = group_of(a.lanes);
  int2* entries = reinterpret_cast<int2*>(shared_memory) + group.index * (a.window + 2) + 1;
  for (int i = group.lane - 1; i <= a.window; i += a.lanes) {
    const bool here = window < a.windows && begin + i >= 0 && begin + i < a.n;
    entries[i] = here ? a.order[p * a.order_stride + begin + i] : make_int2(0, -1);
  }
  __syncwarp();
  if (!valid) return;
  dx += p * a.x_stride + column;
  float* table = a.table + p * a.table_stride + column;
  float* part = a.parts + p * a.parts_stride + static_cast<std::int64_t>(window) * 2 * a.d + column;
  const int before = entries[-1].y;  // its sum is not this window's alone
  float sum[N] = {};
  int token = -1;
  for (int i = begin; i < end; i += kUnroll) {
    int2 entry[kUnroll + 1];
    Packed<T, N> rows[kUnroll];
    float old[rare ? kUnroll : 1][N];
    bool last[kUnroll];  // of its token
#pragma unroll
    for (int u = 0; u <= kUnroll; ++u) entry[u] = entries[i - begin + u];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const bool here = i + u < end;
      rows[u] = here ? load<T, N>(dx + static_cast<std::int64_t>(entry[u].x) * a.d) : zeros<T, N>();
      last[u] = here && entry[u + 1].y != entry[u].y;
      if constexpr (rare) {
        if (last[u] && entry[u].y != before) {
          load_floats<float, N>(table + static_cast<std::int64_t>(entry[u].y) * a.d, old[u]);
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (i + u >= end) break;
      float x[N];
      unpack<T, N>(rows[u], x);
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] += x[j];
      token = entry[u].y;
      if (!last[u]) continue;
      if (token == before) {
        store_floats<float, N>(part, sum);
      } else {
        float* out = table + static_cast<std::int64_t>(token) * a.d;
        auto& row = old[rare ? u : 0];
        if constexpr (!rare) load_floats<float, N>(out, row);
#pragma unroll
        for (int j = 0; j < N; ++j) row[j] += sum[j];
        store_floats<float, N>(out, row);
      }
      token = -1;
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] = 0;
    }
  }
  if (token >= 0) store_floats<float, N>(token == before ? part : part + a.d, sum);
}

// Adds up the parts of the token that begins in this window and goes on after it, if there is one.
template <int N>
__global__ void __launch_bounds__(kSumThreads) sum_parts_kernel(SumArrays a) {
  constexpr int kUnroll = 16;
  int window = 0, column = 0;
  if (!place_of<N>(a, window, column)) return;
  const std::int64_t p = blockIdx.y;
  const int2* order = a.order + p * a.order_stride;
  const int begin = window * a.window, end = begin + a.window;
  if (end >= a.n) return;
  const int token = order[end - 1].y;
  if (order[end].y != token || (begin > 0 && order[begin - 1].y == token)) return;
  const float* parts = a.parts + p * a.parts_stride + column;
  float sum[N];
  load_floats<float, N>(parts + (static_cast<std::int64_t>(window) * 2 + 1) * a.d, sum);
  for (int next = window + 1;; next += kUnroll) {
    float part[kUnroll][N];
    bool ours[kUnroll];
    // Read before it is known whether the part is ours: one wait instead of two.
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t first = static_cast<std::int64_t>(next + u) * a.window;
      ours[u] = first < a.n && order[first].y == token;
      if (first < a.n) load_floats<float, N>(parts + static_cast<std::int64_t>(next + u) * 2 * a.d, part[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (!ours[u]) break;
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] += part[u][j];
    }
    if (!ours[kUnroll - 1]) break;
  }
  float* out = a.table + p * a.table_stride + static_cast<std::int64_t>(token) * a.d + column;
  float old[N];
  load_floats<float, N>(out, old);
#pragma unroll
  for (int j = 0; j < N; ++j) old[j] += sum[j];
  store_floats<float, N>(out, old);
}

// ---- on the host ----

void check_embed(const Checks& check, const Tensor& table, const Tensor& tokens, const Tensor& x) {
  check.floating("x", x);
  check.require(table.defined() && table.rank() == 3 && table.trials() == x.trials() && table.dim(1) >= 1,
                "the table should be [P, V, d], is " + cpu::describe(table));
  check.require(tokens.defined() && tokens.dtype() == DType::i32 && tokens.trials() == x.trials(),
                "tokens should be i32 [P, B, T], are " + cpu::describe(tokens));
  check.rows("x", x, x.dtype(), x.trials(), tokens.trial_size(), table.dim(2));
  check.require(x.dim(-1) >= 1 && x.trial_size() < std::int64_t{1} << 31,
                "2^31 elements a trial are the limit, x is " + cpu::describe(x));
}

template <class T, int N>
void gather(Context& ctx, const Tensor& table, const Tensor& tokens, const Tensor& x) {
  const std::int64_t packets = tokens.trial_size() * (x.dim(-1) / N);
  launch(ctx, gather_kernel<T, N>, dim3(blocks_for(packets, kThreads), static_cast<unsigned>(x.trials())),
         dim3(kThreads), 0, data_of<T>(table), data_of<std::int32_t>(tokens), data_of<T>(x),
         static_cast<unsigned>(packets), Divisor(x.dim(-1) / N), table.trial_stride(), tokens.trial_stride(),
         x.trial_stride());
}

// Sorts the tokens of `trials` trials; returns [trials, n] (position, token). Scratch stays taken.
const int2* sort_positions(Context& ctx, const Tensor& tokens, std::int64_t trials, std::int64_t vocabulary) {
  int bits = 1;
  while ((std::int64_t{1} << bits) < vocabulary) ++bits;
  const int passes = (bits + kMaxDigitBits - 1) / kMaxDigitBits, digit_bits = (bits + passes - 1) / passes;
  SortPass pass{};
  pass.tokens = data_of<std::int32_t>(tokens);
  pass.tokens_stride = tokens.trial_stride();
  pass.n = static_cast<int>(tokens.trial_size());
  pass.tiles = (pass.n + kTile - 1) / kTile;
  pass.digits = 1 << digit_bits;
  pass.places = ctx.arena.take<std::int32_t>(trials * pass.tiles * pass.digits);
  int2* buffers[2] = {ctx.arena.take<int2>(trials * pass.n),
                      passes > 1 ? ctx.arena.take<int2>(trials * pass.n) : nullptr};
  const dim3 grid(static_cast<unsigned>(pass.tiles), static_cast<unsigned>(trials));
  const auto digits = static_cast<std::size_t>(pass.digits);
  for (int i = 0; i < passes; ++i) {
    pass.shift = i * digit_bits;
    pass.to = buffers[i % 2];
    launch(ctx, count_kernel, grid, dim3(kThreads), digits * sizeof(int), pass);
    launch(ctx, place_kernel, dim3(static_cast<unsigned>(trials)), dim3(kScanThreads), 0, pass.places, pass.tiles,
           pass.digits);
    launch(ctx, scatter_kernel, grid, dim3(kThreads), digits * kWarps * sizeof(std::uint16_t), pass);
    pass.from = pass.to;
  }
  return pass.from;
}

template <class T, int N>
void sum_rows(Context& ctx, const Tensor& dx, const Tensor& dtable, SumArrays a) {
  const std::int64_t trials = dx.trials();
  a.table = data_of<float>(dtable);
  a.table_stride = dtable.trial_stride();
  a.x_stride = dx.trial_stride();
  a.windows = (a.n + a.window - 1) / a.window;
  a.parts_stride = (static_cast<std::int64_t>(a.windows) * 2 * a.d + 3) / 4 * 4;
  a.parts = ctx.arena.take<float>(trials * a.parts_stride);
  // Groups of 4 to 32 lanes with a packet of n columns each.
  const auto grid_for = [&](int n) {
    const int packets = (a.d + n - 1) / n;
    a.lanes = 4;
    while (a.lanes < 32 && a.lanes < packets) a.lanes *= 2;
    a.slabs = (packets + a.lanes - 1) / a.lanes;
    return dim3(blocks_for(static_cast<std::int64_t>(a.windows) * a.slabs, kSumThreads / a.lanes),
                static_cast<unsigned>(trials));
  };
  auto* kernel = a.window > 32 ? sum_windows_kernel<T, N, 8, false> : sum_windows_kernel<T, N, 4, true>;
  const dim3 grid = grid_for(N);
  const auto entries = static_cast<std::size_t>(kSumThreads / a.lanes * (a.window + 2));
  launch(ctx, kernel, grid, dim3(kSumThreads), entries * sizeof(int2), data_of<T>(dx), a);
  constexpr int kPartPacket = N > 1 ? 4 : 1;
  const dim3 parts_grid = grid_for(kPartPacket);
  launch(ctx, sum_parts_kernel<kPartPacket>, parts_grid, dim3(kSumThreads), 0, a);
}

}  // namespace

void embed_forward(Context& ctx, const Tensor& table, const Tensor& tokens, const Tensor& x) {
  const Checks check("embed_forward");
  check_embed(check, table, tokens, x);
  check.require(table.dtype() == x.dtype(), "the table should have the dtype of x, is " + cpu::describe(table));
  const bool vector = x.dim(-1) % (16 / size_of(x.dtype())) == 0 && aligned(table, 16) && aligned(x, 16);
  if (x.dtype() == DType::f32) {
    vector ? gather<float, kLanes<float>>(ctx, table, tokens, x) : gather<float, 1>(ctx, table, tokens, x);
  } else {
    vector ? gather<bf16, kLanes<bf16>>(ctx, table, tokens, x) : gather<bf16, 1>(ctx, table, tokens, x);
  }
}

void embed_backward(Context& ctx, const Tensor& dx, const Tensor& tokens, const Tensor& dtable) {
  const Checks check("embed_backward");
  check_embed(check, dtable, tokens, dx);
  check.require(dtable.dtype() == DType::f32, "dtable should be f32, is " + cpu::describe(dtable));
  const std::int64_t n = tokens.trial_size(), vocabulary = dtable.dim(1);
  if (n == 0) return;
  const ArenaScope scope(ctx.arena);
  const bool shared_tokens = tokens.trial_stride() == 0;
  SumArrays a{};
  a.order = sort_positions(ctx, tokens, shared_tokens ? 1 : dx.trials(), vocabulary);
  a.order_stride = shared_tokens ? 0 : n;
  a.n = static_cast<int>(n);
  a.d = static_cast<int>(dx.dim(-1));
  // Long windows have few parts; short ones keep more rows of rare tokens under way.
  a.window = n >= 64 * vocabulary ? 128 : n >= 16 * vocabulary ? 64 : 32;
  const bool vector = dx.dim(-1) % (16 / size_of(dx.dtype())) == 0 && aligned(dx, 16) && aligned(dtable, 16);
  if (dx.dtype() == DType::f32) {
    vector ? sum_rows<float, kLanes<float>>(ctx, dx, dtable, a) : sum_rows<float, 1>(ctx, dx, dtable, a);
  } else {
    vector ? sum_rows<bf16, kLanes<bf16>>(ctx, dx, dtable, a) : sum_rows<bf16, 1>(ctx, dx, dtable, a);
  }
}

}  // namespace hylas::kernels::cuda
