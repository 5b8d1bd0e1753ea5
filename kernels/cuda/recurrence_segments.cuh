// The recurrence's states between segments, from each segment's own walk: forward S = L + M S- with the local state L
// and the segment's matrix M, backward dS- = dL + M^T dS; without the delta rule M = e^{sum of g}. One thread block a
// head; a warp owns 16 columns of V, the state transposed in its accumulators. Each local state in memory gives way to
// the state that its segment begins with, in the direction of the walk.
#pragma once

#include "kernels/cuda/recurrence_states.cuh"

namespace hylas::kernels::cuda {

template <int K, int V, bool delta, bool forward>
__global__ __launch_bounds__(2 * V) void recurrence_segments_kernel(RecurrenceArguments a) {
  using namespace recurrence;
  constexpr int threads = 2 * V, tile = tile_bytes<K>(K);
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const Head head(a, blockIdx.x);
  const auto segment_of = [&](int i) { return forward ? i : a.segments - 1 - i; };
  const auto load_matrix = [&](int i) {
    if constexpr (delta) {
      const std::int64_t index = head.index(a) * a.segments + segment_of(i);
      copy_tile<K, K, threads>(shared_memory + i % 2 * tile, static_cast<const Bf16*>(a.transitions) + index * (K * K),
                               K, 0, K);
    }
    copy_commit();
  };

  float state[K / 8][4];
  clear(state);
  for (int i = 0; i < a.segments; ++i) {
    float* place = boundary<K, V>(a, head, segment_of(i), 16 * warp, lane);
    if (i + 1 == a.segments) return store_state(place, state);
    copy_wait<0>();
    __syncthreads();
    if (i + 2 < a.segments) load_matrix(i + 1);  // the first state is zero: its segment's matrix is not there
    float next[K / 8][4];
    load_state(next, place);
    store_state(place, state);
    if constexpr (delta) {
      if (i > 0) {
#pragma unroll
        for (int step = 0; step < K / 16; ++step) {
          std::uint32_t left[4];
          as_left(left, state, step);
          multiply<K, forward>(next, left, shared_memory + i % 2 * tile, 16 * step, lane);
        }
      }
    } else {
      float sum = 0;  // of the segment's G, in units of log2
      const int begin = segment_of(i) * a.segment_chunks, end = min(a.chunks, begin + a.segment_chunks);
      for (int c = begin; c < end; ++c) sum += a.gates[head.cell(a, c) * gate_floats + chunk - 1];
      const float factor = exp2_fast(sum);
#pragma unroll
      for (int n = 0; n < K / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) next[n][e] = fmaf(factor, state[n][e], next[n][e]);
      }
    }
#pragma unroll
    for (int n = 0; n < K / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) state[n][e] = next[n][e];
    }
  }
}

}  // namespace hylas::kernels::cuda
