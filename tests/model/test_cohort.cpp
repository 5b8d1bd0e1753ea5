// The promise of the cohort: a trial's bits depend on the trial and the binary only. Not on neighbours, threads, trials
// that leave, or interruptions. Also divergence, evaluation, and errors.
#include "model/cohort.hpp"

#include <cmath>
#include <thread>

#include "model/data/tasks/recall.hpp"
#include "model/init.hpp"
#include "model/optimizer.hpp"
#include "model/proxy.hpp"
#include "tests/catch.hpp"
#include "tests/model/test_cohort_common.hpp"

namespace hylas::tests {
namespace {

using model::Cohort;

// What a trial is when it trains alone on one thread: its state and evaluation at its last step.
struct Alone {
  model::Checkpoint state;
  model::Evaluation evaluation;
};

Alone alone(const model::TrialSpec& spec) {
  Cohort cohort({spec}, {.threads = 1});
  cohort.train_to(spec.recipe.steps);
  Alone result{.state = state_of(cohort, 0), .evaluation = {}};
  result.evaluation = cohort.evaluate().at(0);
  return result;
}

}  // namespace

TEST_CASE("cohort: five different trials end with the bits each has alone, whatever the threads", "[cohort]") {
  const auto specs = five_trials();
  std::vector<Alone> want;
  for (const auto& spec : specs) want.push_back(alone(spec));
  for (std::size_t i = 1; i < want.size(); ++i) CHECK_FALSE(same_bits(want[0].state, want[i].state));
  for (const int threads : {1, 2, 3, 16}) {  // 2: four whole trials and a shared one; 3: two shared; 16: all shared
    INFO("threads " << threads);
    Cohort cohort(specs, {.threads = threads});
    CHECK(cohort.train_to(7).empty());
    CHECK(cohort.train_to(cohort.steps()).empty());
    for (std::size_t i = 0; i < specs.size(); ++i) {
      INFO("trial " << i);
      CHECK(same_bits(state_of(cohort, i), want[i].state));
    }
    const auto evaluations = cohort.evaluate();
    REQUIRE(evaluations.size() == specs.size());
    for (std::size_t i = 0; i < specs.size(); ++i) {
      CHECK(evaluations[i].trial == i);
      CHECK(same_points(evaluations[i], want[i].evaluation));
    }
  }
}

TEST_CASE("cohort: trials that leave do not change the bits of those that stay", "[cohort]") {
  const auto specs = five_trials();
  const Alone want = alone(specs[3]);
  Cohort cohort(specs, {.threads = 2});
  cohort.train_to(5);
  cohort.remove(1);
  cohort.train_to(11);
  cohort.remove(0);
  cohort.remove(4);
  CHECK(cohort.active() == std::vector<std::size_t>{2, 3});
  cohort.train_to(cohort.steps());
  CHECK(same_bits(state_of(cohort, 3), want.state));
  CHECK(cohort.evaluate().size() == 2);
}

TEST_CASE("cohort: goes on from a checkpoint bit for bit, in the same cohort and in another", "[cohort]") {
  const auto specs = five_trials();
  const TempDir dir;
  std::vector<model::Checkpoint> want;
  std::vector<model::Evaluation> evaluations;
  {
    Cohort undisturbed(specs, {.threads = 2});
    undisturbed.train_to(10);
    (void)undisturbed.evaluate();
    undisturbed.train_to(undisturbed.steps());
    for (std::size_t i = 0; i < specs.size(); ++i) want.push_back(state_of(undisturbed, i));
    evaluations = undisturbed.evaluate();
  }
  {
    Cohort first(specs, {.threads = 2});
    first.train_to(10);
    (void)first.evaluate();
    first.train_to(13);  // between evaluations: the running training loss must survive too
    for (std::size_t i = 0; i < specs.size(); ++i) first.save(i, dir / std::to_string(i));
    CHECK(first.step() == 13);
  }
  SECTION("the same cohort") {
    Cohort second(specs, {.threads = 1});
    for (std::size_t i = 0; i < specs.size(); ++i) second.load(i, dir / std::to_string(i));
    CHECK(second.step() == 13);
    second.train_to(second.steps());
    for (std::size_t i = 0; i < specs.size(); ++i) CHECK(same_bits(state_of(second, i), want[i]));
    const auto points = second.evaluate();
    for (std::size_t i = 0; i < specs.size(); ++i) CHECK(same_points(points[i], evaluations[i]));
  }
  SECTION("another composition and order") {
    Cohort second({specs[4], specs[1]}, {.threads = 3});
    second.load(0, dir / "4");
    second.load(1, dir / "1");
    second.train_to(second.steps());
    CHECK(same_bits(state_of(second, 0), want[4]));
    CHECK(same_bits(state_of(second, 1), want[1]));
    const auto points = second.evaluate();
    CHECK(same_points(points[0], evaluations[4]));
    CHECK(same_points(points[1], evaluations[1]));
  }
  SECTION("trials loaded from different steps are refused") {
    Cohort second({specs[0], specs[1]}, {.threads = 1});
    second.load(0, dir / "0");
    CHECK_THROWS_AS(second.train_to(20), model::CheckpointError);
  }
  SECTION("a file of another trial is refused and changes nothing") {
    Cohort second({specs[0]}, {.threads = 1});
    const auto before = state_of(second, 0);
    CHECK_THROWS_AS(second.load(0, dir / "1"), model::CheckpointError);
    CHECK(same_bits(state_of(second, 0), before));
    CHECK_THROWS_AS(second.load(0, dir / "no such file"), model::CheckpointError);
  }
}

TEST_CASE("cohort: a trial that diverges leaves with its step, the others keep their bits", "[cohort]") {
  auto specs = five_trials();
  const Alone want = alone(specs[0]), want_other = alone(specs[3]);
  specs[2].recipe.learning_rate = 1e6;  // weights grow by lr * decay = 1e5 a step: past 1e38 within ten
  Cohort lonely({specs[2]}, {.threads = 2});
  const auto want_divergence = lonely.train_to(lonely.steps());
  REQUIRE(want_divergence.size() == 1);
  CHECK(want_divergence[0].step > 1);
  CHECK(want_divergence[0].step <= 12);
  CHECK(lonely.active().empty());
  CHECK(lonely.evaluate().empty());
  for (const int threads : {1, 2, 3}) {
    INFO("threads " << threads);
    Cohort cohort(specs, {.threads = threads});
    const auto divergences = cohort.train_to(cohort.steps());
    REQUIRE(divergences.size() == 1);
    CHECK(divergences[0].trial == 2);
    CHECK(divergences[0].step == want_divergence[0].step);
    CHECK(cohort.active() == std::vector<std::size_t>{0, 1, 3, 4});
    CHECK(cohort.step() == cohort.steps());
    CHECK(cohort.last_losses().size() == 4);
    CHECK(same_bits(state_of(cohort, 0), want.state));
    CHECK(same_bits(state_of(cohort, 3), want_other.state));
  }
}

TEST_CASE("cohort: an interrupt stops at a common step, and going on gives the same bits", "[cohort]") {
  const auto specs = five_trials();
  const Alone want = alone(specs[1]);
  Cohort cohort(specs, {.threads = 2});
  std::atomic<bool> interrupt{true};
  CHECK(cohort.train_to(cohort.steps(), &interrupt).empty());
  CHECK(cohort.step() == 0);
  interrupt = false;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    interrupt = true;
  });
  cohort.train_to(cohort.steps(), &interrupt);
  later.join();
  const std::int64_t stopped = cohort.step();
  CHECK(stopped <= cohort.steps());
  CHECK(state_of(cohort, 0).metadata.at("hylas.step") == std::to_string(stopped));
  CHECK(state_of(cohort, 4).metadata.at("hylas.step") == std::to_string(stopped));
  cohort.train_to(cohort.steps());
  CHECK(same_bits(state_of(cohort, 1), want.state));
}

