// CUDA: what attention's backward needs of every query before the scores: lse ready for exp2, delta = sum of dout * out
// (arXiv 2307.08691), and the gradient of the sinks, -p_sink * delta, summed in a fixed order.
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int threads = 256;

__device__ __forceinline__ float2 pair_at(const float* x, std::int64_t i) {
  return make_float2(x[i], x[i + 1]);
}

// The part of x . y (of `dim` elements) that falls to one of `lanes` lanes.
template <int lanes>
__device__ __forceinline__ float partial_dot(const __nv_bfloat16* x, const __nv_bfloat16* y, int /*dim*/, int lane) {
  const uint4 u = *reinterpret_cast<const uint4*>(x + 8 * lane);
  const uint4 v = *reinterpret_cast<const uint4*>(y + 8 * lane);
  const std::uint32_t left[4] = {u.x, u.y, u.z, u.w};
  const std::uint32_t right[4] = {v.x, v.y, v.z, v.w};
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 f = unpack_bf16(left[i]);
    const float2 g = unpack_bf16(right[i]);
    sum = fmaf(f.x, g.x, fmaf(f.y, g.y, sum));
  }
  return sum;
}
template <int lanes>
__device__ __forceinline__ float partial_dot(const float* x, const float* y, int dim, int lane) {
  float sum = 0;
  for (int c = 2 * lane; c < dim; c += 2 * lanes) {
    const float2 f = pair_at(x, c);
    const float2 g = pair_at(y, c);
    sum = fmaf(f.x, g.x, fmaf(f.y, g.y, sum));
  }
  return sum;
}

template <int lanes>
__device__ __forceinline__ float sum_over(float x) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffU, x, step);
  return x;
}

// A thread block: 64 rows of one head, `lanes` lanes a row; for bf16 a lane has 8 elements, so that lanes = hd / 8.
template <class T, int lanes>
__global__ __launch_bounds__(threads) void attention_rows_kernel(AttentionBackward a, float lse_factor) {
  constexpr int rows = threads / lanes;  // at a time
  __shared__ float parts[attention_queries];
  const AttentionShape& s = a.shape;
  const int blocks = s.query_blocks();
  const std::int64_t head = blockIdx.x / blocks;
  const int block = static_cast<int>(blockIdx.x % blocks);
  const int h = static_cast<int>(head % s.heads);
  const int b = static_cast<int>(head / s.heads % s.batch);
  const int p = static_cast<int>(head / s.heads / s.batch);
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int pitch = s.heads * s.dim;
  const std::int64_t offset = static_cast<std::int64_t>(b) * s.length * pitch + h * s.dim;
  const T* out = static_cast<const T*>(a.out.data) + p * a.out.stride + offset;
  const T* dout = static_cast<const T*>(a.dout.data) + p * a.dout.stride + offset;
  const float* lse = attention::trial(a.lse, p) + (static_cast<std::int64_t>(b) * s.heads + h) * s.length;
  const bool sink_on = attention::sink_is_on(s, p);
  if (a.row_lse == nullptr && !sink_on) return;  // wanted for the sinks alone
  const float sink = sink_on ? attention::trial(s.sink, p)[h] : 0.0F;
  const std::int64_t padded = head * blocks * attention_queries;

#pragma unroll
  for (int i = 0; i < attention_queries / rows; ++i) {
    const int row = i * rows + static_cast<int>(threadIdx.x) / lanes;
    const int t = block * attention_queries + row;
    const bool whole = t < s.length;
    const std::int64_t at = static_cast<std::int64_t>(min(t, s.length - 1)) * pitch;
    const float delta = sum_over<lanes>(whole ? partial_dot<lanes>(out + at, dout + at, s.dim, lane) : 0.0F);
    if (lane == 0) {
      const float row_lse = whole ? lse[t] : INFINITY;
      parts[row] = sink_on && whole ? -expf(sink - row_lse) * delta : 0.0F;
      if (a.row_lse != nullptr) {
        a.row_lse[padded + t] = row_lse * lse_factor;
        a.row_delta[padded + t] = delta;
      }
    }
  }
  if (sink_on) {
    __syncthreads();
    if (threadIdx.x < 32) {
      const float sum = sum_over<32>(parts[threadIdx.x] + parts[threadIdx.x + 32]);
      if (threadIdx.x == 0) a.sink_parts[blockIdx.x] = sum;
    }
  }
  if (threadIdx.x == 0) {
    if (a.dq_ready != nullptr) a.dq_ready[blockIdx.x] = 0;
    if (blockIdx.x == 0 && a.ticket != nullptr) *a.ticket = 0;
  }
}

// A warp: one head of one trial.
__global__ void attention_sink_kernel(AttentionBackward a) {
  const AttentionShape& s = a.shape;
  const int p = static_cast<int>(blockIdx.x) / s.heads;
  const int h = static_cast<int>(blockIdx.x) % s.heads;
  if (!attention::sink_is_on(s, p)) return;
  const int blocks = s.query_blocks();
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < s.batch * blocks; i += 32) {
    sum += a.sink_parts[attention::head_index(s, p, i / blocks, h) * blocks + i % blocks];
  }
  sum = sum_over<32>(sum);
  if (threadIdx.x == 0) attention::trial(a.dsink, p)[h] += sum;
}

}  // namespace

void attention_rows(Context& ctx, const AttentionBackward& a, bool bf16, float lse_factor) {
  const dim3 blocks(static_cast<unsigned>(a.shape.query_heads() * a.shape.query_blocks()));
  if (!bf16) return launch(ctx, attention_rows_kernel<float, 32>, blocks, dim3(threads), 0, a, lse_factor);
  using Bf16 = __nv_bfloat16;
  if (a.shape.dim == 32) launch(ctx, attention_rows_kernel<Bf16, 4>, blocks, dim3(threads), 0, a, lse_factor);
  if (a.shape.dim == 64) launch(ctx, attention_rows_kernel<Bf16, 8>, blocks, dim3(threads), 0, a, lse_factor);
  if (a.shape.dim == 128) launch(ctx, attention_rows_kernel<Bf16, 16>, blocks, dim3(threads), 0, a, lse_factor);
}

void attention_sink_sum(Context& ctx, const AttentionBackward& a) {
  launch(ctx, attention_sink_kernel, dim3(static_cast<unsigned>(a.shape.trials * a.shape.heads)), dim3(32), 0, a);
}

}  // namespace hylas::kernels::cuda
