// The promises of the cohort on a GPU: a trial's bits depend on the trial and the binary only, not on neighbours,
// trials that leave, interruptions or how steps are asked for. Also divergence, memory limits, evaluation, and the
// CPU's training curve. Cases tagged [large] are too slow for the emulator.
#include <algorithm>
#include <cmath>

#include "model/data/tasks/recall.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/proxy.hpp"
#include "tests/model/cuda_cohort_support.hpp"
#include "tests/model/test_cohort_common.hpp"

namespace hylas::tests {
namespace {

using kernels::DType;
using model::Cohort;
using model::TrialSpec;
using test::gpu_here;

// Small: what the emulator can do. Otherwise the feed-forward block and projections are fused in bf16.
TrialSpec gpu_trial(const std::string& layout, bool small, const std::string& precision, std::int64_t seed,
                    double learning_rate, std::int64_t data_seed = 1) {
  const model::Shape shape{.d_model = small ? 32 : 64,
                           .heads = small ? 1 : 2,
                           .kv_heads = 1,
                           .head_dim = 32,
                           .ffn = small ? 40 : 192,
                           .vocab = 16,
                           .context = small ? 16 : 32,
                           .tied = true,
                           .rope_theta = 10000.0};
  TrialSpec spec = trial(layout, seed, learning_rate, data_seed);
  spec.design = model::Design::make(layout, shape);
  spec.recipe.precision = precision;
  if (small) {
    spec.recipe.batch = 2;
    spec.recipe.steps = 9;
    spec.recipe.eval.sequences = 5;
  }
  return spec;
}

// Windows, NoPE, sinks, seeds, data seeds and learning rates all differ.
std::vector<TrialSpec> five(bool small, const std::string& precision) {
  const auto make = [&](const std::string& layout, std::int64_t seed, double lr, std::int64_t data_seed) {
    return gpu_trial(layout + (small ? "" : " full/sink swa:9"), small, precision, seed, lr, data_seed);
  };
  return {make("swa:4 full", 1, 4e-3, 1), make("swa:15 full/nope", 2, 2e-3, 1), make("full full", 3, 8e-3, 5),
          make("swa:2/sink full/nope/sink", 4, 1e-2, 1), make("swa:16/nope swa:1/nope", 1, 4e-3, 7)};
}

// MAD's compression, whose models have a decoder.
std::vector<TrialSpec> compressions(bool small) {
  auto specs = five(small, "fp32");
  specs.resize(2);
  for (TrialSpec& spec : specs) {
    spec.recipe.task = model::task_spec("mad_compression");
    spec.recipe.capability.metric = "accuracy";
  }
  return specs;
}

// Of five(): MQAR, which trains 4 of the 16 or 32 positions.
std::vector<TrialSpec> mqars(bool small, const std::string& precision) {
  auto specs = five(small, precision);
  for (TrialSpec& spec : specs) {
    spec.recipe.task = model::task_spec("mqar", {{"vocab", std::int64_t{16}}, {"pairs", std::int64_t{4}}});
    spec.recipe.capability.metric = "accuracy";
  }
  return specs;
}

// Of five(), with recurrent layers below: one chunk, or several.
std::vector<TrialSpec> recurrents(bool small, const std::string& precision) {
  auto specs = five(small, precision);
  for (TrialSpec& spec : specs) {
    model::Shape shape = spec.design.shape;
    if (!small) shape.context = 150;
    spec.design = model::Design::make("gdn mamba2 " + spec.design.layout_text() + " lightning", shape);
  }
  return specs;
}

// What a trial is when it trains alone: its state and evaluation at its last step.
struct Alone {
  model::Checkpoint state;
  model::Evaluation evaluation;
};

Alone alone(const TrialSpec& spec) {
  Cohort cohort({spec}, kGpu);
  CHECK(cohort.train_to(spec.recipe.steps).empty());
  Alone result{.state = state_of(cohort, 0), .evaluation = {}};
  result.evaluation = cohort.evaluate().at(0);
  return result;
}

void test_together(const std::vector<TrialSpec>& specs) {
  INFO(specs.front().recipe.precision);
  std::vector<Alone> want;
  for (const auto& spec : specs) want.push_back(alone(spec));
  for (std::size_t i = 1; i < want.size(); ++i) CHECK_FALSE(same_bits(want[0].state, want[i].state));
  const auto check = [&](const std::vector<std::size_t>& order) {
    std::vector<TrialSpec> chosen;
    for (const std::size_t i : order) chosen.push_back(specs[i]);
    Cohort cohort(chosen, kGpu);
    CHECK(cohort.train_to(4).empty());
    CHECK(cohort.train_to(cohort.steps()).empty());
    for (std::size_t i = 0; i < order.size(); ++i) {
      INFO("trial " << order[i] << " of " << order.size());
      CHECK(same_bits(state_of(cohort, i), want[order[i]].state));
    }
    const auto evaluations = cohort.evaluate();
    REQUIRE(evaluations.size() == order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      CHECK(evaluations[i].trial == i);
      CHECK(same_points(evaluations[i], want[order[i]].evaluation));
    }
  };
  check({0, 1, 2, 3, 4});
  check({3, 0});
}

void test_leaving(bool small, const std::string& precision) {
  INFO(precision);
  const auto specs = five(small, precision);
  const Alone want_2 = alone(specs[2]), want_3 = alone(specs[3]);
  Cohort cohort(specs, kGpu);
  cohort.train_to(2);
  cohort.remove(1);
  cohort.train_to(4);
  cohort.remove(0);
  cohort.train_to(5);
  cohort.remove(4);  // two of five are left: they move together
  CHECK(cohort.active() == std::vector<std::size_t>{2, 3});
  cohort.train_to(cohort.steps());
  CHECK(same_bits(state_of(cohort, 2), want_2.state));
  CHECK(same_bits(state_of(cohort, 3), want_3.state));
  const auto evaluations = cohort.evaluate();
  REQUIRE(evaluations.size() == 2);
  CHECK(evaluations[0].trial == 2);
  CHECK(same_points(evaluations[0], want_2.evaluation));
  CHECK(same_points(evaluations[1], want_3.evaluation));
}

void test_resume(bool small, const std::string& precision) {
  INFO(precision);
  const auto specs = five(small, precision);
  const test::TempDir dir;
  std::vector<model::Checkpoint> want;
  Cohort undisturbed(specs, kGpu);
  undisturbed.train_to(3);
  (void)undisturbed.evaluate();
  undisturbed.train_to(undisturbed.steps());
  for (std::size_t i = 0; i < specs.size(); ++i) want.push_back(state_of(undisturbed, i));
  const auto evaluations = undisturbed.evaluate();

  Cohort first(specs, kGpu);
  first.train_to(3);
  (void)first.evaluate();
  first.train_to(5);  // between evaluations: the running training loss must survive too
  for (std::size_t i = 0; i < specs.size(); ++i) first.save(i, dir / std::to_string(i));

  const auto go_on = [&](Cohort& cohort, const std::vector<std::size_t>& order) {
    for (std::size_t i = 0; i < order.size(); ++i) cohort.load(i, dir / std::to_string(order[i]));
    CHECK(cohort.step() == 5);
    cohort.train_to(cohort.steps());
    for (std::size_t i = 0; i < order.size(); ++i) CHECK(same_bits(state_of(cohort, i), want[order[i]]));
    const auto points = cohort.evaluate();
    for (std::size_t i = 0; i < order.size(); ++i) CHECK(same_points(points[i], evaluations[order[i]]));
  };
  first.train_to(first.steps());
  go_on(first, {0, 1, 2, 3, 4});  // back to where it was saved
  Cohort second(specs, kGpu);
  go_on(second, {0, 1, 2, 3, 4});
  Cohort other({specs[4], specs[1]}, kGpu);
  go_on(other, {4, 1});
  Cohort uneven({specs[0], specs[1]}, kGpu);
  uneven.load(0, dir / "0");
  CHECK_THROWS_AS(uneven.train_to(9), model::CheckpointError);
}

void test_divergence(bool small, const std::string& precision) {
  INFO(precision);
  auto specs = five(small, precision);
  for (auto& spec : specs) spec.recipe.steps = small ? 12 : 20;
  const Alone want = alone(specs[0]), want_other = alone(specs[3]);
  specs[2].recipe.learning_rate = 1e6;  // weights grow by lr * decay = 1e5 a step: past 1e38 within ten
  Cohort lonely({specs[2]}, kGpu);
  const auto expected = lonely.train_to(lonely.steps());
  REQUIRE(expected.size() == 1);
  CHECK(expected[0].step > 1);
  CHECK(expected[0].step <= 12);
  CHECK(lonely.active().empty());
  CHECK(lonely.evaluate().empty());
  Cohort cohort(specs, kGpu);
  const auto divergences = cohort.train_to(cohort.steps());
  REQUIRE(divergences.size() == 1);
  CHECK(divergences[0].trial == 2);
  CHECK(divergences[0].step == expected[0].step);
  CHECK(cohort.active() == std::vector<std::size_t>{0, 1, 3, 4});
  CHECK(cohort.step() == cohort.steps());
  CHECK(cohort.last_losses().size() == 4);
  CHECK(same_bits(state_of(cohort, 0), want.state));
  CHECK(same_bits(state_of(cohort, 3), want_other.state));
  const auto evaluations = cohort.evaluate();
  REQUIRE(evaluations.size() == 4);
  CHECK(same_points(evaluations[2], want_other.evaluation));
}

void test_curve(const std::vector<TrialSpec>& specs, std::int64_t steps) {
  Cohort cpu(specs, {.threads = 2}), gpu(specs, kGpu);
  for (std::size_t i = 0; i < specs.size(); ++i) CHECK(same_bits(state_of(cpu, i), state_of(gpu, i)));
  for (std::int64_t step = 1; step <= steps; ++step) {
    cpu.train_to(step);
    gpu.train_to(step);
    const auto want = cpu.last_losses(), got = gpu.last_losses();
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      INFO("step " << step << ", trial " << i);
      CHECK(got[i] == Approx(want[i]).epsilon(1e-4));
    }
  }
  const auto want = cpu.evaluate(), got = gpu.evaluate();
  for (std::size_t i = 0; i < want.size(); ++i) {
    REQUIRE(got[i].points.size() == want[i].points.size());
    for (std::size_t k = 0; k < want[i].points.size(); ++k) {
      const auto &a = got[i].points[k], &b = want[i].points[k];
      CHECK(a.metric == b.metric);
      CHECK(a.count == b.count);
      const bool is_loss = b.metric.find("loss") != std::string::npos;
      // Two answers may tip over where two logits are equal but for rounding.
      CHECK(a.value ==
            Approx(b.value).epsilon(is_loss ? 1e-4 : 0).margin(is_loss ? 0 : 2.0 / static_cast<double>(b.count)));
    }
  }
}

// The metrics from losses and predictions that are downloaded and counted on the host.
void test_evaluation(bool small, const std::string& precision) {
  INFO(precision);
  const auto specs = five(small, precision);
  Cohort cohort(specs, kGpu);
  cohort.train_to(6);
  const auto evaluations = cohort.evaluate();
  test::Gpu gpu;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto& spec = specs[i];
    const std::int64_t S = spec.recipe.eval.sequences, T = spec.design.shape.context;
    const DType type = precision == "bf16" ? DType::bf16 : DType::f32;
    const model::Proxy proxy(spec.design, type, gpu.ctx.device);
    test::Vector block(test::at(proxy.parameters().size()));
    for (const auto& tensor : state_of(cohort, i).tensors) {
      for (const auto& weight : proxy.parameters().stored()) {
        if (weight.name == tensor.name)
          std::copy(tensor.data.begin(), tensor.data.end(), block.begin() + weight.offset);
      }
    }
    test::Ints tokens(test::at(S * T)), targets = tokens, distance = tokens;
    const model::RecallStream stream(spec.recipe.task, T);
    for (std::int64_t s = 0; s < S; ++s) {
      stream.sequence(0, model::Split::eval, static_cast<std::uint64_t>(s), &tokens[test::at(s * T)],
                      &targets[test::at(s * T)], &distance[test::at(s * T)]);
    }
    const std::int64_t N = proxy.parameters().size();
    const model::Layout* layout = &spec.design.layout;
    model::LayoutData data({&layout, 1}, T);
    using test::DeviceTensor;
    const DeviceTensor there(DType::i32, {1, static_cast<std::int64_t>(data.values().size())},
                             std::vector<test::Ints>{data.values()});
    data.move_to(there);
    const DeviceTensor weights(DType::f32, {1, N}, test::Trials{block}), matrices(type, {1, N}, test::Trials{block});
    const DeviceTensor token(DType::i32, {1, S, T}, std::vector<test::Ints>{tokens});
    const model::EvalSet set(stream, S, "");
    const DeviceTensor target(DType::i32, {1, S, T}, std::vector<test::Ints>{set.targets});
    const DeviceTensor loss(DType::f32, {1, S, T}), predicted(DType::i32, {1, S, T});
    proxy.evaluate(gpu.ctx, data, model::Weights(matrices, weights), token, target, loss, predicted, {},
                   set.most_targets);
    const test::Vector losses = loss.values(0), predictions = predicted.values(0);
    const std::vector<float> l(losses.begin(), losses.end());
    const test::Ints answers(predictions.begin(), predictions.end());
    model::SetResult result;
    for (const std::int32_t position : set.scored) {
      CHECK(distance[test::at(position)] > 0);
      result.predicted.push_back(answers[test::at(position)]);
      result.loss.push_back(l[test::at(position)]);
    }
    const auto points = metric_points(set, result.predicted, result.loss);
    REQUIRE(evaluations[i].points.size() == points.size() + 1);  // and the training loss
    for (std::size_t k = 0; k < points.size(); ++k) {
      INFO("trial " << i << ", " << points[k].metric);
      CHECK(evaluations[i].points[k].metric == points[k].metric);
      CHECK(evaluations[i].points[k].count == points[k].count);
      CHECK(evaluations[i].points[k].value == Approx(points[k].value).epsilon(1e-12));
    }
  }
}

}  // namespace