TEST_CASE("cohort: its losses are those of the proxy on the recall stream, written out by hand", "[cohort]") {
  // The whole-batch gradient instead of the sum over chunks: equal up to rounding, 1e-5 after ten steps.
  const model::TrialSpec spec = trial("swa:4 full/sink", 9, 4e-3, 3);
  Cohort cohort({spec}, {.threads = 2});
  const model::Proxy proxy(spec.design);
  const model::RecallStream stream(spec.recipe.task, 32);
  const std::int64_t N = proxy.parameters().size(), B = spec.recipe.batch, T = 32;
  using kernels::Tensor;
  std::vector<float> weights(static_cast<std::size_t>(N)), grads(weights.size()), m(weights.size()), v(weights.size());
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(B * T)), targets = tokens, distance = tokens;
  std::vector<float> loss(tokens.size());
  const Tensor w = Tensor::of(weights.data(), {1, N}), g = Tensor::of(grads.data(), {1, N});
  model::initialise(proxy.parameters(), spec.recipe, 2, w);
  const model::Layout* layout = &spec.design.layout;
  const model::LayoutData data({&layout, 1}, T);
  kernels::Context ctx;
  double train_loss = 0;
  for (std::int64_t step = 1; step <= 10; ++step) {
    for (std::int64_t b = 0; b < B; ++b) {
      stream.sequence(3, model::Split::train, static_cast<std::uint64_t>((step - 1) * B + b), &tokens[b * T],
                      &targets[b * T], &distance[b * T]);
    }
    std::fill(grads.begin(), grads.end(), 0.0F);
    const double scored = static_cast<double>(B * (T - 1));
    proxy.loss_and_gradients(ctx, data, w, Tensor::of(tokens.data(), {1, B, T}), Tensor::of(targets.data(), {1, B, T}),
                             1.0 / scored, Tensor::of(loss.data(), {1, B, T}), g);
    double sum = 0;
    for (float x : loss) sum += static_cast<double>(x);
    train_loss += sum / scored / 10;
    cohort.train_to(step);
    CHECK(cohort.last_losses().at(0) == Approx(sum / scored).epsilon(1e-5));
    model::apply_update(ctx, proxy.parameters(), spec.recipe, model::plan_update(ctx, spec.recipe, step, g), g,
                        {w, Tensor::of(m.data(), {1, N}), Tensor::of(v.data(), {1, N})}, 0, N);
  }
  const auto evaluation = cohort.evaluate().at(0);
  CHECK(evaluation.step == 10);
  CHECK(evaluation.tokens == 10 * B * T);
  bool found = false;
  for (const auto& point : evaluation.points) {
    if (point.metric != "train_loss") continue;
    found = true;
    CHECK(point.value == Approx(train_loss).epsilon(1e-5));
    CHECK(point.count == 10 * B * (T - 1));
  }
  CHECK(found);
}

