// Cost: parameters, FLOPs and cache bytes of a design, without training it.
//
// Source of every formula: MATHS "Counts", "FLOPs", "Cache" (also written out in cost.cpp).
//   non_embedding: final norm included, embedding and untied head excluded
//   FLOPs per token, training = 6 * (matrix parameters a token meets, head included) + 12 * d_attn * mean_keys per
//   attention layer; mean_keys = (T + 1)/2 for full, W - W(W-1)/(2T) for a window; forward is a third of it.
//   cache_bytes: bf16 keys and values (full T, swa min(T, W) positions), and the states of recurrent mixers, one
//   sequence
#pragma once

#include <cstdint>

#include "model/design/design.hpp"

namespace hylas::model {

struct Cost {
  std::int64_t parameters_total = 0;
  std::int64_t parameters_non_embedding = 0;
  double flops_forward = 0;  // per token
  double flops_train = 0;    // per token
  std::int64_t cache_bytes = 0;
};

[[nodiscard]] Cost cost_of(const Design& design);
[[nodiscard]] double mean_keys(const Layer& layer, std::int64_t context);

// Covariates of a design for the laws (DESIGN "Layout grammar", last paragraph).
struct Covariates {
  double log_window = 0;  // ln of the geometric mean of the swa windows; 0 and has_swa false where there is none
  bool has_swa = false;
  double full_fraction = 0;  // full layers / layers
  double nope_full = 0;      // share of the full layers without position encoding
  double sink = 0;           // share of the attention layers with a sink
  double recurrent_fraction = 0;
  int depth = 0;
  std::int64_t width = 0;
  std::int64_t parameters = 0;  // N, non-embedding
};
[[nodiscard]] Covariates covariates_of(const Design& design);

}  // namespace hylas::model
