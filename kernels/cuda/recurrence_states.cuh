// The recurrence's two serial kernels: forward the states and V', backward the states' gradients and Y.
//
// A warp owns 16 columns of V with all of the state's rows, transposed, in its accumulators: S^T [16, K]. A chunk is a
// chain of products whose left operand is the result before:
//
//   forward   S^T K^T -> R^T = (beta (V - e^G K S))^T -> V'^T = R^T Tm^T -> S^T = e^{G_C} S^T + (e^{G_C - G} V')^T K
//   backward  dS^T K^T -> dV'^T = e^{G_C - G} (K dS)^T + dO^T P -> Y^T = dV'^T Tm
//             -> dS^T = e^{G_C} dS^T + (s e^G dO)^T Q - (beta e^G Y)^T K
//
// The warps of a block share the chunk's tiles, which arrive while the chunk before is worked on (cp.async, two
// stages).
//
// Long sequences (how long says recurrence_segments, from the length alone) are walked in segments side by side: first
// each by itself from a zero state (`local`), then recurrence_segments.cuh makes the states between them, then each
// from its own. What a segment does to a state is linear; for the delta rule the local walk finds the matrix by taking
// the identity as K more columns of V whose values are zero.
#pragma once

#include "kernels/cuda/recurrence_tiles.cuh"

namespace hylas::kernels::cuda {
namespace recurrence {

template <int K, int warps, bool delta, bool forward>
struct StatesPlan {
  static constexpr int columns = 16 * warps;  // of V, of a block
  static constexpr int threads = 32 * warps;
  // One stage: K, values (V or dO), the gates, then Q and P backward, then Tm for the delta rule.
  static constexpr int k = 0;
  static constexpr int values = tile_bytes<K>(chunk);
  static constexpr int gates = values + tile_bytes<columns>(chunk);
  static constexpr int q = gates + gate_floats * 4;
  static constexpr int scores = q + (forward ? 0 : tile_bytes<K>(chunk));
  static constexpr int inverse = scores + (forward ? 0 : tile_bytes<chunk>(chunk));
  static constexpr int stage_bytes = inverse + (delta ? tile_bytes<chunk>(chunk) : 0);
  static constexpr int shared_bytes = 2 * stage_bytes;
  // Thread blocks of a head and segment; local walks forward take the identity's columns as well.
  static __host__ __device__ constexpr int blocks(int V, bool local) {
    return (V + (local && delta && forward ? K : 0)) / columns;
  }
};

// Starts the copies of chunk c of the block's head.
template <int K, int V, int warps, bool delta, bool forward>
__device__ __forceinline__ void load_chunk(const RecurrenceArguments& a, const Head& head, int c, int column,
                                           unsigned char* stage) {
  using Plan = StatesPlan<K, warps, delta, forward>;
  const std::int64_t cell = head.cell(a, c);
  const int first = c * chunk;
  const Bf16* sequence = head.sequence(a.qkv, a, a.width);
  const Bf16* keys = sequence + a.k_at + head.group(a) * K;
  copy_tile<K, chunk, Plan::threads>(stage + Plan::k, keys, a.width, first, a.length);
  if constexpr (forward) {
    if (column < V) {
      copy_tile<Plan::columns, chunk, Plan::threads>(stage + Plan::values, sequence + a.v_at + head.h * V + column,
                                                     a.width, first, a.length);
    }
  } else {
    const std::int64_t pitch = static_cast<std::int64_t>(a.heads) * V;
    copy_tile<Plan::columns, chunk, Plan::threads>(
        stage + Plan::values, head.sequence(a.dout, a, pitch) + head.h * V + column, pitch, first, a.length);
    copy_tile<K, chunk, Plan::threads>(stage + Plan::q, sequence + a.q_at + head.group(a) * K, a.width, first,
                                       a.length);
    copy_tile<chunk, chunk, Plan::threads>(stage + Plan::scores, scores_of<delta>(a.matrices, cell), chunk, 0, chunk);
  }
  if constexpr (delta) {
    copy_tile<chunk, chunk, Plan::threads>(stage + Plan::inverse, inverse_of(a.matrices, cell), chunk, 0, chunk);
  }
  for (int i = static_cast<int>(threadIdx.x); i < gate_floats / 4; i += Plan::threads) {
    copy_async_16(stage + Plan::gates + 16 * i, a.gates + cell * gate_floats + 4 * i);
  }
}

// A warp's [16 columns, n] to rows of n elements each, at `to` (the first of its 16 rows).
template <int tiles>
__device__ __forceinline__ void store_transposed(Bf16* to, const float (&c)[tiles][4], int lane) {
  Bf16* row_g = to + lane / 4 * (8 * tiles);
  to_rows(row_g, true, row_g + 8 * (8 * tiles), true, c, lane);
}

// c [16, C] (columns by tokens) times factor[token].
__device__ __forceinline__ void scale_tokens(float (&c)[chunk / 8][4], const float* factor, int lane) {
#pragma unroll
  for (int n = 0; n < chunk / 8; ++n) {
    const float2 f = *reinterpret_cast<const float2*>(factor + 8 * n + 2 * (lane % 4));
    c[n][0] *= f.x, c[n][1] *= f.y, c[n][2] *= f.x, c[n][3] *= f.y;
  }
}

template <int tiles>
__device__ __forceinline__ void scale_all(float (&c)[tiles][4], float factor) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) c[n][e] *= factor;
  }
}

