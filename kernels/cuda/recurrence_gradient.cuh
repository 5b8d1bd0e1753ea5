// The recurrence's gradients once dS+ and Y of every chunk are there, one thread block a chunk of one head, or (walk)
// of all heads that share queries and keys, whose dQ and dK it adds in the order of the heads. A warp owns 16 tokens i.
//
//   queries   dP = s (dO V'^T) * D;  dQ = dP K + s e^G (dO S^T)
//   rule      X = -Y S^T;  E = beta dA * D, dA = -strictly_lower(Y V'^T);  dK = beta e^G X + E K     (delta rule only)
//   keys      N = e^{G_C - G} (V' dS+^T);  dK += N + dP^T Q + E^T K
//   gates     dg_t = sum over i >= t > j of (dP * Q K^T + dA * A)_ij, over i >= t of what row i takes from the state
//             before the chunk, over j < t of rowsum(N * K)_j, and e^{G_C} <S, dS+>: sums only, nothing cancels
//
// Shared memory holds one state at a time, S and then dS+, and at K = V = 128 dP and E in dO's place, so that two
// blocks fit a multiprocessor.
#pragma once

#include "kernels/cuda/recurrence_tiles.cuh"

namespace hylas::kernels::cuda {
namespace recurrence {

template <int K, int V>
struct GradientPlan {
  static constexpr int q = 0;
  static constexpr int k = q + tile_bytes<K>(chunk);
  static constexpr int dout = k + tile_bytes<K>(chunk);
  static constexpr int values = dout + tile_bytes<V>(chunk);  // V' transposed
  static constexpr int y = values + tile_bytes<chunk>(V);     // Y transposed
  static constexpr int state = y + tile_bytes<chunk>(V);      // S, then dS+, transposed
  static constexpr int state_end = state + tile_bytes<K>(V);
  // dP: where dO was, or a tile of its own where there is room, so that no registers hold it. E: behind dP where dO
  // was, where Y was, or a tile of its own.
  static constexpr bool scores_apart = V < 128;
  static constexpr int scores = scores_apart ? state_end : dout;
  static constexpr int scores_end = scores_apart ? scores + tile_bytes<chunk>(chunk) : state_end;
  static constexpr int errors = V == chunk ? y : V < chunk ? scores_end : scores + tile_bytes<chunk>(chunk);
  static constexpr int rectangles =
      V < chunk ? scores_end + tile_bytes<chunk>(chunk) : scores_end;  // [warps, C] floats
  static constexpr int shared_bytes = rectangles + 4 * chunk * 4;
  // Floats where V' was: sums of rows, then one number a warp.
  static constexpr int sums = values;
};

// Thread blocks a multiprocessor.
template <int K, bool walk>
constexpr int gradient_blocks = K == 128 || (K == 64 && walk) ? 2 : 3;

// A chunk of a head on its way through a warp: rows row and row + 8 of this lane.
struct GradientCell {
  const RecurrenceArguments& a;
  Head head;
  std::int64_t cell;
  int first;            // token of the chunk
  int lane, warp, row;  // row in the chunk
  const float* gates;
  unsigned char* shared;

  __device__ __forceinline__ bool inside(int half) const { return first + row + 8 * half < a.length; }
  __device__ __forceinline__ std::int64_t token(int half) const { return first + row + 8 * half; }
  __device__ __forceinline__ float g(int half) const { return gates[row + 8 * half]; }
  __device__ __forceinline__ float beta(int half) const { return gates[beta_at + row + 8 * half]; }
  __device__ __forceinline__ float from_start(int half) const { return gates[from_start_at + row + 8 * half]; }
  __device__ __forceinline__ float to_end(int half) const { return gates[to_end_at + row + 8 * half]; }
};

// Sums over a row of what this lane holds of it, for rows row and row + 8.
struct RowSums {
  float before[2] = {0, 0};  // what the row takes from the state before the chunk
  float after[2] = {0, 0};   // what it adds to the state after it
  float beta[2] = {0, 0};
};

// sums += the rows of c times those of a tile, elementwise.
template <int width, int tiles>
__device__ __forceinline__ void add_row_dots(float (&sums)[2], const float (&c)[tiles][4], unsigned char* tile, int row,
                                             int lane) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 x = unpack_bf16(*pair_at<width>(tile, row + 8 * half, 8 * n + 2 * (lane % 4)));
      sums[half] = fmaf(c[n][2 * half], x.x, fmaf(c[n][2 * half + 1], x.y, sums[half]));
    }
  }
}

