// Windows that grow during training, on the CPU: the rule itself, what it does to a cohort's bits, and where it does
// nothing.
#include "model/design/window_growth.hpp"

#include "tests/catch.hpp"
#include "tests/model/window_growth_checks.hpp"

namespace hylas::tests {
namespace {

using model::Cohort;
using model::WindowGrowth;

// 24 steps of 32 tokens, evaluated at 48 tokens too, with scores of heads.
model::TrialSpec base() {
  model::TrialSpec spec = trial("full*4", 1, 4e-3);
  spec.recipe.eval.lengths = {48};
  spec.recipe.eval.probe_sequences = 4;
  return spec;
}

GrowthCase three(WindowGrowth growth = {4, 9}) {
  return growth_case({{"swa:4 full swa:4 full", "swa:16 full swa:16 full"},
                      {"swa:4/nope swa:3/sink swa:4 full/nope", "swa:9/nope swa:3/sink swa:30 full/nope"},
                      {"full/sink swa:4 swa:4 swa:2", "full/sink swa:16 swa:5 swa:2"}},
                     base(), growth);
}

}  // namespace

TEST_CASE("window growth: small windows up to the last of its steps, then the design's", "[window_growth]") {
  const auto layout = model::parse_layout("swa:16/sink full/nope swa:3 gdn swa:5/nope");
  const auto small = model::parse_layout("swa:4/sink full/nope swa:3 gdn swa:4/nope");
  const WindowGrowth growth{4, 9};
  for (const std::int64_t update : {0, 1, 9}) CHECK(layout_at(layout, growth, update) == small);
  for (const std::int64_t update : {10, 11, 1000}) CHECK(layout_at(layout, growth, update) == layout);
  for (const std::int64_t update : {0, 1, 9}) {
    CHECK(layout_at(layout, {}, update) == layout);
    CHECK(layout_at(layout, {INT64_MAX, 9}, update) == layout);
    CHECK(layout_at(model::parse_layout("full gdn"), growth, update) == model::parse_layout("full gdn"));
  }
  CHECK(same_windows_until(growth, 0, 5) == 5);
  CHECK(same_windows_until(growth, 0, 24) == 9);
  CHECK(same_windows_until(growth, 8, 24) == 9);
  CHECK(same_windows_until(growth, 9, 24) == 24);
  CHECK(same_windows_until(WindowGrowth{}, 0, 24) == 24);
}

TEST_CASE("window growth: a run is one of the small windows, then one of the large", "[window_growth][cohort]") {
  for (const int threads : {1, 2}) check_is_two_runs(three(), {.threads = threads});
  check_is_two_runs(three({4, 1}), {.threads = 2});
  check_is_two_runs(three({4, 22}), {.threads = 2});
}

TEST_CASE("window growth: checkpoints around the boundary go on bit for bit", "[window_growth][cohort]") {
  check_resumes(three(), {.threads = 2});
}

TEST_CASE("window growth: trials that leave around the boundary change nothing", "[window_growth][cohort]") {
  check_leaving(three(), {.threads = 2});
}

TEST_CASE("window growth: nothing happens where no window is larger than the start", "[window_growth][cohort]") {
  GrowthCase c = growth_case({{"swa:16 full swa:3 full", "swa:16 full swa:3 full"}, {"full*4", "full*4"}}, base(),
                             {.start = 16, .steps = 9});
  Cohort growing(c.growing, {.threads = 2}), plain(c.large, {.threads = 2});
  for (const std::int64_t step : {0, 9, 10, 24}) {
    for (Cohort* cohort : {&growing, &plain}) cohort->train_to(step);
    check_same(growing, plain, c.growing);
  }
}

TEST_CASE("window growth: trials that grow otherwise share no cohort", "[window_growth][cohort]") {
  GrowthCase c = three();
  CHECK_NOTHROW(Cohort(c.growing, {.threads = 1}));
  c.growing[1].recipe.window_growth.start = 5;
  CHECK_THROWS_AS(Cohort(c.growing, {.threads = 1}), model::InputError);
  CHECK_THROWS_AS(Cohort({c.growing[0], c.large[0]}, {.threads = 1}), model::InputError);
  c.growing[0].recipe.window_growth.steps = 24;
  CHECK_THROWS_AS(Cohort({c.growing[0]}, {.threads = 1}), model::InputError);
}

}  // namespace hylas::tests