// c [16, C] = state [16, K] times K^T.
template <int K>
__device__ __forceinline__ void state_times_keys(float (&c)[chunk / 8][4], const float (&state)[K / 8][4],
                                                 const unsigned char* keys, int lane) {
  clear(c);
#pragma unroll
  for (int step = 0; step < K / 16; ++step) {
    std::uint32_t left[4];
    as_left(left, state, step);
    multiply<K, false>(c, left, keys, 16 * step, lane);
  }
}

// V'^T from the state at the chunk's start.
template <int K, class Plan, bool delta>
__device__ __forceinline__ void new_values(float (&values)[chunk / 8][4], const float (&state)[K / 8][4],
                                           const unsigned char* stage, int warp, int lane) {
  const float* gates = reinterpret_cast<const float*>(stage + Plan::gates);
  float right_side[chunk / 8][4];
  if constexpr (delta) {
    state_times_keys<K>(right_side, state, stage + Plan::k, lane);
    scale_tokens(right_side, gates + from_start_at, lane);
  } else {
    clear(right_side);
  }
  clear(values);
#pragma unroll
  for (int j = 0; j < chunk; j += 16) {
    std::uint32_t v[4];
    load_left<Plan::columns, false>(v, stage + Plan::values, 16 * warp, j, lane);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float(&c)[4] = right_side[j / 8 + half];
      const float2 b = *reinterpret_cast<const float2*>(gates + beta_at + j + 8 * half + 2 * (lane % 4));
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const float2 x = unpack_bf16(v[2 * half + row]);
        c[2 * row] = b.x * (x.x - c[2 * row]);
        c[2 * row + 1] = b.y * (x.y - c[2 * row + 1]);
      }
    }
    if constexpr (delta) {
      std::uint32_t left[4];
      as_left(left, right_side, j / 16);
      multiply_triangle<chunk, false, false>(values, left, stage + Plan::inverse, j, lane);  // Tm_ij, i > j
    }
  }
#pragma unroll
  for (int n = 0; n < chunk / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) values[n][e] += right_side[n][e];
  }
}

// What a thread block walks over: some columns of a head in the chunks begin .. end - 1 of a segment. Columns from V on
// are those of the identity.
struct Walk {
  Head head;
  int segment, column, begin, end;

  __device__ __forceinline__ Walk(const RecurrenceArguments& a, int blocks, int columns, int segments,
                                  int first_segment)
      : head(a, blockIdx.x / blocks / segments),
        segment(first_segment + static_cast<int>(blockIdx.x / blocks % segments)),
        column(static_cast<int>(blockIdx.x % blocks) * columns),
        begin(segment * a.segment_chunks),
        end(min(a.chunks, begin + a.segment_chunks)) {}
};

