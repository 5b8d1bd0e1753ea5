// Learning-rate schedules: the formulas as PyTorch writes them, end values, continuity, runs shorter than their
// warm-up.
#include "model/schedule.hpp"

#include <cmath>

#include "tests/catch.hpp"

namespace hylas::model {
namespace {

const double kPi = std::acos(-1.0);

// torch.optim.lr_scheduler.CosineAnnealingLR's recursive form, started at the peak, t = 1 .. T_max.
double torch_cosine(std::int64_t t, std::int64_t t_max, double eta_min) {
  double rate = 1;
  for (std::int64_t k = 1; k <= t; ++k) {
    const double now = 1 + std::cos(kPi * static_cast<double>(k) / static_cast<double>(t_max));
    const double before = 1 + std::cos(kPi * static_cast<double>(k - 1) / static_cast<double>(t_max));
    rate = now / before * (rate - eta_min) + eta_min;
  }
  return rate;
}

TEST_CASE("Warm-up is linear, reaches the peak at its last update, and is the same for all kinds", "[schedule]") {
  for (const auto kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::wsd}) {
    const Schedule schedule{kind, 50, 0.2, 0.1};
    for (std::int64_t s = 1; s <= 50; ++s) CHECK(schedule_multiplier(schedule, s, 1000) == static_cast<double>(s) / 50);
    CHECK(schedule_multiplier(schedule, 50, 1000) == 1.0);
  }
  CHECK(schedule_multiplier({ScheduleKind::constant, 0, 0.2, 0.0}, 1, 10) == 1.0);
}

TEST_CASE("Constant stays at the peak to the last update and beyond", "[schedule]") {
  for (const std::int64_t s : {51, 500, 1000, 2000}) CHECK(schedule_multiplier(Schedule{}, s, 1000) == 1.0);
}

// 1e-10: the recursive form loses a few digits over 950 steps, and all of them at its last step (0 / 0 follows it).
TEST_CASE("Cosine is PyTorch's CosineAnnealingLR after the warm-up", "[schedule]") {
  for (const double final_ratio : {0.0, 0.1}) {
    const Schedule schedule{ScheduleKind::cosine, 50, 0.2, final_ratio};
    for (const std::int64_t s : {51, 52, 300, 525, 900, 990}) {
      CHECK(schedule_multiplier(schedule, s, 1000) == Approx(torch_cosine(s - 50, 950, final_ratio)).epsilon(1e-10));
    }
    CHECK(schedule_multiplier(schedule, 525, 1000) == Approx((1 + final_ratio) / 2).epsilon(1e-14));  // half-way
    CHECK(schedule_multiplier(schedule, 1000, 1000) == Approx(final_ratio).margin(1e-15));
    CHECK(schedule_multiplier(schedule, 1001, 1000) == schedule_multiplier(schedule, 1000, 1000));
  }
}

TEST_CASE("WSD is flat, then falls linearly over the last part of the steps to the final ratio", "[schedule]") {
  const Schedule schedule{ScheduleKind::wsd, 100, 0.2, 0.0};  // the reference run of the recall task at 10,000 steps
  CHECK(schedule_multiplier(schedule, 8000, 10000) == 1.0);
  CHECK(schedule_multiplier(schedule, 8001, 10000) == Approx(1999.0 / 2000).epsilon(1e-14));
  CHECK(schedule_multiplier(schedule, 9000, 10000) == Approx(0.5).epsilon(1e-14));
  CHECK(schedule_multiplier(schedule, 10000, 10000) == 0.0);
  const Schedule tenth{ScheduleKind::wsd, 0, 0.5, 0.1};
  CHECK(schedule_multiplier(tenth, 75, 100) == Approx(0.55).epsilon(1e-14));
  CHECK(schedule_multiplier(tenth, 100, 100) == Approx(0.1).epsilon(1e-14));
  CHECK(schedule_multiplier({ScheduleKind::wsd, 10, 0.0, 0.0}, 100, 100) == 1.0);  // no decay at all
  // A decay longer than what the warm-up leaves begins where the warm-up ends.
  const Schedule all{ScheduleKind::wsd, 40, 1.0, 0.0};
  CHECK(schedule_multiplier(all, 40, 100) == 1.0);
  CHECK(schedule_multiplier(all, 70, 100) == Approx(0.5).epsilon(1e-14));
}

TEST_CASE("No kind jumps: one update changes the rate by no more than its steepest slope", "[schedule]") {
  for (const auto kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::wsd}) {
    for (const double decay : {0.05, 0.2, 1.0}) {
      const Schedule schedule{kind, 30, decay, 0.05};
      const std::int64_t steps = 400;
      // Warm-up 1/30 an update; wsd 0.95 / round(decay 400), at most over 370; cosine pi/2 0.95 / 370: all under this.
      const double steepest = std::max(1.0 / 30, 0.95 / std::min(decay * 400, 370.0)) * (1 + 1e-12);
      for (std::int64_t s = 1; s < steps; ++s) {
        const double now = schedule_multiplier(schedule, s, steps), next = schedule_multiplier(schedule, s + 1, steps);
        REQUIRE(std::abs(next - now) <= steepest);
        REQUIRE((now > 0 && now <= 1));
        if (s >= 30) REQUIRE(next <= now);
      }
    }
  }
}

TEST_CASE("A run no longer than its warm-up is warm-up only", "[schedule]") {
  for (const auto kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::wsd}) {
    const Schedule schedule{kind, 50, 0.2, 0.0};
    CHECK(schedule_multiplier(schedule, 10, 20) == 0.2);
    CHECK(schedule_multiplier(schedule, 20, 20) == 0.4);
    CHECK(schedule_multiplier(schedule, 50, 50) == 1.0);
  }
}

}  // namespace
}  // namespace hylas::model
