// CUDA: what attention's backward needs of every query before the scores: lse ready for exp2, delta = sum of dout * out
// (arXiv 2307.08691), and the gradient of the sinks, -p_sink * delta, summed in a fixed order.
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr int warps = 8;

__device__ __forceinline__ float2 pair_at(const __nv_bfloat16* x, std::int64_t i) {
  return unpack_bf16(*reinterpret_cast<const std::uint32_t*>(x + i));
}
__device__ __forceinline__ float2 pair_at(const float* x, std::int64_t i) {
  return make_float2(x[i], x[i + 1]);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffU, x, step);
  return x;
}

// A thread block: 64 rows of one head; a warp: 8 of them, its lanes along hd.
template <class T>
__global__ void attention_rows_kernel(AttentionBackward a, float lse_factor) {
  __shared__ float parts[warps];
  const AttentionShape& s = a.shape;
  const int blocks = s.query_blocks();
  const std::int64_t head = blockIdx.x / blocks;
  const int block = static_cast<int>(blockIdx.x % blocks);
  const int h = static_cast<int>(head % s.heads);
  const int b = static_cast<int>(head / s.heads % s.batch);
  const int p = static_cast<int>(head / s.heads / s.batch);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int pitch = s.heads * s.dim;
  const std::int64_t offset = static_cast<std::int64_t>(b) * s.length * pitch + h * s.dim;
  const T* out = static_cast<const T*>(a.out.data) + p * a.out.stride + offset;
  const T* dout = static_cast<const T*>(a.dout.data) + p * a.dout.stride + offset;
  const float* lse = attention::trial(a.lse, p) + (static_cast<std::int64_t>(b) * s.heads + h) * s.length;
  const bool sink_on = attention::sink_is_on(s, p);
  if (a.row_lse == nullptr && !sink_on) return;  // wanted for the sinks alone
  const float sink = sink_on ? attention::trial(s.sink, p)[h] : 0.0F;
  const std::int64_t padded = head * blocks * attention_queries;

  float part = 0;
#pragma unroll 4
  for (int i = 0; i < attention_queries / warps; ++i) {
    const int t = block * attention_queries + i * warps + warp;
    float delta = 0;
    if (t < s.length) {
      const std::int64_t row = static_cast<std::int64_t>(t) * pitch;
      for (int c = 2 * lane; c < s.dim; c += 64) {
        const float2 x = pair_at(out, row + c);
        const float2 y = pair_at(dout, row + c);
        delta = fmaf(x.x, y.x, fmaf(x.y, y.y, delta));
      }
    }
    delta = warp_sum(delta);
    const float row_lse = t < s.length ? lse[t] : INFINITY;
    if (sink_on && t < s.length) part -= expf(sink - row_lse) * delta;
    if (lane == 0 && a.row_lse != nullptr) {
      a.row_lse[padded + t] = row_lse * lse_factor;
      a.row_delta[padded + t] = delta;
    }
  }
  if (lane == 0) parts[warp] = part;
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0;
    for (float x : parts) sum += x;
    a.sink_parts[blockIdx.x] = sum;
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
  sum = warp_sum(sum);
  if (threadIdx.x == 0) attention::trial(a.dsink, p)[h] += sum;
}

}  // namespace

template <class T>
void attention_rows(Context& ctx, const AttentionBackward& a, float lse_factor) {
  const std::int64_t blocks = a.shape.query_heads() * a.shape.query_blocks();
  launch(ctx, attention_rows_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(32 * warps), 0, a, lse_factor);
}
template void attention_rows<__nv_bfloat16>(Context& ctx, const AttentionBackward& a, float lse_factor);
template void attention_rows<float>(Context& ctx, const AttentionBackward& a, float lse_factor);

void attention_sink_sum(Context& ctx, const AttentionBackward& a) {
  launch(ctx, attention_sink_kernel, dim3(static_cast<unsigned>(a.shape.trials * a.shape.heads)), dim3(32), 0, a);
}

}  // namespace hylas::kernels::cuda
