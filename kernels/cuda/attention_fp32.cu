// CUDA: attention in plain fp32 for any even hd up to 256: for parity with the CPU and for small runs.
//
// A thread block of 8 warps owns 32 rows (queries; in the dK, dV kernel keys) and walks over blocks of 32 rows of the
// other kind. A warp owns 4 rows: for the scores its lanes are the 32 others, for the products after them its lanes are
// columns. All sums run in a fixed order.
#include <cmath>

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int block_rows = 32;
constexpr int warp_rows = 4;
constexpr int threads = 256;

// Columns of a tile whose rows are read by one lane each: odd, so that no two lanes share a bank. Padding is zero.
__host__ __device__ constexpr int padded(int dim) {
  return (dim + 3) / 4 * 4;
}
std::size_t tile_bytes(int dim) {
  return static_cast<std::size_t>(block_rows) * (padded(dim) + 4) * sizeof(float);
}

// Which head and block of rows a thread block has, and where its sequence lies.
struct Place {
  int p, b, h, first;
  int window, pitch, kv;

  __device__ Place(const AttentionShape& s, int heads) {
    const int blocks = (s.length + block_rows - 1) / block_rows;
    const std::int64_t head = blockIdx.x / blocks;
    first = (blocks - 1 - static_cast<int>(blockIdx.x % blocks)) * block_rows;
    h = static_cast<int>(head % heads);
    b = static_cast<int>(head / heads % s.batch);
    p = static_cast<int>(head / heads / s.batch);
    window = attention::window_of(s, p);
    pitch = (s.heads + 2 * s.kv_heads) * s.dim;
    kv = h / (heads / s.kv_heads);
  }
  template <class T>
  __device__ auto qkv(const PerTrial<T>& t, const AttentionShape& s) const {
    using F = std::conditional_t<std::is_const_v<T>, const float, float>;
    return static_cast<F*>(t.data) + p * t.stride + static_cast<std::int64_t>(b) * s.length * pitch;
  }
  template <class T>
  __device__ auto out(const PerTrial<T>& t, const AttentionShape& s) const {
    using F = std::conditional_t<std::is_const_v<T>, const float, float>;
    return static_cast<F*>(t.data) + p * t.stride + static_cast<std::int64_t>(b) * s.length * s.heads * s.dim;
  }
};

// Rows first .. first + 31 to a tile with `width` columns, zeros beyond `length` and beyond dim.
__device__ void load_tile(float* tile, int width, const float* from, std::int64_t pitch, int dim, int first,
                          int length) {
  for (int i = static_cast<int>(threadIdx.x); i < block_rows * width; i += threads) {
    const int row = i / width;
    const int c = i % width;
    tile[i] = c < dim && first + row < length ? from[(first + row) * pitch + c] : 0.0F;
  }
}

// dots[r] = rows[r] . other, for a warp's four rows (one lane: one other row); rows is 16-byte aligned.
__device__ __forceinline__ void four_dots(float (&dots)[warp_rows], const float* rows, int width, const float* other) {
#pragma unroll
  for (float& x : dots) x = 0;
  for (int c = 0; c < width; c += 4) {
    const float o[4] = {other[c], other[c + 1], other[c + 2], other[c + 3]};
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      const float4 x = *reinterpret_cast<const float4*>(rows + r * width + c);
      dots[r] = fmaf(x.x, o[0], fmaf(x.y, o[1], fmaf(x.z, o[2], fmaf(x.w, o[3], dots[r]))));
    }
  }
}

// sums[r][column] += weight[r] of lane j times row j of the tile.
template <int columns>
__device__ __forceinline__ void add_rows(float (&sums)[warp_rows][columns], const float (&weight)[warp_rows],
                                         const float* tile, int width, int dim, int lane) {
  for (int j = 0; j < block_rows; ++j) {
    float w[warp_rows];
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) w[r] = __shfl_sync(0xffffffffU, weight[r], j);
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      const float x = lane + 32 * c < dim ? tile[j * width + lane + 32 * c] : 0.0F;
#pragma unroll
      for (int r = 0; r < warp_rows; ++r) sums[r][c] = fmaf(w[r], x, sums[r][c]);
    }
  }
}

