// Learning-rate schedules (see schedule.hpp).
#include "model/schedule.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

namespace hylas::model {

double schedule_multiplier(const Schedule& schedule, std::int64_t step, std::int64_t steps) {
  assert(step >= 1);
  const std::int64_t warmup = schedule.warmup_steps;
  step = std::min(step, steps);
  if (step <= warmup) return static_cast<double>(step) / static_cast<double>(warmup);
  std::int64_t start = steps;  // the last update at the peak
  if (schedule.kind == ScheduleKind::cosine) start = warmup;
  if (schedule.kind == ScheduleKind::wsd) {
    start = std::max<std::int64_t>(warmup, steps - std::llround(schedule.decay_fraction * static_cast<double>(steps)));
  }
  if (step <= start) return 1.0;
  const double progress = static_cast<double>(step - start) / static_cast<double>(steps - start);  // (0, 1]
  const double left =
      schedule.kind == ScheduleKind::cosine ? (1 + std::cos(std::numbers::pi * progress)) / 2 : 1 - progress;
  return schedule.final_ratio + (1 - schedule.final_ratio) * left;
}

}  // namespace hylas::model
