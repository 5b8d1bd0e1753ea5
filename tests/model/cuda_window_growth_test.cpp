// Windows that grow during training, on a GPU: the promises of window_growth_checks.hpp, and the CPU's curve.
#include "tests/model/cuda_cohort_support.hpp"
#include "tests/model/window_growth_checks.hpp"

namespace hylas::tests {
namespace {

using model::Cohort;
using test::gpu_here;

// Small: what the emulator can do, 9 steps of 16 tokens; otherwise 24 of 32.
GrowthCase three(bool small, const std::string& precision) {
  const model::Shape shape{.d_model = small ? 32 : 64,
                           .heads = small ? 1 : 2,
                           .kv_heads = 1,
                           .head_dim = 32,
                           .ffn = small ? 40 : 192,
                           .vocab = 16,
                           .context = small ? 16 : 32,
                           .tied = true,
                           .rope_theta = 10000.0};
  model::TrialSpec like = trial("full*2", 1, 4e-3);
  like.design = model::Design::make("full*2", shape);
  like.recipe.precision = precision;
  like.recipe.eval.lengths = {small ? 24 : 48};
  like.recipe.eval.probe_sequences = 3;
  if (small) {
    like.recipe.batch = 2;
    like.recipe.steps = 9;
    like.recipe.eval.sequences = 5;
  }
  return growth_case({{"swa:4 full", "swa:12 full"},
                      {"swa:4/sink swa:2", "swa:15/sink swa:2"},
                      {"full swa:4/nope", "full swa:9/nope"}},
                     like, {.start = 4, .steps = small ? 4 : 9});
}

void check_curve(const GrowthCase& c) {
  Cohort cpu(c.growing, {.threads = 2}), gpu(c.growing, kGpu);
  for (std::int64_t step = 1; step <= gpu.steps(); ++step) {
    cpu.train_to(step);
    gpu.train_to(step);
    const auto want = cpu.last_losses(), got = gpu.last_losses();
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      INFO("step " << step << ", trial " << i);
      CHECK(got[i] == Approx(want[i]).epsilon(1e-4));
    }
  }
}

}  // namespace

TEST_CASE("window growth on the GPU: a run is one of the small windows, then one of the large",
          "[gpu][cohort][window_growth]") {
  if (!gpu_here()) return;
  check_is_two_runs(three(true, GENERATE("fp32", "bf16")), kGpu);
}

TEST_CASE("window growth on the GPU: a larger run is two runs too", "[gpu][cohort][window_growth][large]") {
  if (!real_gpu_here()) return;
  check_is_two_runs(three(false, GENERATE("fp32", "bf16")), kGpu);
}

TEST_CASE("window growth on the GPU: checkpoints around the boundary go on bit for bit",
          "[gpu][cohort][window_growth]") {
  if (!gpu_here()) return;
  check_resumes(three(true, GENERATE("fp32", "bf16")), kGpu);
}

TEST_CASE("window growth on the GPU: larger checkpoints around the boundary go on bit for bit",
          "[gpu][cohort][window_growth][large]") {
  if (!real_gpu_here()) return;
  check_resumes(three(false, GENERATE("fp32", "bf16")), kGpu);
}

TEST_CASE("window growth on the GPU: trials that leave around the boundary change nothing",
          "[gpu][cohort][window_growth]") {
  if (!gpu_here()) return;
  check_leaving(three(true, GENERATE("fp32", "bf16")), kGpu);
}

TEST_CASE("window growth on the GPU: trains as the CPU does in fp32", "[gpu][cohort][window_growth]") {
  if (!gpu_here()) return;
  check_curve(three(true, "fp32"));
}

}  // namespace hylas::tests
