// When a capability emerged in one trial: its D50 as an interval, from the trial's points. Pure; used by fit and
// report.
//
// A capability emerges at the first of two successive evaluations at or above its threshold. D50 then lies in
// (lower, upper]: the tokens of the evaluation before and of that evaluation. Where it never held twice in a row the
// interval is right-censored: (lower, infinity) with lower the tokens of the last evaluation that still rules emergence
// out: the last one, or the one before it where the last alone is above the threshold (its successor was not seen).
// Non-finite values are below any threshold. Thread-safety: pure.
#pragma once

#include <cstdint>
#include <span>

namespace hylas::search {

// One evaluation of the capability's metric; ascending in tokens.
struct CapabilityPoint {
  std::int64_t tokens = 0;
  double value = 0;
};

struct Emergence {
  bool emerged = false;    // false: right-censored at `lower`
  std::int64_t lower = 0;  // tokens
  std::int64_t upper = 0;  // tokens; 0 where right-censored
  std::int64_t last = 0;   // tokens of the last evaluation
  double last_value = 0;   // the metric there
  bool pending = false;    // the last evaluation alone is above the threshold
};

[[nodiscard]] Emergence emergence_of(std::span<const CapabilityPoint> points, double threshold);
// Whether the last two evaluations are both at or above `level`: the rule of early stopping.
[[nodiscard]] bool held_twice(std::span<const CapabilityPoint> points, double level);

}  // namespace hylas::search