TEST_CASE("cohort on the GPU: five different trials end with the bits each has alone", "[gpu][cohort][sanitize]") {
  if (!gpu_here()) return;
  test_together(five(true, GENERATE("fp32", "bf16")));
}

TEST_CASE("cohort on the GPU: five different larger trials end with the bits each has alone", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  test_together(five(false, GENERATE("fp32", "bf16")));
}

TEST_CASE("cohort on the GPU: bits are a trial's own where the head runs on few rows", "[gpu][cohort]") {
  if (!gpu_here()) return;
  test_together(mqars(true, GENERATE("fp32", "bf16")));
}

TEST_CASE("cohort on the GPU: bits are a larger trial's own where the head runs on few rows", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  test_together(mqars(false, GENERATE("fp32", "bf16")));
}

TEST_CASE("cohort on the GPU: trials that leave do not change the bits of those that stay", "[gpu][cohort]") {
  if (!gpu_here()) return;
  test_leaving(true, GENERATE("fp32", "bf16"));
}

TEST_CASE("cohort on the GPU: larger trials that leave change nothing either", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  test_leaving(false, GENERATE("fp32", "bf16"));
}

TEST_CASE("cohort on the GPU: goes on from a checkpoint bit for bit, in this cohort or another", "[gpu][cohort]") {
  if (!gpu_here()) return;
  test_resume(true, GENERATE("fp32", "bf16"));
}