template <int tiles>
__device__ __forceinline__ void scale_rows(float (&c)[tiles][4], float factor_g, float factor_g8) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
    c[n][0] *= factor_g, c[n][1] *= factor_g, c[n][2] *= factor_g8, c[n][3] *= factor_g8;
  }
}

// dQ, and of dP the operand of the products after it (`dscores`) and M = dP * Q K^T.
template <int K, int V, bool delta>
__device__ __forceinline__ void query_part(const GradientCell& x, float (&dq)[K / 8][4],
                                           std::uint32_t (&dscores)[chunk / 16][4], float (&m)[chunk / 8][4],
                                           RowSums& sums) {
  using Plan = GradientPlan<K, V>;
  clear(dq);
  clear(m);
#pragma unroll
  for (int v = 0; v < V; v += 16) {
    std::uint32_t left[4];
    load_left<V, true>(left, x.shared + Plan::dout, 16 * x.warp, v, x.lane);
    multiply<K, true>(dq, left, x.shared + Plan::state, v, x.lane);
    multiply<chunk, true>(m, left, x.shared + Plan::values, v, x.lane);
  }
  scale_rows(dq, x.a.scale * x.from_start(0), x.a.scale * x.from_start(1));
  add_row_dots<K>(sums.before, dq, x.shared + Plan::q, x.row, x.lane);
  const Bf16* scores = scores_of<delta>(x.a.matrices, x.cell) + x.row * chunk;
#pragma unroll
  for (int n = 0; n < chunk / 8; ++n) {
    const int column = 8 * n + 2 * (x.lane % 4);
    const float2 gj = *reinterpret_cast<const float2*>(x.gates + column);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = x.row + 8 * half;
      const float2 p = unpack_bf16(*reinterpret_cast<const std::uint32_t*>(scores + 8 * half * chunk + column));
      float(&c)[4] = m[n];
      const float d0 = decayed(c[2 * half] * x.a.scale, x.g(half), gj.x, i >= column);
      const float d1 = decayed(c[2 * half + 1] * x.a.scale, x.g(half), gj.y, i > column);
      dscores[n / 2][n % 2 * 2 + half] = pack_bf16(d0, d1);
      c[2 * half] = i >= column ? c[2 * half] * p.x : 0.0F;
      c[2 * half + 1] = i > column ? c[2 * half + 1] * p.y : 0.0F;
    }
  }
#pragma unroll
  for (int step = 0; step < chunk / 16; ++step) {
    if (step > x.warp) break;
    multiply<K, true>(dq, dscores[step], x.shared + Plan::k, 16 * step, x.lane);
  }
}