// Writes a warp's rows, times `factor`, rotated back where cos is given; `rows` is shared scratch of this warp.
template <int columns>
__device__ void store_rows(const float (&sums)[warp_rows][columns], float factor, float* rows, float* to,
                           std::int64_t pitch, int dim, int first, int length, const float* cos, const float* sin,
                           int lane) {
  __syncwarp();
#pragma unroll
  for (int r = 0; r < warp_rows; ++r) {
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      if (lane + 32 * c < dim) rows[r * dim + lane + 32 * c] = sums[r][c] * factor;
    }
  }
  __syncwarp();
  const int half = dim / 2;
  for (int r = 0; r < warp_rows && first + r < length; ++r) {
    const std::int64_t t = first + r;
    for (int c = lane; c < dim; c += 32) {
      float x = rows[r * dim + c];
      if (cos != nullptr) {
        const std::int64_t at = t * half + c % half;
        const float partner = rows[r * dim + (c + half) % dim];
        x = c < half ? x * cos[at] + partner * sin[at] : x * cos[at] - partner * sin[at];
      }
      to[t * pitch + c] = x;
    }
  }
}

__device__ __forceinline__ bool sees(int query, int key, int window) {
  return key <= query && query - key < window;
}

template <int columns>
__global__ __launch_bounds__(threads) void forward_kernel(AttentionForward a, float scale) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const AttentionShape& s = a.shape;
  const Place at(s, s.heads);
  const int width = padded(s.dim);
  float* q = reinterpret_cast<float*>(shared_memory);
  float* k = q + block_rows * (width + 4);
  float* v = k + block_rows * (width + 4);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int own = static_cast<int>(threadIdx.x) / 32 * warp_rows;
  const float* sequence = at.qkv(a.qkv, s);
  load_tile(q, width, sequence + at.h * s.dim, at.pitch, s.dim, at.first, s.length);

  const bool sink_on = attention::sink_is_on(s, at.p);
  float top[warp_rows], total[warp_rows];
  float sums[warp_rows][columns] = {};
#pragma unroll
  for (int r = 0; r < warp_rows; ++r) {
    top[r] = sink_on ? attention::trial(s.sink, at.p)[at.h] : -INFINITY;
    total[r] = sink_on && lane == 0 ? 1.0F : 0.0F;
  }
  const int last = min(s.length, at.first + block_rows);
  for (int key = max(0, at.first - at.window + 1) / block_rows * block_rows; key < last; key += block_rows) {
    __syncthreads();
    load_tile(k, width + 1, sequence + (s.heads + at.kv) * s.dim, at.pitch, s.dim, key, s.length);
    load_tile(v, width + 1, sequence + (s.heads + s.kv_heads + at.kv) * s.dim, at.pitch, s.dim, key, s.length);
    __syncthreads();
    float scores[warp_rows];
    four_dots(scores, q + own * width, width, k + lane * (width + 1));
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      const float score = sees(at.first + own + r, key + lane, at.window) ? scores[r] * scale : -INFINITY;
      float best = score;
#pragma unroll
      for (int step = 16; step > 0; step /= 2) best = fmaxf(best, __shfl_xor_sync(0xffffffffU, best, step));
      best = fmaxf(best, top[r]);
      const float base = best == -INFINITY ? 0.0F : best;
      const float shrink = expf(top[r] - base);
      scores[r] = expf(score - base);
      total[r] = total[r] * shrink + scores[r];
      top[r] = best;
#pragma unroll
      for (int c = 0; c < columns; ++c) sums[r][c] *= shrink;
    }
    add_rows(sums, scores, v, width + 1, s.dim, lane);
  }
  float* out = at.out(a.out, s) + at.h * s.dim;
  float* lse = attention::trial(a.lse, at.p) + (static_cast<std::int64_t>(at.b) * s.heads + at.h) * s.length;