TEST_CASE("cohort on the GPU: larger trials go on from a checkpoint bit for bit", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  test_resume(false, GENERATE("fp32", "bf16"));
}

TEST_CASE("cohort on the GPU: a trial that diverges leaves with its step, the others keep their bits",
          "[gpu][cohort]") {
  if (!gpu_here()) return;
  test_divergence(true, GENERATE("fp32", "bf16"));
}

TEST_CASE("cohort on the GPU: a larger trial that diverges leaves alone too", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  test_divergence(false, GENERATE("fp32", "bf16"));
}

TEST_CASE("cohort on the GPU: trains as the CPU does in fp32", "[gpu][cohort]") {
  if (!gpu_here()) return;
  test_curve(five(true, "fp32"), 9);
}

TEST_CASE("cohort on the GPU: trains as the CPU does in fp32 where the head runs on few rows", "[gpu][cohort]") {
  if (!gpu_here()) return;
  test_curve(mqars(true, "fp32"), 9);
}

TEST_CASE("cohort on the GPU: trains as the CPU does in fp32 where a decoder answers", "[gpu][cohort][decoder]") {
  if (!gpu_here()) return;
  test_curve(compressions(true), 6);
}

TEST_CASE("cohort on the GPU: trains as the CPU does in fp32 for twenty steps", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  test_curve(five_trials(), 20);
  test_curve(five(false, "fp32"), 20);
  test_curve(mqars(false, "fp32"), 20);
  test_curve(compressions(false), 20);
}

