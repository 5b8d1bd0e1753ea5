// The learning rate over a run, as a multiplier of its peak.
//
// With w = warmup_steps, n = steps, f = final_ratio and s the update, counted from 1:
//   warm-up   s <= w: s / w, whatever the kind; the peak is reached at update w. A run with n <= w is warm-up only.
//   constant  1
//   cosine    f + (1 - f) (1 + cos(pi (s - w) / (n - w))) / 2
//   wsd       1 up to the update a = max(w, n - round(decay_fraction n)), then linear: 1 - (1 - f) (s - a) / (n - a)
// So cosine and wsd give f at the last update (where it lies after the warm-up), and every kind is continuous.
// Source: cosine as PyTorch's CosineAnnealingLR with T_max = n - w; wsd as Hu et al., "MiniCPM", arXiv 2404.06395.
// Thread-safe, pure. Steps beyond n give the value at n; steps < 1 are a bug (assert).
#pragma once

#include <cstdint>

#include "model/recipe.hpp"

namespace hylas::model {

[[nodiscard]] double schedule_multiplier(const Schedule& schedule, std::int64_t step, std::int64_t steps);

}  // namespace hylas::model