// dv, what dbeta takes from it, and this lane's share of dskip.
template <int K, int V>
__device__ __forceinline__ float value_part(const GradientCell& x, RowSums& sums) {
  using Plan = GradientPlan<K, V>;
  const RecurrenceArguments& a = x.a;
  const bool has_skip = a.skip.data != nullptr;
  const float skip = has_skip ? a.skip.data[x.head.p * a.skip.stride + x.head.h] : 0.0F;
  const std::int64_t at = a.v_at + x.head.h * V + 2 * (x.lane % 4);
  const Bf16* v = x.head.sequence(a.qkv, a, a.width) + at;
  Bf16* dv = x.head.sequence(a.dqkv, a, a.width) + at;
  float dskip = 0;
#pragma unroll 2
  for (int n = 0; n < V; n += 16) {
    std::uint32_t y[4], dout[4] = {0, 0, 0, 0};
    load_left<chunk, false>(y, x.shared + Plan::y, 16 * x.warp, n, x.lane);
    if (has_skip) load_left<V, true>(dout, x.shared + Plan::dout, 16 * x.warp, n, x.lane);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int half = e % 2;
      if (!x.inside(half)) continue;
      const std::int64_t place = x.token(half) * a.width + n + e / 2 * 8;
      const float2 value = unpack_bf16(*reinterpret_cast<const std::uint32_t*>(v + place));
      const float2 yy = unpack_bf16(y[e]), d = unpack_bf16(dout[e]);
      sums.beta[half] = fmaf(yy.x, value.x, fmaf(yy.y, value.y, sums.beta[half]));
      dskip = fmaf(d.x, value.x, fmaf(d.y, value.y, dskip));
      *reinterpret_cast<std::uint32_t*>(dv + place) =
          pack_bf16(fmaf(x.beta(half), yy.x, skip * d.x), fmaf(x.beta(half), yy.y, skip * d.y));
    }
  }
  return dskip;
}

// What the delta rule adds: dK = beta e^G X + E K, the operand `errors` of E^T K, and to M and the sums of rows.
template <int K, int V>
__device__ __forceinline__ void rule_part(const GradientCell& x, float (&dk)[K / 8][4],
                                          std::uint32_t (&errors)[chunk / 16][4], float (&m)[chunk / 8][4],
                                          RowSums& sums) {
  using Plan = GradientPlan<K, V>;
  clear(dk);
  float da[chunk / 8][4];
  clear(da);
#pragma unroll
  for (int v = 0; v < V; v += 16) {
    std::uint32_t left[4];
    load_left<chunk, false>(left, x.shared + Plan::y, 16 * x.warp, v, x.lane);
    multiply<K, true>(dk, left, x.shared + Plan::state, v, x.lane);
    multiply<chunk, true>(da, left, x.shared + Plan::values, v, x.lane);
  }
  scale_rows(dk, -x.from_start(0), -x.from_start(1));  // e^G X
  float dots[2] = {0, 0};
  add_row_dots<K>(dots, dk, x.shared + Plan::k, x.row, x.lane);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sums.beta[half] += dots[half];
    sums.before[half] = fmaf(x.beta(half), dots[half], sums.before[half]);
  }
  scale_rows(dk, x.beta(0), x.beta(1));

  float products[chunk / 8][4];  // K K^T
  clear(products);
#pragma unroll
  for (int k = 0; k < K; k += 16) {
    std::uint32_t left[4];
    load_left<K, true>(left, x.shared + Plan::k, 16 * x.warp, k, x.lane);
    multiply<K, false>(products, left, x.shared + Plan::k, k, x.lane);
  }
#pragma unroll
  for (int n = 0; n < chunk / 8; ++n) {
    const int column = 8 * n + 2 * (x.lane % 4);
    const float2 gj = *reinterpret_cast<const float2*>(x.gates + column);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = x.row + 8 * half;
      float e[2];
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        const bool visible = i > column + side;
        e[side] = decayed(-da[n][2 * half + side], x.g(half), side == 0 ? gj.x : gj.y, visible);  // dA * D
        const float product = visible ? e[side] * products[n][2 * half + side] : 0.0F;
        sums.beta[half] += product;
        m[n][2 * half + side] = fmaf(x.beta(half), product, m[n][2 * half + side]);
      }
      errors[n / 2][n % 2 * 2 + half] = pack_bf16(x.beta(half) * e[0], x.beta(half) * e[1]);
    }
  }
#pragma unroll
  for (int step = 0; step < chunk / 16; ++step) {
    if (step > x.warp) break;
    multiply<K, true>(dk, errors[step], x.shared + Plan::k, 16 * step, x.lane);
  }
}