#pragma unroll
  for (int r = 0; r < warp_rows; ++r) {
    float sum = total[r];
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, step);
#pragma unroll
    for (int c = 0; c < columns; ++c) sums[r][c] /= sum;
    if (lane == 0 && at.first + own + r < s.length) lse[at.first + own + r] = top[r] + logf(sum);
  }
  store_rows(sums, 1.0F, q + own * width, out, static_cast<std::int64_t>(s.heads) * s.dim, s.dim, at.first + own,
             s.length, nullptr, nullptr, lane);
}

// A thread block: 32 queries of one head; dQ.
template <int columns>
__global__ __launch_bounds__(threads) void dq_kernel(AttentionBackward a, float scale) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const AttentionShape& s = a.shape;
  const Place at(s, s.heads);
  const int width = padded(s.dim);
  const std::int64_t out_pitch = static_cast<std::int64_t>(s.heads) * s.dim;
  float* q = reinterpret_cast<float*>(shared_memory);
  float* dout = q + block_rows * (width + 4);
  float* k = dout + block_rows * (width + 4);
  float* v = k + block_rows * (width + 4);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int own = static_cast<int>(threadIdx.x) / 32 * warp_rows;
  const float* sequence = at.qkv(a.qkv, s);
  load_tile(q, width, sequence + at.h * s.dim, at.pitch, s.dim, at.first, s.length);
  load_tile(dout, width, at.out(a.dout, s) + at.h * s.dim, out_pitch, s.dim, at.first, s.length);
  const std::int64_t stats =
      attention::head_index(s, at.p, at.b, at.h) * s.query_blocks() * attention_queries + at.first + own;
  float sums[warp_rows][columns] = {};
  const int last = min(s.length, at.first + block_rows);
  for (int key = max(0, at.first - at.window + 1) / block_rows * block_rows; key < last; key += block_rows) {
    __syncthreads();
    load_tile(k, width + 1, sequence + (s.heads + at.kv) * s.dim, at.pitch, s.dim, key, s.length);
    load_tile(v, width + 1, sequence + (s.heads + s.kv_heads + at.kv) * s.dim, at.pitch, s.dim, key, s.length);
    __syncthreads();
    float scores[warp_rows], dp[warp_rows];
    four_dots(scores, q + own * width, width, k + lane * (width + 1));
    four_dots(dp, dout + own * width, width, v + lane * (width + 1));
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      const bool seen = sees(at.first + own + r, key + lane, at.window);
      const float p = seen ? expf(scores[r] * scale - a.row_lse[stats + r]) : 0.0F;
      scores[r] = p * (dp[r] - a.row_delta[stats + r]);
    }
    add_rows(sums, scores, k, width + 1, s.dim, lane);
  }
  const bool rotates = a.cos != nullptr && *attention::trial(a.rope_on, at.p) != 0;
  store_rows(sums, scale, q + own * width, at.qkv(a.dqkv, s) + at.h * s.dim, at.pitch, s.dim, at.first + own, s.length,
             rotates ? a.cos : nullptr, a.sin, lane);
}

