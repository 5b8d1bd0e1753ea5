// The recurrence's outputs, one thread block a cell: O = s e^G (Q S) + P V' + skip V. A warp owns 16 tokens.
#pragma once

#include "kernels/cuda/recurrence_tiles.cuh"

namespace hylas::kernels::cuda {
namespace recurrence {

template <int K, int V>
struct OutputPlan {
  static constexpr int q = 0;
  static constexpr int state = q + tile_bytes<K>(chunk);        // transposed, [V, K]
  static constexpr int values = state + tile_bytes<K>(V);       // V' transposed, [V, C]
  static constexpr int scores = values + tile_bytes<chunk>(V);  // P
  static constexpr int shared_bytes = scores + tile_bytes<chunk>(chunk);
};

}  // namespace recurrence

template <int K, int V, bool delta>
__global__ __launch_bounds__(128) void recurrence_output_kernel(RecurrenceArguments a) {
  using namespace recurrence;
  using Plan = OutputPlan<K, V>;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const Head head(a, blockIdx.x / a.chunks);
  const int first = static_cast<int>(blockIdx.x % a.chunks) * chunk;
  const std::int64_t cell = blockIdx.x;
  const Bf16* sequence = head.sequence(a.qkv, a, a.width);
  copy_tile<K, chunk, 128>(shared_memory + Plan::q, sequence + a.q_at + head.group(a) * K, a.width, first, a.length);
  copy_tile<K, V, 128>(shared_memory + Plan::state, CellParts<K, V>::state(a.states, cell), K, 0, V);
  copy_commit();
  copy_tile<chunk, V, 128>(shared_memory + Plan::values, CellParts<K, V>::value(a.states, cell), chunk, 0, V);
  copy_tile<chunk, chunk, 128>(shared_memory + Plan::scores, scores_of<delta>(a.matrices, cell), chunk, 0, chunk);
  copy_commit();
  const int row = 16 * warp + lane / 4;
  const float* from_start = a.gates + cell * gate_floats + from_start_at;
  const float factor[2] = {a.scale * from_start[row], a.scale * from_start[row + 8]};

  float out[V / 8][4];
  clear(out);
  copy_wait<1>();
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; k += 16) {
    std::uint32_t left[4];
    load_left<K, true>(left, shared_memory + Plan::q, 16 * warp, k, lane);
    multiply<K, false>(out, left, shared_memory + Plan::state, k, lane);
  }
#pragma unroll
  for (int n = 0; n < V / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) out[n][e] *= factor[e / 2];
  }
  copy_wait<0>();
  __syncthreads();
#pragma unroll
  for (int k = 0; k < chunk; k += 16) {
    if (k > 16 * warp) break;
    std::uint32_t left[4];
    load_left<chunk, true>(left, shared_memory + Plan::scores, 16 * warp, k, lane);
    multiply<chunk, false>(out, left, shared_memory + Plan::values, k, lane);
  }
  const std::int64_t t = first + row;
  if (a.skip.data != nullptr) {
    const float skip = a.skip.data[head.p * a.skip.stride + head.h];
    const Bf16* v = sequence + a.v_at + head.h * V + 2 * (lane % 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (t + 8 * half >= a.length) continue;
#pragma unroll
      for (int n = 0; n < V / 8; ++n) {
        const float2 x = unpack_bf16(*reinterpret_cast<const std::uint32_t*>(v + (t + 8 * half) * a.width + 8 * n));
        out[n][2 * half] = fmaf(skip, x.x, out[n][2 * half]);
        out[n][2 * half + 1] = fmaf(skip, x.y, out[n][2 * half + 1]);
      }
    }
  }
  const std::int64_t pitch = static_cast<std::int64_t>(a.heads) * V;
  Bf16* row_g = head.sequence(a.out, a, pitch) + t * pitch + head.h * V;
  to_rows(row_g, t < a.length, row_g + 8 * pitch, t + 8 < a.length, out, lane);
}

}  // namespace hylas::kernels::cuda