TEST_CASE("cohort on the GPU: trials with recurrent layers end with the bits each has alone",
          "[gpu][cohort][recurrent]") {
  if (!gpu_here()) return;
  test_together(recurrents(true, GENERATE("fp32", "bf16")));
}

TEST_CASE("cohort on the GPU: larger trials with recurrent layers end with the bits each has alone",
          "[gpu][cohort][recurrent][large]") {
  if (!real_gpu_here()) return;
  test_together(recurrents(false, GENERATE("fp32", "bf16")));
}

TEST_CASE("cohort on the GPU: recurrent layers train as on the CPU in fp32", "[gpu][cohort][recurrent]") {
  if (!gpu_here()) return;
  test_curve(recurrents(true, "fp32"), 6);
}

TEST_CASE("cohort on the GPU: recurrent layers train as on the CPU in fp32 over several chunks",
          "[gpu][cohort][recurrent][large]") {
  if (!real_gpu_here()) return;
  test_curve(recurrents(false, "fp32"), 20);
}

TEST_CASE("cohort on the GPU: metrics are those counted on the host", "[gpu][cohort]") {
  if (!gpu_here()) return;
  test_evaluation(true, GENERATE("fp32", "bf16"));
}

TEST_CASE("cohort on the GPU: metrics of larger trials are those counted on the host", "[gpu][cohort][large]") {
  if (!real_gpu_here()) return;
  test_evaluation(false, GENERATE("fp32", "bf16"));
}

}  // namespace hylas::tests