// A thread block: 32 keys of one key head; dK and dV, summed over the query heads that read it.
template <int columns>
__global__ __launch_bounds__(threads) void dkv_kernel(AttentionBackward a, float scale) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const AttentionShape& s = a.shape;
  const Place at(s, s.kv_heads);
  const int width = padded(s.dim);
  const std::int64_t out_pitch = static_cast<std::int64_t>(s.heads) * s.dim;
  float* k = reinterpret_cast<float*>(shared_memory);
  float* v = k + block_rows * (width + 4);
  float* q = v + block_rows * (width + 4);
  float* dout = q + block_rows * (width + 4);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int own = static_cast<int>(threadIdx.x) / 32 * warp_rows;
  const int group = s.heads / s.kv_heads;
  const float* sequence = at.qkv(a.qkv, s);
  load_tile(k, width, sequence + (s.heads + at.kv) * s.dim, at.pitch, s.dim, at.first, s.length);
  load_tile(v, width, sequence + (s.heads + s.kv_heads + at.kv) * s.dim, at.pitch, s.dim, at.first, s.length);
  float dk[warp_rows][columns] = {};
  float dv[warp_rows][columns] = {};
  const int end = min(s.length, at.first + block_rows - 1 + at.window);
  for (int h = at.kv * group; h < (at.kv + 1) * group; ++h) {
    const std::int64_t stats = attention::head_index(s, at.p, at.b, h) * s.query_blocks() * attention_queries;
    for (int query = at.first; query < end; query += block_rows) {
      __syncthreads();
      load_tile(q, width + 1, sequence + h * s.dim, at.pitch, s.dim, query, s.length);
      load_tile(dout, width + 1, at.out(a.dout, s) + h * s.dim, out_pitch, s.dim, query, s.length);
      __syncthreads();
      float p[warp_rows], ds[warp_rows];
      four_dots(p, k + own * width, width, q + lane * (width + 1));
      four_dots(ds, v + own * width, width, dout + lane * (width + 1));
      const float lse = a.row_lse[stats + query + lane];
      const float delta = a.row_delta[stats + query + lane];
#pragma unroll
      for (int r = 0; r < warp_rows; ++r) {
        p[r] = sees(query + lane, at.first + own + r, at.window) ? expf(p[r] * scale - lse) : 0.0F;
        ds[r] = p[r] * (ds[r] - delta);
      }
      add_rows(dv, p, dout, width + 1, s.dim, lane);
      add_rows(dk, ds, q, width + 1, s.dim, lane);
    }
  }
  const bool rotates = a.cos != nullptr && *attention::trial(a.rope_on, at.p) != 0;
  float* to = at.qkv(a.dqkv, s) + (s.heads + at.kv) * s.dim;
  store_rows(dk, scale, k + own * width, to, at.pitch, s.dim, at.first + own, s.length, rotates ? a.cos : nullptr,
             a.sin, lane);
  store_rows(dv, 1.0F, v + own * width, to + s.kv_heads * s.dim, at.pitch, s.dim, at.first + own, s.length, nullptr,
             nullptr, lane);
}

// Calls f(columns) with ceil(dim / 32) rounded up to a power of two as a constant.
template <class F>
void by_columns(int dim, const F& f) {
  if (dim <= 32) return f(std::integral_constant<int, 1>());
  if (dim <= 64) return f(std::integral_constant<int, 2>());
  if (dim <= 128) return f(std::integral_constant<int, 4>());
  static_assert(attention_fp32_largest_dim == 256);
  f(std::integral_constant<int, 8>());
}

dim3 grid_of(const AttentionShape& s, int heads) {
  return dim3(
      static_cast<unsigned>(std::int64_t{s.trials} * s.batch * heads * ((s.length + block_rows - 1) / block_rows)));
}
float scale_of(const AttentionShape& s) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.dim)));
}

}  // namespace

void attention_forward_fp32(Context& ctx, const AttentionForward& a) {
  by_columns(a.shape.dim, [&](auto columns) {
    launch(ctx, forward_kernel<columns>, grid_of(a.shape, a.shape.heads), dim3(threads), 3 * tile_bytes(a.shape.dim), a,
           scale_of(a.shape));
  });
}

void attention_backward_fp32(Context& ctx, const AttentionBackward& a) {
  by_columns(a.shape.dim, [&](auto columns) {
    launch(ctx, dq_kernel<columns>, grid_of(a.shape, a.shape.heads), dim3(threads), 4 * tile_bytes(a.shape.dim), a,
           scale_of(a.shape));
    launch(ctx, dkv_kernel<columns>, grid_of(a.shape, a.shape.kv_heads), dim3(threads), 4 * tile_bytes(a.shape.dim), a,
           scale_of(a.shape));
  });
}

}  // namespace hylas::kernels::cuda
