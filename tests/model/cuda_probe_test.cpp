// Probes on the GPU: scores of heads in a cohort against the CPU and alone, interventions against the CPU.
#include <algorithm>
#include <cmath>

#include "model/probe/prober.hpp"
#include "tests/model/cuda_cohort_support.hpp"
#include "tests/model/test_cohort_common.hpp"

namespace hylas::tests {
namespace {

using model::Cohort;
using model::Intervention;
using model::TrialSpec;
using test::gpu_here;

TrialSpec probed_trial(const std::string& layout, std::int64_t seed, const std::string& precision) {
  const model::Shape shape{.d_model = 32,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_dim = 32,
                           .ffn = 40,
                           .vocab = 16,
                           .context = 16,
                           .tied = true,
                           .rope_theta = 10000.0};
  TrialSpec spec = trial(layout, seed, 1e-2);
  spec.design = model::Design::make(layout, shape);
  spec.recipe.precision = precision;
  spec.recipe.batch = 2;
  spec.recipe.steps = 6;
  spec.recipe.eval.sequences = 9;
  spec.recipe.eval.probe_sequences = 7;
  return spec;
}

std::vector<model::Evaluation> evaluated(const std::vector<TrialSpec>& specs, const model::CohortOptions& options,
                                         std::int64_t step) {
  Cohort cohort(specs, options);
  CHECK(cohort.train_to(step).empty());
  return cohort.evaluate();
}

bool is_head(const model::Point& point) {
  return point.metric.starts_with("head/");
}

}  // namespace

TEST_CASE("probe on the GPU: scores of heads in fp32 are the CPU's", "[gpu][probe]") {
  if (!gpu_here()) return;
  const std::vector<TrialSpec> specs = {probed_trial("swa:4 full", 1, "fp32"),
                                        probed_trial("full/nope/sink swa:1", 2, "fp32")};
  const auto found = evaluated(specs, kGpu, 0), want = evaluated(specs, {.threads = 2}, 0);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    REQUIRE(found[i].points.size() == want[i].points.size());
    CHECK(std::count_if(found[i].points.begin(), found[i].points.end(), is_head) == 2 * 2 * 5);
    for (std::size_t k = 0; k < want[i].points.size(); ++k) {
      const model::Point &a = found[i].points[k], &b = want[i].points[k];
      CAPTURE(i, b.metric);
      REQUIRE(a.metric == b.metric);
      REQUIRE(a.count == b.count);
      if (!is_head(b)) continue;
      // Same weights; two layers of fp32 differ by 1e-6. One query may go to another of two nearly equal keys.
      CHECK(a.value == Approx(b.value).margin(b.metric.ends_with("copy") ? 1.01 / static_cast<double>(b.count) : 1e-5));
    }
  }
}

TEST_CASE("probe on the GPU: scores of heads depend on no neighbour, and leave the evaluation as it is",
          "[gpu][probe]") {
  if (!gpu_here()) return;
  for (const char* precision : {"fp32", "bf16"}) {
    const std::vector<TrialSpec> specs = {probed_trial("swa:4 full", 1, precision),
                                          probed_trial("full/nope swa:9", 2, precision),
                                          probed_trial("full/sink full", 3, precision)};
    const auto together = evaluated(specs, kGpu, 2);
    TrialSpec plain = specs[1];
    plain.recipe.eval.probe_sequences = 0;
    const auto without = evaluated({plain}, kGpu, 2)[0];
    CHECK(same_points(together[1], evaluated({specs[1]}, kGpu, 2)[0]));
    auto rest = together[1];
    std::erase_if(rest.points, is_head);
    CHECK(same_points(rest, without));
    CHECK(rest.points.size() + 20 == together[1].points.size());
  }
}

TEST_CASE("probe on the GPU: interventions on a checkpoint give what the CPU gives", "[gpu][probe]") {
  if (!gpu_here()) return;
  const TrialSpec spec = probed_trial("swa:4 full/nope", 4, "fp32");
  const TempDir dir;
  Cohort cohort({spec}, {.threads = 2});
  CHECK(cohort.train_to(4).empty());
  cohort.save(0, dir / "trial");
  const model::Design& design = spec.design;
  const std::vector<Intervention> interventions = {model::intact(design),
                                                   model::cut_full_layers(design, 16, 2),
                                                   model::cut_full_layers(design, 3, 2),
                                                   model::cut_window_layers(design, 2),
                                                   model::without_heads(design, std::vector{0, 3}),
                                                   model::without_heads(design, std::vector{2, 3})};
  model::Prober on_gpu(spec, 5, kGpu), on_cpu(spec, 5, {.threads = 2});
  on_gpu.load(dir / "trial"), on_cpu.load(dir / "trial");
  const auto found = on_gpu.evaluate(interventions), want = on_cpu.evaluate(interventions);
  for (std::size_t i = 0; i < interventions.size(); ++i) {
    CAPTURE(i);
    REQUIRE(found[i][0].metric == "loss");
    CHECK(found[i][0].value == Approx(want[i][0].value).epsilon(1e-5));
    CHECK(found[i][0].count == want[i][0].count);
  }
  CHECK(found[1][0].value == found[0][0].value);  // as wide as the context
  CHECK(found[2][0].value != found[0][0].value);
  // Alone as in company.
  CHECK(on_gpu.evaluate(std::span(interventions).subspan(4, 1))[0][0].value == found[4][0].value);
  const auto scores = on_gpu.scores(), expected = on_cpu.scores();
  REQUIRE(scores.size() == 4);
  for (std::size_t h = 0; h < 4; ++h) {
    CHECK(scores[h].answer == Approx(expected[h].answer).margin(1e-5));
    CHECK(scores[h].previous == Approx(expected[h].previous).margin(1e-5));
    CHECK(scores[h].entropy == Approx(expected[h].entropy).margin(1e-5));
  }
}

}  // namespace hylas::tests