// rectangles[warp][t] = the sum of M_ij over this warp's rows i >= t and all columns j < t.
__device__ __forceinline__ void sum_rectangles(const GradientCell& x, const float (&m)[chunk / 8][4],
                                               float* rectangles) {
  float so_far[2] = {0, 0};  // the row's sum over the n8 tiles before
#pragma unroll
  for (int n = 0; n < chunk / 8; ++n) {
    float column[2] = {0, 0};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float pair = m[n][2 * half] + m[n][2 * half + 1];
      float sum = pair;  // over the quad's lanes up to this one
      float before = __shfl_up_sync(0xffffffffU, sum, 1, 4);
      if (x.lane % 4 >= 1) sum += before;
      before = __shfl_up_sync(0xffffffffU, sum, 2, 4);
      if (x.lane % 4 >= 2) sum += before;
      before = __shfl_up_sync(0xffffffffU, sum, 1, 4);
      const float start = so_far[half] + (x.lane % 4 == 0 ? 0.0F : before);
      const int t = 8 * n + 2 * (x.lane % 4), i = x.row + 8 * half;
      if (i >= t) column[0] += start;
      if (i >= t + 1) column[1] += start + m[n][2 * half];
      so_far[half] += __shfl_sync(0xffffffffU, sum, 3, 4);
    }
#pragma unroll
    for (int side = 0; side < 2; ++side) {
#pragma unroll
      for (int step = 4; step < 32; step *= 2) column[side] += __shfl_xor_sync(0xffffffffU, column[side], step);
    }
    if (x.lane < 4) {
      *reinterpret_cast<float2*>(rectangles + x.warp * chunk + 8 * n + 2 * x.lane) = make_float2(column[0], column[1]);
    }
  }
}

// An operand of this warp's rows to its tile.
__device__ __forceinline__ void share_operand(const GradientCell& x, unsigned char* tile,
                                              const std::uint32_t (&operand)[chunk / 16][4]) {
#pragma unroll
  for (int step = 0; step < chunk / 16; ++step) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = x.row + 8 * (e % 2), column = 16 * step + 8 * (e / 2) + 2 * (x.lane % 4);
      *pair_at<chunk>(tile, row, column) = operand[step][e];
    }
  }
}

// dK += N + dP^T Q + E^T K, and the rows' sums of N * K.
template <int K, int V, bool delta>
__device__ __forceinline__ void key_part(const GradientCell& x, float (&dk)[K / 8][4], RowSums& sums) {
  using Plan = GradientPlan<K, V>;
  float n[K / 8][4];
  clear(n);
#pragma unroll
  for (int v = 0; v < V; v += 16) {
    std::uint32_t left[4];
    load_left<chunk, false>(left, x.shared + Plan::values, 16 * x.warp, v, x.lane);
    multiply<K, true>(n, left, x.shared + Plan::state, v, x.lane);
  }
  scale_rows(n, x.to_end(0), x.to_end(1));
  add_row_dots<K>(sums.after, n, x.shared + Plan::k, x.row, x.lane);
#pragma unroll
  for (int i = 0; i < K / 8; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) dk[i][e] += n[i][e];
  }
#pragma unroll
  for (int i = 0; i < chunk; i += 16) {
    if (i < 16 * x.warp) continue;  // dP and E are lower triangles
    std::uint32_t left[4];
    load_left<chunk, false>(left, x.shared + Plan::scores, 16 * x.warp, i, x.lane);
    multiply<K, true>(dk, left, x.shared + Plan::q, i, x.lane);
    if constexpr (delta) {
      load_left<chunk, false>(left, x.shared + Plan::errors, 16 * x.warp, i, x.lane);
      multiply<K, true>(dk, left, x.shared + Plan::k, i, x.lane);
    }
  }
}

