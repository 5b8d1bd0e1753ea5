// CUDA: what the files of the recurrence share: the arguments of the kernels as plain values, and the functions that
// start them. The operator (kernels/recurrence.hpp) is in recurrence.cu: checks, memory, the choice of kernels.
//
// bf16, in chunks of C = 64 tokens. A cell is one chunk of one head of one sequence of one trial. Notation of
// kernels/README.md, D_ij = e^{G_i - G_j} for i >= j, R = beta (V - e^G K S):
//
//   forward   prepare   cells        G, beta; P = s (Q K^T * D), Tm = (I + strictly_lower(beta K K^T * D))^-1
//             states    V columns    walks over chunks: V' = Tm R, S+ = e^{G_C} S + (e^{G_C - G} K)^T V'
//             output    cells        O = s e^G (Q S) + P V' + skip V
//   backward  adjoints  V columns    walks back: dV' = P^T dO + e^{G_C - G} (K dS+), Y = Tm^T dV',
//                                    dS = e^{G_C} dS+ + s (e^G Q)^T dO - (beta e^G K)^T Y
//             gradient  cells        all the rest. With Y no inverse is left: X = -Y S^T, dA = -strictly_lower(Y V'^T)
//
// Without the delta rule Tm = I, R = beta V, and the terms of A vanish. U and W are never made. Only states and
// adjoints are serial over chunks; their thread blocks own some columns of V each, with all rows of the state, which
// those columns keep to themselves. The state lies transposed, [V, K], in the registers of one warp per 16 columns:
// each product's result is then the left operand of the next one without leaving them.
//
// recurrence_fp32.cu walks over single tokens in fp32, for parity with the CPU and small runs.
#pragma once

#include "kernels/cuda/attention.hpp"
#include "kernels/recurrence.hpp"

namespace hylas::kernels::cuda {

constexpr int recurrence_chunk = 64;
constexpr int recurrence_gate_floats = 4 * recurrence_chunk;  // of a cell

struct RecurrenceArguments {
  int trials = 0, batch = 0, length = 0;                  // P, B, T
  int heads = 0, groups = 0, key_dim = 0, value_dim = 0;  // H, ., K, V
  int chunks = 0;                                         // of one sequence
  std::int64_t width = 0, q_at = 0, k_at = 0, v_at = 0;
  float scale = 1;
  bool fixed_g = false;  // g is {1, H}
  PerTrial<const void> qkv, dout;
  PerTrial<const float> g, beta, skip;
  PerTrial<void> out, dqkv;
  PerTrial<float> dg, dbeta, dskip;

  // bf16, per cell: the gates; Tm - I, then P [2, C, C] (without the delta rule P alone);
  // the state at the chunk's start, transposed [V, K], then V' transposed [V, C].
  float* gates = nullptr;
  void* matrices = nullptr;
  void* states = nullptr;
  // Scratch of backward, per cell: dS+ transposed [V, K], then Y transposed [V, C].
  void* adjoints = nullptr;
  // Of sequences in segments, per head and segment: what the segment does to a state, transposed [K, K], bf16 (kept;
  // delta rule only), and the state it begins with, transposed [V, K], fp32 (scratch).
  int segments = 1, segment_chunks = 0;
  void* transitions = nullptr;
  float* boundaries = nullptr;
  float* skip_parts = nullptr;  // [cells]

  // fp32: the states before every `recurrence_interval`-th token [P B H, ., K, V], and scratch for one interval of
  // each (trial, sequence, group).
  float* checkpoints = nullptr;
  float* interval = nullptr;

  [[nodiscard]] constexpr std::int64_t sequences() const { return std::int64_t{trials} * batch; }
  [[nodiscard]] constexpr std::int64_t all_heads() const { return sequences() * heads; }
  [[nodiscard]] constexpr std::int64_t cells() const { return all_heads() * chunks; }
};

// Sequences of more than twice as many chunks are cut into segments of as many: states and adjoints then have more to
// do, 2.5 and 2 times as much, but a lone long sequence keeps few multiprocessors busy without. The length alone
// decides, since a trial's bits must not depend on its neighbours.
constexpr int recurrence_segment_chunks = 64;

constexpr int recurrence_interval = 32;  // tokens between states that the fp32 forward keeps

template <int key_dim, int value_dim, bool delta>
void recurrence_forward_bf16(Context& ctx, const RecurrenceArguments& a);
template <int key_dim, int value_dim, bool delta>
void recurrence_backward_bf16(Context& ctx, const RecurrenceArguments& a);

void recurrence_forward_fp32(Context& ctx, const RecurrenceArguments& a, bool delta);
void recurrence_backward_fp32(Context& ctx, const RecurrenceArguments& a, bool delta);

// dskip [P, H] += the sums of `parts` parts each, [P, B, H, parts / B], in order.
void recurrence_skip_sum(Context& ctx, const RecurrenceArguments& a, int parts_per_head);

}  // namespace hylas::kernels::cuda
