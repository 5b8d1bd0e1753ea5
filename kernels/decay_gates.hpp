// decay_gates: log decay and write strength of each token and head, from columns of a recurrent mixer's projection.
//
//   proj [P, B, T, W]   a_log, dt_bias [P, H]   g, beta [P, B, T, H]
//
//   step = softplus(proj[step_at + h step_stride] + dt_bias)
//   g = -exp(a_log) step
//   beta = sigmoid(proj[beta_at + h beta_stride]) for Gated DeltaNet; beta = step (Delta) where beta_is_step, for
//   Mamba-2
//
// backward writes those columns of dproj, sets `unused` columns from unused_at on to 0 (padding that no operator reads)
// and leaves all others alone; it adds to da_log and ddt_bias. softplus and its derivative do
// not overflow. dtypes: f32 or f64; on a GPU also bf16 for proj and dproj, all else then f32, and at most 256 heads.
// Sources: arXiv 2412.06464, 2405.21060.
#pragma once

#include <cstdint>

#include "kernels/context.hpp"

namespace hylas::kernels {

struct DecayGates {
  std::int64_t heads = 1;
  std::int64_t step_at = 0, step_stride = 1;
  bool beta_is_step = false;
  std::int64_t beta_at = 0, beta_stride = 1;  // not read where beta_is_step
  std::int64_t unused_at = 0, unused = 0;
};

void decay_gates_forward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                         const Tensor& dt_bias, const Tensor& g, const Tensor& beta);
void decay_gates_backward(Context& ctx, const DecayGates& gates, const Tensor& proj, const Tensor& a_log,
                          const Tensor& dt_bias, const Tensor& dg, const Tensor& dbeta, const Tensor& dproj,
                          const Tensor& da_log, const Tensor& ddt_bias);

}  // namespace hylas::kernels
