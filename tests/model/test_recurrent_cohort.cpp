// Cohorts, checkpoints and probes of designs with recurrent layers: a trial's bits depend on the trial and the binary
// only, and layers without heads are left alone.
#include <nlohmann/json.hpp>

#include "model/probe/prober.hpp"
#include "tests/catch.hpp"
#include "tests/model/test_cohort_common.hpp"

namespace hylas::tests {
namespace {

using model::Cohort;
using model::Prober;
using model::TrialSpec;

// As trial(), at the width that mamba2 needs; 72 tokens: more than one chunk of gdn and lightning.
TrialSpec wide_trial(const std::string& layout, std::int64_t seed, std::int64_t data_seed = 1) {
  TrialSpec spec = trial("full", seed, 4e-3, data_seed);
  model::Shape shape = spec.design.shape;
  shape.d_model = 32, shape.context = 72;
  spec.design = model::Design::make(layout, shape);
  spec.recipe.batch = 6, spec.recipe.steps = 8, spec.recipe.eval.sequences = 5;
  return spec;
}

std::vector<TrialSpec> three_trials() {
  return {wide_trial("gdn swa:4 mamba2 lightning full", 1), wide_trial("gdn full/nope mamba2 lightning swa:9", 2, 5),
          wide_trial("gdn swa:30/sink mamba2 lightning full/nope", 1)};
}

}  // namespace

TEST_CASE("recurrent: trials end with the bits each has alone, whatever the threads, interrupted or not",
          "[mixer][cohort]") {
  const auto specs = three_trials();
  std::vector<model::Checkpoint> want;
  std::vector<model::Evaluation> evaluations;
  for (const TrialSpec& spec : specs) {
    Cohort one({spec}, {.threads = 1});
    CHECK(one.train_to(8).empty());
    want.push_back(state_of(one, 0));
    evaluations.push_back(one.evaluate().at(0));
  }
  CHECK_FALSE(same_bits(want[0], want[2]));
  const TempDir dir;
  {
    Cohort first(specs, {.threads = 3});
    CHECK(first.train_to(5).empty());
    for (std::size_t i = 0; i < specs.size(); ++i) first.save(i, dir / std::to_string(i));
    CHECK(first.train_to(8).empty());
    for (std::size_t i = 0; i < specs.size(); ++i) CHECK(same_bits(state_of(first, i), want[i]));
  }
  Cohort second({specs[2], specs[0]}, {.threads = 2});
  second.load(0, dir / "2");
  second.load(1, dir / "0");
  CHECK(second.step() == 5);
  CHECK(second.train_to(8).empty());
  CHECK(same_bits(state_of(second, 0), want[2]));
  CHECK(same_bits(state_of(second, 1), want[0]));
  const auto points = second.evaluate();
  CHECK(same_points(points[0], evaluations[2]));
  CHECK(same_points(points[1], evaluations[0]));
}

TEST_CASE("recurrent: a checkpoint holds every weight in its Hugging Face shape", "[mixer][checkpoint]") {
  Cohort cohort({wide_trial("mamba2 gdn", 1)}, {.threads = 1});
  const model::Checkpoint state = state_of(cohort, 0);
  int found = 0;
  for (const model::StoredTensor& tensor : state.tensors) {
    if (tensor.name.ends_with("layers.0.mamba.conv1d.weight")) {
      CHECK(tensor.dims == std::vector<std::int64_t>{192, 1, 4});
      ++found;
    }
    if (tensor.name.ends_with("layers.1.linear_attn.conv1d.weight")) {
      CHECK(tensor.dims == std::vector<std::int64_t>{48, 1, 4});
      ++found;
    }
  }
  CHECK(found == 6);  // the weight and AdamW's two moments
}

TEST_CASE("recurrent: designs whose recurrent layers differ share no cohort", "[mixer][cohort]") {
  CHECK_THROWS_AS(Cohort({wide_trial("gdn full", 1), wide_trial("mamba2 full", 1)}, {}), model::InputError);
  CHECK_THROWS_AS(Cohort({wide_trial("gdn full", 1), wide_trial("full gdn", 1)}, {}), model::InputError);
}

TEST_CASE("recurrent: probes score the heads of attention layers alone, and change nothing else", "[mixer][probe]") {
  TrialSpec spec = wide_trial("gdn swa:4 lightning full", 2);
  spec.recipe.eval.probe_sequences = 4;
  Cohort cohort({spec}, {.threads = 2});
  CHECK(cohort.train_to(4).empty());
  const TempDir dir;
  cohort.save(0, dir / "trial");
  const auto points = cohort.evaluate().at(0).points;
  std::vector<std::string> scored;
  for (const auto& point : points) {
    if (point.metric.ends_with("/answer")) scored.push_back(point.metric);
  }
  CHECK(scored == std::vector<std::string>{"head/1.0/answer", "head/1.1/answer", "head/3.0/answer", "head/3.1/answer"});

  Prober prober(spec, 5, {.threads = 2});
  prober.load(dir / "trial");
  CHECK(prober.heads().layers() == std::vector<int>{1, 3});
  CHECK(prober.query_key_weights().size() == 4);
  // Heads 0, 1 are layer 1's, and 2, 3 layer 3's: without the last two, layer 3 does nothing.
  const auto found = prober.evaluate(std::vector{
      model::intact(spec.design), model::cut_full_layers(spec.design, 72, 0), model::cut_full_layers(spec.design, 2, 0),
      model::without_heads(spec.design, std::vector{2, 3}), model::without_heads(spec.design, std::vector{0})});
  const auto loss = [&](std::size_t i) {
    for (const auto& point : found[i]) {
      if (point.metric == "loss") return point.value;
    }
    return std::nan("");
  };
  CHECK(loss(1) == loss(0));
  CHECK(loss(2) != loss(0));
  CHECK(loss(4) != loss(0));
  for (const auto& point : points) {
    if (point.metric == "loss") CHECK(loss(0) == Approx(point.value).epsilon(1e-5));
  }
  model::Checkpoint checkpoint = model::load_checkpoint(dir / "trial");
  for (model::StoredTensor& tensor : checkpoint.tensors) {
    if (tensor.name == "model.layers.3.self_attn.o_proj.weight")
      std::fill(tensor.data.begin(), tensor.data.end(), 0.0F);
  }
  model::save_checkpoint(dir / "zero", checkpoint.tensors, checkpoint.metadata);
  prober.load(dir / "zero");
  CHECK(prober.evaluate(std::vector{model::intact(spec.design)})[0][0].value == found[3][0].value);
}

TEST_CASE("recurrent: a model without attention has no heads to score, and is evaluated all the same",
          "[mixer][probe]") {
  TrialSpec spec = wide_trial("gdn mamba2 lightning", 2);
  const auto evaluated = [](const TrialSpec& one) {
    Cohort cohort({one}, {.threads = 2});
    CHECK(cohort.train_to(3).empty());
    return cohort.evaluate().at(0);
  };
  const model::Evaluation without = evaluated(spec);
  spec.recipe.eval.probe_sequences = 4;
  CHECK(same_points(evaluated(spec), without));

  // Nothing is asked of it, so that no pass is made for it; with one attention layer it is.
  const std::vector<model::EvalSet> sets = {{*model::make_task(spec.recipe.task, 72), 5, ""}};
  CHECK(model::HeadProbe(spec.design, sets, 4).queries().size() == 0);
  CHECK(model::HeadProbe(wide_trial("gdn full", 1).design, sets, 4).queries().size() > 0);
}

}  // namespace hylas::tests