// <S, dS+>: this thread's share; S from memory, dS+ from its tile.
template <int K, int V>
__device__ __forceinline__ float state_product(const GradientCell& x) {
  using Plan = GradientPlan<K, V>;
  const Bf16* state = CellParts<K, V>::state(x.a.states, x.cell);
  float sum = 0;
  for (int e = static_cast<int>(threadIdx.x); e < V * K / 8; e += 128) {
    const uint4 s = *reinterpret_cast<const uint4*>(state + 8 * e);
    const uint4 d =
        *reinterpret_cast<const uint4*>(x.shared + Plan::state + attention::piece<K>(e / (K / 8), e % (K / 8)));
    const std::uint32_t left[4] = {s.x, s.y, s.z, s.w}, right[4] = {d.x, d.y, d.z, d.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 l = unpack_bf16(left[i]), r = unpack_bf16(right[i]);
      sum = fmaf(l.x, r.x, fmaf(l.y, r.y, sum));
    }
  }
  return sum;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffU, x, step);
  return x;
}

// dbeta, dg and this cell's part of dskip from the sums of the warps. All threads.
template <int K, int V>
__device__ __forceinline__ void gate_part(const GradientCell& x, const RowSums& sums, float product, float dskip,
                                          const float* rectangles) {
  using Plan = GradientPlan<K, V>;
  const RecurrenceArguments& a = x.a;
  float* before = reinterpret_cast<float*>(x.shared + Plan::sums);
  float* after = before + chunk;
  float* of_warps = after + chunk;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float b = quad_sum(sums.before[half]), n = quad_sum(sums.after[half]), beta = quad_sum(sums.beta[half]);
    if (x.lane % 4 != 0) continue;
    before[x.row + 8 * half] = b;
    after[x.row + 8 * half] = n;
    if (a.dbeta.data != nullptr && x.inside(half)) x.head.gate(a.dbeta, a)[x.token(half) * a.heads] = beta;
  }
  product = warp_sum(product);
  dskip = warp_sum(dskip);
  if (x.lane == 0) of_warps[x.warp] = product, of_warps[4 + x.warp] = dskip;
  __syncthreads();
  const int t = static_cast<int>(threadIdx.x);
  if (t == 0 && a.skip_parts != nullptr) {
    a.skip_parts[x.cell] = of_warps[4] + of_warps[5] + of_warps[6] + of_warps[7];
  }
  if (a.dg.data == nullptr || t >= chunk || x.first + t >= a.length) return;
  float dg = x.gates[from_start_at + chunk - 1] * (of_warps[0] + of_warps[1] + of_warps[2] + of_warps[3]);
  for (int w = 0; w < 4; ++w) dg += rectangles[w * chunk + t];
  for (int i = 0; i < chunk; ++i) dg += i >= t ? before[i] : after[i];
  x.head.gate(a.dg, a)[(x.first + static_cast<std::int64_t>(t)) * a.heads] = dg;
}

template <int K, int V>
__device__ __forceinline__ void load_cell(const GradientCell& x) {
  using Plan = GradientPlan<K, V>;
  const RecurrenceArguments& a = x.a;
  const Bf16* sequence = x.head.sequence(a.qkv, a, a.width) + x.head.group(a) * K;
  const std::int64_t pitch = static_cast<std::int64_t>(a.heads) * V;
  copy_tile<V, chunk, 128>(x.shared + Plan::dout, x.head.sequence(a.dout, a, pitch) + x.head.h * V, pitch, x.first,
                           a.length);
  copy_tile<chunk, V, 128>(x.shared + Plan::values, CellParts<K, V>::value(a.states, x.cell), chunk, 0, V);
  copy_tile<K, V, 128>(x.shared + Plan::state, CellParts<K, V>::state(a.states, x.cell), K, 0, V);
  copy_tile<K, chunk, 128>(x.shared + Plan::q, sequence + a.q_at, a.width, x.first, a.length);
  copy_tile<K, chunk, 128>(x.shared + Plan::k, sequence + a.k_at, a.width, x.first, a.length);
  copy_commit();
  copy_tile<chunk, V, 128>(x.shared + Plan::y, CellParts<K, V>::value(a.adjoints, x.cell), chunk, 0, V);
  copy_commit();
}

// A warp's rows of dQ or dK to columns `at` of dqkv.
template <int K>
__device__ __forceinline__ void store_rows(const GradientCell& x, std::int64_t at, const float (&c)[K / 8][4]) {
  Bf16* row_g = x.head.sequence(x.a.dqkv, x.a, x.a.width) + x.token(0) * x.a.width + at + x.head.group(x.a) * K;
  to_rows(row_g, x.inside(0), row_g + 8 * x.a.width, x.inside(1), c, x.lane);
}