// This lane's first element of a warp's 16 rows of the [V, K] fp32 state between two segments.
template <int K, int V>
__device__ __forceinline__ float* boundary(const RecurrenceArguments& a, const Head& head, int segment, int row,
                                           int lane) {
  const std::int64_t index = head.index(a) * a.segments + segment;
  return a.boundaries + (index * V + row + lane / 4) * K + 2 * (lane % 4);
}
template <int tiles>
__device__ __forceinline__ void load_state(float (&c)[tiles][4], const float* from) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 x = *reinterpret_cast<const float2*>(from + half * (8 * 8 * tiles) + 8 * n);
      c[n][2 * half] = x.x, c[n][2 * half + 1] = x.y;
    }
  }
}
template <int tiles>
__device__ __forceinline__ void store_state(float* to, const float (&c)[tiles][4]) {
#pragma unroll
  for (int n = 0; n < tiles; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<float2*>(to + half * (8 * 8 * tiles) + 8 * n) = make_float2(c[n][2 * half], c[n][2 * half + 1]);
    }
  }
}

// The state a walk begins with: zero, the identity's columns, or what is there between its segment and the one before.
template <int K, int V, bool local>
__device__ __forceinline__ void begin_state(float (&state)[K / 8][4], const RecurrenceArguments& a, const Walk& walk,
                                            int warp, int lane) {
  clear(state);
  if constexpr (local) {
    if (walk.column < V) return;
    const int row = walk.column - V + 16 * warp + lane / 4;
#pragma unroll
    for (int n = 0; n < K / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) state[n][e] = row + 8 * (e / 2) == 8 * n + 2 * (lane % 4) + e % 2 ? 1.0F : 0.0F;
    }
  } else {
    if (a.segments > 1) load_state(state, boundary<K, V>(a, walk.head, walk.segment, walk.column + 16 * warp, lane));
  }
}
// What a local walk leaves: a state, or rows of the segment's matrix, transposed.
template <int K, int V>
__device__ __forceinline__ void end_state(const float (&state)[K / 8][4], const RecurrenceArguments& a,
                                          const Walk& walk, int warp, int lane) {
  const int row = walk.column + 16 * warp;
  if (row < V) return store_state(boundary<K, V>(a, walk.head, walk.segment, row, lane), state);
  const std::int64_t index = walk.head.index(a) * a.segments + walk.segment;
  store_transposed(static_cast<Bf16*>(a.transitions) + (index * K + row - V) * K, state, lane);
}

}  // namespace recurrence

template <int K, int V, int warps, bool delta, bool local>
__global__ __launch_bounds__(32 * warps) void recurrence_states_kernel(RecurrenceArguments a) {
  using namespace recurrence;
  using Plan = StatesPlan<K, warps, delta, true>;
  using Parts = CellParts<K, V>;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // The last segment's matrix and local state serve nobody.
  const Walk walk(a, Plan::blocks(V, local), Plan::columns, a.segments - (local ? 1 : 0), 0);
  if (walk.column >= V) {
    for (int i = static_cast<int>(threadIdx.x); i < tile_bytes<Plan::columns>(chunk) / 16; i += Plan::threads) {
      for (int stage = 0; stage < 2; ++stage) {
        *reinterpret_cast<uint4*>(shared_memory + stage * Plan::stage_bytes + Plan::values + 16 * i) =
            make_uint4(0, 0, 0, 0);
      }
    }
  }
  float state[K / 8][4];
  begin_state<K, V, local>(state, a, walk, warp, lane);
  load_chunk<K, V, warps, delta, true>(a, walk.head, walk.begin, walk.column, shared_memory);
  copy_commit();
  for (int c = walk.begin; c < walk.end; ++c) {
    unsigned char* stage = shared_memory + (c - walk.begin) % 2 * Plan::stage_bytes;
    const float* gates = reinterpret_cast<const float*>(stage + Plan::gates);
    copy_wait<0>();
    __syncthreads();
    if (c + 1 < walk.end) {
      load_chunk<K, V, warps, delta, true>(a, walk.head, c + 1, walk.column,
                                           shared_memory + (c + 1 - walk.begin) % 2 * Plan::stage_bytes);
    }
    copy_commit();
    const std::int64_t cell = walk.head.cell(a, c);
    const int row = walk.column + 16 * warp;
    if constexpr (!local) store_transposed(Parts::state(a.states, cell) + row * K, state, lane);

    float values[chunk / 8][4];
    new_values<K, Plan, delta>(values, state, stage, warp, lane);
    if constexpr (!local) store_transposed(Parts::value(a.states, cell) + row * chunk, values, lane);
    scale_tokens(values, gates + to_end_at, lane);
    scale_all(state, gates[from_start_at + chunk - 1]);
#pragma unroll
    for (int step = 0; step < chunk / 16; ++step) {
      std::uint32_t left[4];
      as_left(left, values, step);
      multiply<K, true>(state, left, stage + Plan::k, 16 * step, lane);
    }
  }
  if constexpr (local) end_state<K, V>(state, a, walk, warp, lane);
}

