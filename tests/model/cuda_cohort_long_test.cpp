// Cohorts on a GPU over many steps and under limits of memory: tables of learning rates that end, a divergence in the
// middle of a long run, micro-batches made smaller, cohorts that do not fit, and a task that is learnt.
#include <cmath>

#include "kernels/cuda/runtime.hpp"
#include "tests/model/cuda_cohort_support.hpp"
#include "tests/model/test_cohort_common.hpp"

namespace hylas::tests {
namespace {

using kernels::cuda::OutOfDeviceMemory;
using model::Cohort;
using model::CohortOptions;
using model::TrialSpec;

TrialSpec tiny(const std::string& layout, std::int64_t seed, double learning_rate, std::int64_t steps) {
  TrialSpec spec = trial(layout, seed, learning_rate);
  spec.recipe.batch = 2;
  spec.recipe.steps = steps;
  spec.recipe.schedule.kind = model::ScheduleKind::cosine;
  return spec;
}

// A trial whose activations need much more memory than its weights.
TrialSpec wide(std::int64_t seed) {
  const model::Shape shape{.d_model = 64,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_dim = 32,
                           .ffn = 192,
                           .vocab = 16,
                           .context = 64,
                           .tied = true,
                           .rope_theta = 10000.0};
  TrialSpec spec = trial("full", seed, 4e-3);
  spec.design = model::Design::make("swa:4 full/sink swa:8/nope full", shape);
  spec.recipe.batch = 66;
  return spec;
}

std::size_t planned_bytes(const Cohort& cohort) {
  return cohort.peak_bytes() - kernels::cuda::Runtime(0).workspace_bytes();
}

// Room for `bytes` of a cohort's own memory: what the products' workspace holds comes on top.
CohortOptions within(std::size_t bytes) {
  CohortOptions options = kGpu;
  options.gpu_bytes = bytes + kernels::cuda::Runtime(0).workspace_bytes();
  return options;
}

}  // namespace

TEST_CASE("cohort on the GPU: bits do not depend on how the steps are cut", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  const std::vector<TrialSpec> specs{tiny("swa:4 full", 1, 4e-3, 800), tiny("full/nope swa:9/sink", 2, 1e-3, 800)};
  Cohort whole(specs, kGpu);
  CHECK(whole.train_to(800).empty());
  Cohort cut(specs, kGpu);
  for (const std::int64_t step : {1, 2, 255, 256, 257, 300, 513, 700}) CHECK(cut.train_to(step).empty());
  const test::TempDir dir;
  for (const std::size_t i : {0, 1}) cut.save(i, dir / std::to_string(i));
  CHECK(cut.train_to(800).empty());
  Cohort again({specs[1]}, kGpu);
  again.load(0, dir / "1");
  CHECK(again.train_to(800).empty());
  for (const std::size_t i : {0, 1}) CHECK(same_bits(state_of(whole, i), state_of(cut, i)));
  CHECK(same_bits(state_of(whole, 1), state_of(again, 0)));
}

TEST_CASE("cohort on the GPU: a divergence in the middle of a long run changes no other trial",
          "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  constexpr std::int64_t steps = 1023;
  auto specs = std::vector{tiny("swa:4 full", 1, 4e-3, steps), tiny("full swa:2", 2, 4e-3, steps)};
  // lr * decay = 2.024: weights change sign and grow by 2.4% a step, until the feed-forward block overflows. That is in
  // the first half of a segment of 512 steps (they double), whose second half needs another table of learning rates.
  specs[0].recipe.schedule.kind = model::ScheduleKind::constant;
  specs[0].recipe.weight_decay = 2.024 / specs[0].recipe.learning_rate;
  Cohort lonely({specs[1]}, kGpu);
  CHECK(lonely.train_to(steps).empty());
  Cohort cohort(specs, kGpu);
  const auto divergences = cohort.train_to(steps);
  REQUIRE(divergences.size() == 1);
  CHECK(divergences[0].trial == 0);
  CHECK(divergences[0].step > 511);
  CHECK(divergences[0].step < 766);
  CHECK(same_bits(state_of(cohort, 1), state_of(lonely, 0)));
}

TEST_CASE("cohort on the GPU: a trial too large for the memory takes smaller micro-batches", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  const TrialSpec spec = wide(1);
  Cohort free({spec}, kGpu);
  const std::size_t bytes = planned_bytes(free);
  CHECK(free.plan_text().find("micro-batches of 66 of 66") != std::string::npos);
  CHECK(Cohort({spec}, within(bytes)).plan_text() == free.plan_text());
  Cohort tight({spec}, within(bytes * 3 / 4));
  CHECK(tight.plan_text().find("micro-batches of 33 of 66") != std::string::npos);
  Cohort tighter({spec}, within(bytes * 2 / 5));
  CHECK(tighter.plan_text().find("micro-batches of 17 of 66") != std::string::npos);
  for (const Cohort* cohort : {&tight, &tighter}) {
    CHECK(planned_bytes(*cohort) < bytes * 3 / 4);
    CHECK(cohort->tokens_per_step() == free.tokens_per_step());
  }
  for (std::int64_t step = 1; step <= 10; ++step) {
    for (Cohort* cohort : {&free, &tight, &tighter}) CHECK(cohort->train_to(step).empty());
    CHECK(tight.last_losses()[0] == Approx(free.last_losses()[0]).epsilon(1e-4));
    CHECK(tighter.last_losses()[0] == Approx(free.last_losses()[0]).epsilon(1e-4));
  }
  CHECK(tight.evaluate().at(0).tokens == free.evaluate().at(0).tokens);
  CHECK_THROWS_AS(Cohort({spec}, within(1000)), OutOfDeviceMemory);
}

TEST_CASE("cohort on the GPU: as many trials as fit, and not one more", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  const TrialSpec spec = wide(1);
  const std::size_t bytes = planned_bytes(Cohort({spec}, kGpu));
  CHECK_THROWS_AS(Cohort({spec, wide(2)}, within(bytes)), OutOfDeviceMemory);
  CHECK(model::trials_that_fit(spec, within(bytes)) == 1);
  CHECK(model::trials_that_fit(spec, within(1000)) == 1);
  const auto options = within(bytes * 7 / 2);
  const std::size_t count = model::trials_that_fit(spec, options);
  CHECK(count >= 3);
  CHECK(count <= 4);
  Cohort full(std::vector<TrialSpec>(count, spec), options);
  CHECK(planned_bytes(full) <= options.gpu_bytes);
  CHECK(full.train_to(2).empty());
  CHECK_THROWS_AS(Cohort(std::vector<TrialSpec>(count + 1, spec), options), OutOfDeviceMemory);
}

TEST_CASE("cohort on the GPU: learns far recall at d 32 within 400 steps", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  // The CPU's test of this name, in both precisions.
  const model::Shape shape{.d_model = 32,
                           .heads = 1,
                           .kv_heads = 1,
                           .head_dim = 32,
                           .ffn = 96,
                           .vocab = 32,
                           .context = 64,
                           .tied = true,
                           .rope_theta = 10000.0};
  model::Recipe recipe;
  recipe.steps = 2000;
  recipe.precision = GENERATE("bf16", "fp32");
  INFO(recipe.precision);
  Cohort cohort({{model::Design::make("(swa:4 full)*2", shape), recipe}}, kGpu);
  CHECK(cohort.train_to(400).empty());
  double far = 0;
  for (const auto& point : cohort.evaluate().at(0).points) {
    if (point.metric == "accuracy/far") far = point.value;
  }
  CHECK(far > 0.5);
}

}  // namespace hylas::tests
