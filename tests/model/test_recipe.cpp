// Recipes: canonical JSON and back, checks, keys of trials and cohorts, the evaluation grid.
#include <functional>
#include <limits>
#include <set>

#include "model/recipe.hpp"
#include "tests/catch.hpp"

using namespace hylas::model;

namespace {

Shape small() {
  Shape s;
  s.d_model = 32;
  s.heads = s.kv_heads = 1;
  s.head_dim = 32;
  s.ffn = 96;
  s.vocab = 32;
  s.context = 64;
  return s;
}

using Change = std::function<void(Recipe&)>;

// One change for every field of a recipe.
const std::vector<std::pair<const char*, Change>>& all_changes() {
  static const std::vector<std::pair<const char*, Change>> changes = {
      {"task.keys", [](Recipe& r) { r.task.set("keys", std::int64_t{15}); }},
      {"task.values", [](Recipe& r) { r.task.set("values", std::int64_t{15}); }},
      {"task.repeat", [](Recipe& r) { r.task.set("repeat", 0.7); }},
      {"steps", [](Recipe& r) { r.steps = 77; }},
      {"batch", [](Recipe& r) { r.batch = 8; }},
      {"learning_rate", [](Recipe& r) { r.learning_rate = 0.1 + 0.2; }},
      {"weight_decay", [](Recipe& r) { r.weight_decay = 0; }},
      {"clip", [](Recipe& r) { r.clip = 0.5; }},
      {"beta1", [](Recipe& r) { r.beta1 = 0.8; }},
      {"beta2", [](Recipe& r) { r.beta2 = 0.999; }},
      {"eps", [](Recipe& r) { r.eps = 1e-9; }},
      {"embed_std", [](Recipe& r) { r.embed_std = 0.02; }},
      {"schedule.kind", [](Recipe& r) { r.schedule.kind = ScheduleKind::wsd; }},
      {"schedule.warmup_steps", [](Recipe& r) { r.schedule.warmup_steps = 0; }},
      {"schedule.decay_fraction", [](Recipe& r) { r.schedule.decay_fraction = 0.1; }},
      {"schedule.final_ratio", [](Recipe& r) { r.schedule.final_ratio = 0.1; }},
      {"eval.sequences", [](Recipe& r) { r.eval.sequences = 64; }},
      {"eval.growth", [](Recipe& r) { r.eval.growth = 0.05; }},
      {"eval.min_steps", [](Recipe& r) { r.eval.min_steps = 5; }},
      {"capability.metric", [](Recipe& r) { r.capability.metric = "accuracy/(16,64]"; }},
      {"capability.threshold", [](Recipe& r) { r.capability.threshold = 0.4; }},
      {"capability.stop_at", [](Recipe& r) { r.capability.stop_at = 2; }},
      {"window_growth",
       [](Recipe& r) {
         r.window_growth = {8, 500};
       }},
      {"seed", [](Recipe& r) { r.seed = 9007199254740993; }},  // over 2^53: a double would lose it
      {"data_seed", [](Recipe& r) { r.data_seed = 3; }},
  };
  return changes;
}

std::string validation_error(const Change& change, const Shape& shape = small()) {
  Recipe recipe;
  change(recipe);
  try {
    validate(recipe, shape);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::string parse_error(const std::string& text) {
  try {
    (void)recipe_from_json(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("Every field of a recipe survives JSON and changes the trial's key") {
  const Design design = Design::make("(swa:4 full)*2", small());
  std::set<std::string> keys = {trial_key(design, Recipe{})};
  for (const auto& [name, change] : all_changes()) {
    Recipe recipe;
    change(recipe);
    CAPTURE(name, recipe.canonical_json());
    CHECK(recipe_from_json(recipe.canonical_json()) == recipe);
    CHECK(recipe_from_json(recipe.canonical_json()).canonical_json() == recipe.canonical_json());
    CHECK(keys.insert(trial_key(design, recipe)).second);
    CHECK(validation_error(change).empty());
  }
  CHECK(keys.insert(trial_key(Design::make("(swa:4 full/nope)*2", small()), Recipe{})).second);
  CHECK(trial_key(Design::make("swa:4 full swa:4 full", small()), Recipe{}) == trial_key(design, Recipe{}));
}

TEST_CASE("Canonical JSON has sorted keys, shortest numbers, and one spelling for a value") {
  const std::string text = Recipe{}.canonical_json();
  CHECK(
      text ==
      R"({"batch":16,"beta1":0.9,"beta2":0.95,"capability":{"metric":"accuracy/far","stop_at":0.9,"threshold":0.5},)"
      R"("clip":1.0,"data_seed":1,"embed_std":0.3,"eps":1e-08,"eval":{"growth":0.08,"min_steps":10,"sequences":96},)"
      R"("learning_rate":0.004,"precision":"fp32","schedule":{"decay_fraction":0.2,"final_ratio":0.0,"kind":"constant",)"
      R"("warmup_steps":50},"seed":1,"steps":1000,"task":{"keys":16,"name":"recall","repeat":0.4,"values":16},)"
      R"("weight_decay":0.1})");
  // The same recipe written by hand: other order, blanks, whole numbers for reals.
  CHECK(recipe_from_json(replaced(text, "\"clip\":1.0", " \"clip\" : 1")).canonical_json() == text);
  Recipe negative_zero;
  negative_zero.weight_decay = -0.0;
  Recipe zero;
  zero.weight_decay = 0.0;
  CHECK(negative_zero.canonical_json() == zero.canonical_json());
}

// Proves that scores of heads are part of a recipe that asks for them, and change nothing for one that does not.
TEST_CASE("Probe sequences are in the keys and the protocol where they are asked for") {
  const Design design = Design::make("(swa:4 full/nope)*2", small());
  Recipe plain, probed;
  probed.eval.probe_sequences = 8;
  CHECK(plain.canonical_json().find("probe") == std::string::npos);
  CHECK(contains(probed.canonical_json(), R"("min_steps":10,"probe_sequences":8,"sequences":96)"));
  CHECK(recipe_from_json(probed.canonical_json()) == probed);
  CHECK(recipe_from_json(plain.canonical_json()) == plain);
  CHECK(contains(parse_error(replaced(probed.canonical_json(), "\"probe_sequences\":8", "\"probe_sequences\":0.5")),
                 "eval.probe_sequences must be a whole number"));
  CHECK(trial_key(design, probed) != trial_key(design, plain));
  CHECK(cohort_key(design, probed) != cohort_key(design, plain));
  CHECK(contains(protocol_json(probed, small()), "head/L.H/answer"));
  CHECK_FALSE(contains(protocol_json(plain, small()), "head/"));
}

// Proves that growing windows are part of a recipe that has them, and change nothing for one that does not.
TEST_CASE("Growing windows are in the keys and the protocol where they are asked for") {
  const Design design = Design::make("(swa:16 full/nope)*2", small());
  Recipe plain, growing;
  growing.window_growth = {8, 500};
  CHECK_FALSE(contains(plain.canonical_json(), "window_growth"));
  CHECK(contains(growing.canonical_json(), R"("weight_decay":0.1,"window_growth":{"start":8,"steps":500}})"));
  CHECK(recipe_from_json(growing.canonical_json()) == growing);
  CHECK(recipe_from_json(plain.canonical_json()) == plain);
  // Keys of recipes without growth, as they were before there was any.
  CHECK(trial_key(design, plain) == "df825c8dad8b10fa");
  CHECK(cohort_key(design, plain) == "1af7b7d431318f0f");
  CHECK(trial_key(design, growing) != trial_key(design, plain));
  CHECK(cohort_key(design, growing) != cohort_key(design, plain));
  Recipe other = growing;
  other.window_growth.start = 9;
  CHECK(cohort_key(design, other) != cohort_key(design, growing));
  CHECK(trial_key(design, other) != trial_key(design, growing));
  CHECK(contains(protocol_json(growing, small()), R"("start":8,"steps":500)"));
  CHECK_FALSE(contains(protocol_json(plain, small()), "window_growth"));

  const std::string text = growing.canonical_json();
  CHECK(contains(parse_error(replaced(text, "\"start\":8", "\"start\":0.5")),
                 "window_growth.start must be a whole number"));
  CHECK(contains(parse_error(replaced(text, "\"start\":8", "\"strat\":8")),
                 "unknown key 'window_growth.strat'; did you mean 'start'?"));
  CHECK(contains(parse_error(replaced(text, "{\"start\":8,\"steps\":500}", "7")), "window_growth"));
  CHECK(contains(validation_error([](Recipe& r) {
                   r.window_growth = {8, 1000};
                 }),
                 "recipe.window_growth.steps must be 1 or more and under the recipe's steps (1000), not 1000"));
  CHECK(contains(validation_error([](Recipe& r) {
                   r.window_growth = {-1, 10};
                 }),
                 "recipe.window_growth.start must be 1 or more, not -1"));
  CHECK(validation_error([](Recipe& r) { r.window_growth = {1, 999}; }).empty());
  CHECK(validation_error([](Recipe& r) { r.window_growth = {1 << 20, 1}; }).empty());
}

TEST_CASE("JSON that is no recipe is refused, with the key") {
  const std::string good = Recipe{}.canonical_json();
  CHECK(contains(parse_error(replaced(good, "\"batch\"", "\"bacth\"")), "unknown key 'bacth'; did you mean 'batch'?"));
  CHECK(contains(parse_error(replaced(good, "\"growth\"", "\"grwth\"")),
                 "unknown key 'eval.grwth'; did you mean 'growth'?"));
  CHECK(contains(parse_error(replaced(good, "\"seed\":1,", "")), "'seed' is missing"));
  CHECK(contains(parse_error(replaced(good, "\"steps\":1000", "\"steps\":1000.5")), "steps must be a whole number"));
  CHECK(contains(parse_error(replaced(good, "\"steps\":1000", "\"steps\":18446744073709551615")),
                 "steps must be a whole"));
  CHECK(contains(parse_error(replaced(good, "\"clip\":1.0", "\"clip\":\"1\"")), "clip must be a number"));
  CHECK(contains(parse_error(replaced(good, "\"constant\"", "\"cosin\"")),
                 "schedule.kind must be constant, cosine or wsd"));
  CHECK(contains(parse_error(replaced(good, "\"recall\"", "\"recal\"")),
                 "there is no task 'recal'; did you mean 'recall'?"));
  CHECK(contains(parse_error(replaced(good, "{\"growth\":0.08,\"min_steps\":10,\"sequences\":96}", "7")), "eval"));
  CHECK(contains(parse_error("[]"), "must be an object"));
  CHECK(contains(parse_error("{"), "not valid JSON"));
  CHECK(contains(parse_error(""), "not valid JSON"));
  CHECK_FALSE(parse_error(std::string(1 << 20, '[')).empty());
  CHECK_FALSE(parse_error("{}").empty());
}

TEST_CASE("Values that cannot train are refused, named as a space file writes them") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  CHECK(validation_error([](Recipe&) {}).empty());
  const std::vector<std::pair<const char*, Change>> bad = {
      {"task.keys", [](Recipe& r) { r.task.set("keys", std::int64_t{0}); }},
      {"vocab must be at least 33", [](Recipe& r) { r.task.set("keys", std::int64_t{17}); }},
      {"task.values", [](Recipe& r) { r.task.set("values", INT64_MAX); }},
      {"task.repeat", [](Recipe& r) { r.task.set("repeat", 1.1); }},
      {"task.repeat", [nan](Recipe& r) { r.task.set("repeat", nan); }},
      {"recipe.steps", [](Recipe& r) { r.steps = 0; }},
      {"recipe.batch", [](Recipe& r) { r.batch = -1; }},
      {"10^13", [](Recipe& r) { r.steps = std::int64_t{1} << 40, r.batch = 1 << 20; }},
      {"recipe.learning_rate", [](Recipe& r) { r.learning_rate = 0; }},
      {"recipe.learning_rate", [inf](Recipe& r) { r.learning_rate = inf; }},
      {"recipe.weight_decay", [](Recipe& r) { r.weight_decay = -0.1; }},
      {"recipe.clip", [](Recipe& r) { r.clip = 0; }},
      {"recipe.clip", [inf](Recipe& r) { r.clip = inf; }},
      {"recipe.beta1", [](Recipe& r) { r.beta1 = 1; }},
      {"recipe.beta2", [](Recipe& r) { r.beta2 = -0.5; }},
      {"recipe.eps", [](Recipe& r) { r.eps = 0; }},
      {"recipe.embed_std", [nan](Recipe& r) { r.embed_std = nan; }},
      {"recipe.schedule.warmup_steps", [](Recipe& r) { r.schedule.warmup_steps = -1; }},
      {"recipe.schedule.decay_fraction", [](Recipe& r) { r.schedule.decay_fraction = 1.5; }},
      {"recipe.schedule.final_ratio", [](Recipe& r) { r.schedule.final_ratio = -1; }},
      {"recipe.eval.sequences", [](Recipe& r) { r.eval.sequences = 0; }},
      {"recipe.eval.probe_sequences", [](Recipe& r) { r.eval.probe_sequences = -1; }},
      {"recipe.eval.probe_sequences", [](Recipe& r) { r.eval.probe_sequences = r.eval.sequences + 1; }},
      {"recipe.eval.growth", [](Recipe& r) { r.eval.growth = -0.1; }},
      {"recipe.window_growth.start", [](Recipe& r) { r.window_growth.steps = 10; }},
      {"recipe.window_growth.steps", [](Recipe& r) { r.window_growth.start = 10; }},
      {"recipe.window_growth.steps",
       [](Recipe& r) {
         r.window_growth = {8, -1};
       }},
      {"recipe.eval.min_steps", [](Recipe& r) { r.eval.min_steps = 0; }},
      {"over 100000 evaluations", [](Recipe& r) { r.eval.growth = 0, r.eval.min_steps = 1, r.steps = 1 << 30; }},
      {"did you mean 'accuracy/far'", [](Recipe& r) { r.capability.metric = "acuracy/far"; }},
      {"capability.metric", [](Recipe& r) { r.capability.metric = "accuracy/(64,256]"; }},  // the context is 64
      {"capability.metric", [](Recipe& r) { r.capability.metric = "accuracy/(16,8]"; }},
      {"capability.metric", [](Recipe& r) { r.capability.metric = "accuracy/(016,64]"; }},
      {"capability.metric", [](Recipe& r) { r.capability.metric = "loss"; }},
      {"capability.threshold", [](Recipe& r) { r.capability.threshold = 0; }},
      {"capability.stop_at", [](Recipe& r) { r.capability.stop_at = 0.4; }},
      {"recipe.seeds", [](Recipe& r) { r.seed = -1; }},
      {"recipe.data_seeds", [](Recipe& r) { r.data_seed = -1; }},
      {"recipe.precision", [](Recipe& r) { r.precision = "fp16"; }},
  };
  for (const auto& [part, change] : bad) {
    const std::string message = validation_error(change);
    CAPTURE(part, message);
    CHECK(contains(message, part));
  }
  Shape odd = small();
  odd.context = 63;
  CHECK(contains(validation_error([](Recipe&) {}, odd), "context must be an even number"));
}

TEST_CASE("Cohort keys: what is data inside a cohort does not matter, what shapes the arithmetic does") {
  const auto key = [](
                       const char* layout, const Change& change = [](Recipe&) {}, const Shape& shape = small()) {
    Recipe recipe;
    change(recipe);
    return cohort_key(Design::make(layout, shape), recipe);
  };
  const std::string base = key("(swa:4 full)*2");
  CHECK(key("full*4") == base);
  CHECK(key("(swa:32 full/nope/sink)*2") == base);
  for (const char* shared :
       {"learning_rate", "weight_decay", "clip", "seed", "data_seed", "schedule.kind", "capability.stop_at"}) {
    for (const auto& [name, change] : all_changes()) {
      CAPTURE(name);
      if (name == std::string(shared)) CHECK(key("(swa:4 full)*2", change) == base);
    }
  }
  for (const char* split : {"task.keys", "task.repeat", "steps", "batch", "eval.sequences", "eval.growth",
                            "eval.min_steps", "window_growth", "beta1", "beta2", "eps"}) {
    for (const auto& [name, change] : all_changes()) {
      CAPTURE(name);
      if (name == std::string(split)) CHECK(key("(swa:4 full)*2", change) != base);
    }
  }
  CHECK(key("full*5") != base);
  CHECK(key("(gdn full)*2") != base);
  CHECK(key("(full gdn)*2") != key("(gdn full)*2"));
  Shape wide = small();
  wide.ffn = 128;
  CHECK(key(
            "(swa:4 full)*2", [](Recipe&) {}, wide) != base);
}

TEST_CASE("The protocol names task, context, capability and conventions, and not what a trial varies") {
  Recipe recipe;
  const std::string protocol = protocol_json(recipe, small());
  for (const char* part :
       {"\"recall\"", "\"context\":64", "\"accuracy/far\"", "itself included", "\"threshold\":0.5"}) {
    CHECK(contains(protocol, part));
  }
  recipe.seed = 5;
  recipe.learning_rate = 1;
  CHECK(protocol_json(recipe, small()) == protocol);
  recipe.task.set("repeat", 0.7);
  CHECK(protocol_json(recipe, small()) != protocol);
}

TEST_CASE("Evaluation steps: from 0 to the end, growing by the plan, never further apart than it says") {
  CHECK(evaluation_steps({128, 0.08, 10}, 0) == std::vector<std::int64_t>{0});
  CHECK(evaluation_steps({128, 0.08, 10}, 25) == std::vector<std::int64_t>{0, 10, 20, 25});
  CHECK(evaluation_steps({128, 0.5, 2}, 20) == std::vector<std::int64_t>{0, 2, 4, 6, 9, 13, 19, 20});
  CHECK(evaluation_steps({128, 0, 1}, 3) == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(evaluation_steps({128, 1e6, 1}, 1 << 20) == std::vector<std::int64_t>{0, 1, 1000001, 1 << 20});
  const std::vector<std::int64_t> steps = evaluation_steps({128, 0.08, 10}, std::int64_t{1} << 40);
  CHECK(steps.size() < 500);
  for (std::size_t i = 1; i < steps.size(); ++i) {
    const std::int64_t gap = steps[i] - steps[i - 1];
    CHECK(gap > 0);
    // MATHS 3: at most 8% of the tokens between evaluations, except where min_steps is larger.
    CHECK((gap <= 10 || static_cast<double>(gap) <= 0.08 * static_cast<double>(steps[i - 1])));
  }
  CHECK_THROWS_AS(evaluation_steps({128, 0, 1}, 1 << 30), InputError);
}