template <int tiles>
__device__ __forceinline__ void add(float (&sum)[tiles][4], const float (&c)[tiles][4]) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[n][e] += c[n][e];
  }
}

// One head's gradients; dQ and dK are added to the sums where the block walks over heads, else written.
template <int K, int V, bool delta, bool walk>
__device__ __forceinline__ void head_gradients(const GradientCell& x, float (&dq_sum)[K / 8][4],
                                               float (&dk_sum)[K / 8][4]) {
  using Plan = GradientPlan<K, V>;
  auto* rectangles = reinterpret_cast<float*>(x.shared + Plan::rectangles);
  load_cell<K, V>(x);
  copy_wait<1>();
  __syncthreads();
  RowSums sums;
  std::uint32_t dscores[chunk / 16][4], errors[chunk / 16][4] = {};
  float m[chunk / 8][4];
  {
    float dq[K / 8][4];
    query_part<K, V, delta>(x, dq, dscores, m, sums);
    if constexpr (Plan::scores_apart) share_operand(x, x.shared + Plan::scores, dscores);
    if constexpr (walk) {
      add(dq_sum, dq);
    } else {
      store_rows<K>(x, x.a.q_at, dq);
    }
  }
  copy_wait<0>();
  __syncthreads();
  const float dskip = value_part<K, V>(x, sums);
  float dk[K / 8][4];
  if constexpr (delta) {
    rule_part<K, V>(x, dk, errors, m, sums);
  } else {
    clear(dk);
  }
  if (x.a.dg.data != nullptr) sum_rectangles(x, m, rectangles);
  __syncthreads();  // all are done with dO and S
  copy_tile<K, V, 128>(x.shared + Plan::state, CellParts<K, V>::state(x.a.adjoints, x.cell), K, 0, V);
  copy_commit();
  if constexpr (!Plan::scores_apart) share_operand(x, x.shared + Plan::scores, dscores);
  if constexpr (delta) share_operand(x, x.shared + Plan::errors, errors);
  copy_wait<0>();
  __syncthreads();
  key_part<K, V, delta>(x, dk, sums);
  const float product = x.a.dg.data != nullptr ? state_product<K, V>(x) : 0.0F;
  if constexpr (walk) {
    add(dk_sum, dk);
  } else {
    store_rows<K>(x, x.a.k_at, dk);
  }
  __syncthreads();  // all are done with V'
  gate_part<K, V>(x, sums, product, dskip, rectangles);
}

}  // namespace recurrence

template <int K, int V, bool delta, bool walk>
__global__ __launch_bounds__(128, recurrence::gradient_blocks<K, walk>) void recurrence_gradient_kernel(
    RecurrenceArguments a) {
  using namespace recurrence;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int c = static_cast<int>(blockIdx.x % a.chunks);
  const int heads = walk ? a.heads / a.groups : 1;
  float dq_sum[K / 8][4], dk_sum[K / 8][4];
  clear(dq_sum);
  clear(dk_sum);
  const std::int64_t first_head = static_cast<std::int64_t>(blockIdx.x / a.chunks) * heads;
  for (int i = 0; i < heads; ++i) {
    const Head head(a, first_head + i);
    const std::int64_t cell = head.cell(a, c);
    const GradientCell x{
        a, head, cell, c * chunk, lane, warp, 16 * warp + lane / 4, a.gates + cell * gate_floats, shared_memory};
    head_gradients<K, V, delta, walk>(x, dq_sum, dk_sum);
    if constexpr (walk) {
      if (i + 1 == heads) {
        store_rows<K>(x, a.q_at, dq_sum);
        store_rows<K>(x, a.k_at, dk_sum);
      }
      __syncthreads();  // before the next head's tiles
    }
  }
}

}  // namespace hylas::kernels::cuda