template <int K, int V, int warps, bool delta, bool local>
__global__ __launch_bounds__(32 * warps) void recurrence_adjoints_kernel(RecurrenceArguments a) {
  using namespace recurrence;
  using Plan = StatesPlan<K, warps, delta, false>;
  using Parts = CellParts<K, V>;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const Walk walk(a, V / Plan::columns, Plan::columns, a.segments - (local ? 1 : 0), local ? 1 : 0);

  float state[K / 8][4];  // dS+, then dS
  begin_state<K, V, local>(state, a, walk, warp, lane);
  load_chunk<K, V, warps, delta, false>(a, walk.head, walk.end - 1, walk.column, shared_memory);
  copy_commit();
  for (int c = walk.end - 1; c >= walk.begin; --c) {
    const int i = walk.end - 1 - c;
    unsigned char* stage = shared_memory + i % 2 * Plan::stage_bytes;
    const float* gates = reinterpret_cast<const float*>(stage + Plan::gates);
    copy_wait<0>();
    __syncthreads();
    if (c > walk.begin) {
      load_chunk<K, V, warps, delta, false>(a, walk.head, c - 1, walk.column,
                                            shared_memory + (i + 1) % 2 * Plan::stage_bytes);
    }
    copy_commit();
    const std::int64_t cell = walk.head.cell(a, c);
    const int row = walk.column + 16 * warp;
    if constexpr (!local) store_transposed(Parts::state(a.adjoints, cell) + row * K, state, lane);

    float dvalues[chunk / 8][4];
    state_times_keys<K>(dvalues, state, stage + Plan::k, lane);
    scale_tokens(dvalues, gates + to_end_at, lane);
    scale_all(state, gates[from_start_at + chunk - 1]);
#pragma unroll
    for (int k = 0; k < chunk; k += 16) {
      std::uint32_t left[4];
      load_left<Plan::columns, false>(left, stage + Plan::values, 16 * warp, k, lane);
      multiply_triangle<chunk, true, true>(dvalues, left, stage + Plan::scores, k, lane);  // P_ij, j <= i
    }
    if constexpr (delta) {
      float y[chunk / 8][4];
      clear(y);
#pragma unroll
      for (int k = 0; k < chunk; k += 16) {
        std::uint32_t left[4];
        as_left(left, dvalues, k / 16);
        multiply_triangle<chunk, true, true>(y, left, stage + Plan::inverse, k, lane);  // Tm_ij, j < i
      }
#pragma unroll
      for (int n = 0; n < chunk / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) dvalues[n][e] += y[n][e];
      }
    }
    if constexpr (!local) store_transposed(Parts::value(a.adjoints, cell) + row * chunk, dvalues, lane);
    if constexpr (delta) {
      scale_tokens(dvalues, gates + from_start_at, lane);
      scale_tokens(dvalues, gates + beta_at, lane);
    }
#pragma unroll
    for (int k = 0; k < chunk; k += 16) {
      std::uint32_t left[4];
      load_left<Plan::columns, false>(left, stage + Plan::values, 16 * warp, k, lane);
      scale_columns(left, gates + from_start_at, a.scale, k, lane);
      multiply<K, true>(state, left, stage + Plan::q, k, lane);
      if constexpr (delta) {
        as_left(left, dvalues, k / 16);
#pragma unroll
        for (std::uint32_t& pair : left) pair ^= 0x80008000U;  // minus both
        multiply<K, true>(state, left, stage + Plan::k, k, lane);
      }
    }
  }
  if constexpr (local) end_state<K, V>(state, a, walk, warp, lane);
}

}  // namespace hylas::kernels::cuda