TEST_CASE("cohort: evaluates a fresh model at chance, and reports no training loss before training", "[cohort]") {
  Cohort cohort(five_trials(), {.threads = 2});
  const auto evaluations = cohort.evaluate();
  REQUIRE(evaluations.size() == 5);
  for (const auto& evaluation : evaluations) {
    CHECK(evaluation.step == 0);
    CHECK(evaluation.tokens == 0);
    bool near = false;
    for (const auto& point : evaluation.points) {
      CHECK(point.metric != "train_loss");
      CHECK(point.count > 0);
      if (point.metric == "loss") CHECK(point.value == Approx(std::log(16.0)).margin(1.5));
      if (point.metric == "accuracy/near") {
        near = true;
        CHECK(point.value < 0.4);
      }
    }
    CHECK(near);
  }
  CHECK(cohort.peak_bytes() > 0);
  CHECK(cohort.tokens_per_step() == 18 * 32);
}

TEST_CASE("cohort: trials that cannot train together are refused with a reason", "[cohort]") {
  auto specs = five_trials();
  specs[4].recipe.batch = 8;
  CHECK_THROWS_AS(Cohort(specs, {}), model::InputError);
  CHECK_THROWS_AS(Cohort(std::vector<model::TrialSpec>{}, {}), model::InputError);
  CHECK_THROWS_AS(Cohort(five_trials(), {.threads = 1, .device = "cuda"}), model::DeviceError);
  CHECK_THROWS_AS(Cohort({trial("full full", 1, 1e-3), trial("full gdn", 1, 1e-3)}, {}), model::InputError);
}

TEST_CASE("cohort: learns far recall at d 32 within 400 steps", "[cohort]") {
  // TASKS 1 at CPU scale: (swa:4 full)*2 passes 50% at distances over T/2 after 200 steps in the reference.
  const model::Shape shape{.d_model = 32,
                           .heads = 1,
                           .kv_heads = 1,
                           .head_dim = 32,
                           .ffn = 96,
                           .vocab = 32,
                           .context = 64,
                           .tied = true,
                           .rope_theta = 10000.0};
  model::Recipe recipe;  // 16 keys, 16 values, p 0.4, batch 16, learning rate 4e-3, 50 warm-up steps, embedding 0.3
  recipe.steps = 2000;
  Cohort cohort({{model::Design::make("(swa:4 full)*2", shape), recipe}}, {});
  cohort.train_to(400);
  const auto evaluation = cohort.evaluate().at(0);
  double far = 0;
  for (const auto& point : evaluation.points) {
    if (point.metric == "accuracy/far") far = point.value;
  }
  CHECK(far > 0.5);
}

}  // namespace hylas::tests
