// Training with a decoder on a GPU: MAD's compression is learned in bf16 as on the CPU, and a trial's bits are its own.
#include "tests/model/cuda_cohort_support.hpp"
#include "tests/model/test_decoder_common.hpp"

namespace hylas::tests {
namespace {

// d 64: wide enough for the fused kernels in bf16.
model::TrialSpec wide(const std::string& layout, std::int64_t seed, const std::string& precision, std::int64_t steps) {
  model::TrialSpec spec = compression(layout, seed, steps);
  model::Shape shape = spec.design.shape;
  shape.d_model = 64;
  shape.head_dim = 32;
  shape.ffn = seed == 3 ? 0 : 192;
  spec.design = model::Design::make(layout, shape);
  spec.recipe.precision = precision;
  spec.recipe.learning_rate = 1e-3;
  return spec;
}

}  // namespace

TEST_CASE("decoder on the GPU: a cohort learns compression where the last position sees the tokens, and only there",
          "[gpu][cohort][decoder][large]") {
  if (!real_gpu_here()) return;
  const std::string precision = GENERATE("fp32", "bf16");
  CAPTURE(precision);
  model::Cohort cohort({wide("full*2", 1, precision, 800), wide("swa:1 swa:1", 2, precision, 800)}, kGpu);
  CHECK(cohort.train_to(800).empty());
  const auto evaluations = cohort.evaluate();
  // The bounds of test_decoder.cpp.
  CHECK(metric(evaluations[0], "loss") < 1.6);
  CHECK(metric(evaluations[0], "accuracy") > 0.33);
  CHECK(metric(evaluations[1], "loss") > 2.65);
}

TEST_CASE("decoder on the GPU: a trial's bits are its own, and it goes on from a checkpoint",
          "[gpu][cohort][decoder][large]") {
  if (!real_gpu_here()) return;
  const std::string precision = GENERATE("fp32", "bf16");
  const bool ffn = GENERATE(false, true);
  CAPTURE(precision, ffn);
  const auto spec = [&](const std::string& layout, std::int64_t seed) {
    model::TrialSpec made = wide(layout, ffn ? 1 : 3, precision, 12);
    made.recipe.seed = seed;
    return made;
  };
  const TempDir dir;
  const std::vector<model::TrialSpec> specs{spec("full*2", 1), spec("swa:3 full/nope", 2), spec("full swa:5/sink", 3)};
  model::Cohort together(specs, kGpu), alone({specs[1]}, kGpu);
  CHECK(together.train_to(5).empty());
  together.save(1, dir / "trial");
  CHECK(together.train_to(12).empty());
  alone.load(0, dir / "trial");
  CHECK(alone.train_to(12).empty());
  CHECK(same_bits(state_of(alone, 0), state_of(together, 1)));
  CHECK(same_points(alone.evaluate()[0], together.evaluate()[1]));
}

}  // namespace hylas::tests
