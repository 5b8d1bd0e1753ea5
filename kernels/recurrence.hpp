// recurrence: a linear recurrence over matrix states with decay, plain (Mamba-2, Lightning) or with the delta rule
// (Gated DeltaNet), evaluated chunk by chunk.
//
//   a head, t = 1 .. T, S_0 = 0:   S_t = e^{g_t} S_{t-1} + k_t (beta_t (v_t - [delta] e^{g_t} S_{t-1}^T k_t))^T
//                                  o_t = scale S_t^T q_t + skip v_t
//
//   qkv   [P, B, T, W]: group j's queries at columns q_at + j K, its keys at k_at + j K; head h's values at v_at + h V.
//         Head h reads group h / (H / groups). K = key_dim, V = value_dim, W any width that holds them
//   g     [P, B, T, H] log decay <= 0, or {1, H}: one for all trials, sequences and times
//   beta  [P, B, T, H] how strongly a token writes (0 .. 1 with the delta rule, Delta for Mamba-2), or absent: 1
//   skip  [P, H] or absent: 0
//   out   [P, B, T, H V]
//
// backward writes the q, k and v columns of dqkv, and dg and dbeta (both [P, B, T, H]; dg absent where g is {1, H},
// dbeta where beta is); it adds to dskip [P, H]. What backward needs besides its inputs is taken from ctx.arena by
// forward; a backend that makes it again keeps none. dtypes: f32 or f64; on a GPU also bf16 for qkv, out and their
// gradients: then g, beta, skip and theirs are f32, states f32. Sources: arXiv 2412.06464 (gated delta rule),
// 2405.21060 (SSD), 2405.17381 (Lightning); the chunked forms and the sum that gives dg without cancellation are
// written out in kernels/README.md.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/context.hpp"

namespace hylas::kernels {

struct Recurrence {
  std::int64_t heads = 1;   // H
  std::int64_t groups = 1;  // of queries and keys, a divisor of H
  std::int64_t key_dim = 64, value_dim = 64;
  std::int64_t q_at = 0, k_at = 0, v_at = 0;
  double scale = 1;
  bool delta = false;
  std::int64_t chunk = 64;  // tokens; the CPU takes any >= 1, the GPU its own

  [[nodiscard]] std::int64_t value_width() const { return heads * value_dim; }
};

struct RecurrenceInputs {
  Tensor qkv, g, beta, skip;
};

struct RecurrenceGradients {
  Tensor dqkv, dg, dbeta, dskip;
};

using RecurrenceSaved = std::array<Tensor, 3>;  // in the backend's own order

void recurrence_forward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in, const Tensor& out,
                        RecurrenceSaved& saved);
void recurrence_backward(Context& ctx, const Recurrence& shape, const RecurrenceInputs& in,
                         const RecurrenceSaved& saved, const Tensor& dout, const RecurrenceGradients& gradients);

}  // namespace hylas::kernels
