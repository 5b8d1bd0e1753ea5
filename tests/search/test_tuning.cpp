// [tuning] of space files: rates are chosen per design on seeds of their own, before and apart from the study.
#include <set>

#include "search/study/best_recipe.hpp"
#include "search/study/tuned_sweep.hpp"
#include "tests/catch.hpp"
#include "tests/search/test_run_support.hpp"

using namespace hylas;
using search::parse_space;

namespace {

std::string space(const std::string& tuning, const std::string& recipe = "seeds = 2\n") {
  return R"([study]
name = "arms"
[shape]
d_model = 16
heads = 1
ffn = 0
context = 32
[space]
patterns = ["(swa:4 full)*2", "full*2"]
[task]
name = "recall"
keys = 8
values = 8
[recipe]
steps = 12
batch = 4
eval = { sequences = 8, growth = 0.0, min_steps = 6 }
)" + recipe +
         tuning;
}

const std::string kTuning = "[tuning]\nlearning_rates = [1e-6, 2e-2]\nseeds = [101, 102]\n";

std::string refusal(const std::string& text) {
  try {
    (void)parse_space(text, "s.toml");
  } catch (const model::InputError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("[tuning] makes a second study: all designs, its own rates and seeds") {
  const search::Space arms = parse_space(space(kTuning));
  REQUIRE(arms.tuning);
  CHECK(arms.tuning->study == "arms-tuning");
  CHECK(arms.tuning->trials.size() == 2 * 2 * 2);
  CHECK(arms.trials.size() == 2 * 2);
  std::set<std::int64_t> seeds;
  std::set<double> rates;
  for (const auto& trial : arms.tuning->trials) {
    seeds.insert(static_cast<std::int64_t>(trial.recipe.seed));
    rates.insert(trial.recipe.learning_rate);
  }
  CHECK(seeds == std::set<std::int64_t>{101, 102});
  CHECK(rates == std::set<double>{1e-6, 2e-2});
  // The plan of the tuning is part of what the study is.
  CHECK(arms.canonical_json() != parse_space(space("")).canonical_json());
  CHECK(parse_space(space("")).tuning == nullptr);
}

// Proves that tuning runs can be cut short while the study's keep their length, in the recipes that name what is
// trained.
TEST_CASE("[tuning] steps and stop_at are of the tuning runs alone, and the study's where they are not given") {
  const std::string rest = "schedule = { kind = \"cosine\", warmup_steps = 2 }\nseeds = 2\n";
  const std::string capability = "[capability]\nthreshold = 0.4\nstop_at = 2.0\n";
  const search::Space plain = parse_space(space(kTuning + capability, rest));
  const search::Space shorter = parse_space(space(kTuning + "steps = 7\nstop_at = 0.5\n" + capability, rest));
  const auto all_are = [](const search::Space& study, std::int64_t steps, double stop_at) {
    for (const auto& trial : study.trials) {
      CHECK(trial.recipe.steps == steps);
      CHECK(trial.recipe.capability.stop_at == stop_at);
      CHECK(trial.recipe.capability.threshold == 0.4);
    }
  };
  all_are(plain, 12, 2.0);
  all_are(*plain.tuning, 12, 2.0);
  all_are(shorter, 12, 2.0);
  all_are(*shorter.tuning, 7, 0.5);
  REQUIRE(shorter.tuning->trials.size() == 8);
  // The study is told from one that is tuned otherwise; its own trials are the same.
  CHECK(shorter.canonical_json() != plain.canonical_json());
  REQUIRE(shorter.trials.size() == plain.trials.size());
  for (std::size_t i = 0; i < plain.trials.size(); ++i) {
    CHECK(shorter.trials[i].recipe.canonical_json() == plain.trials[i].recipe.canonical_json());
  }
  // Either alone; the same as the study's is the same as not given; longer ones are taken as well.
  all_are(*parse_space(space(kTuning + "steps = 30\n" + capability, rest)).tuning, 30, 2.0);
  all_are(*parse_space(space(kTuning + "stop_at = 0.4\n" + capability, rest)).tuning, 12, 0.4);
  CHECK(parse_space(space(kTuning + "steps = 12\nstop_at = 2.0\n" + capability, rest)).canonical_json() ==
        plain.canonical_json());
}

TEST_CASE("[tuning] that cannot be is refused where it stands") {
  const auto names = [](const std::string& text, const std::string& part) {
    const std::string message = refusal(text);
    INFO(message << " should say " << part);
    CHECK(message.find(part) != std::string::npos);
    CHECK(message.starts_with("s.toml:"));
  };
  names(space("[tuning]\nlearning_rates = [1e-3, 2e-3]\nseeds = [2, 3]\n"), "share 2");
  names(space("[tuning]\nlearning_rates = [1e-3]\nseeds = [7]\n"), "2 to");
  names(space("[tuning]\nlearning_rates = [1e-3, 2e-3]\n"), "seeds");
  names(space("[tuning]\nlearning_rates = [1e-3, 2e-3]\nseeds = []\n"), "seeds");
  names(space("[tuning]\nlearning_rates = [1e-3, 1e-3]\nseeds = [7]\n"), "learning_rates");
  names(space("[tuning]\nlearning_rate = [1e-3, 2e-3]\nseeds = [7]\n"), "learning_rates");
  names(space(kTuning, "learning_rate = 1e-3\n"), "leave it out");
  names(space(kTuning, "weight_decay = [0.0, 0.1]\n"), "one weight decay");
  names(space(kTuning + "[strategy]\nkind = \"grid\"\n"), "does not go with [strategy]");
  const std::string warm = "schedule = { warmup_steps = 5 }\n";
  names(space(kTuning + "steps = 0\n", warm), "tuning.steps must be");
  names(space(kTuning + "steps = 6.5\n", warm), "tuning.steps");
  names(space(kTuning + "steps = 5\n", warm), "warm-up");
  CHECK(refusal(space(kTuning + "steps = 6\n", warm)).empty());
  names(space(kTuning + "steps = 1_000_000_000_000\n", warm), "tuning.steps: ");
  names(space(kTuning + "stop_at = 0.49\n"), "tuning.stop_at must be at least capability.threshold, 0.5");
  names(space(kTuning + "stop_at = nan\n"), "tuning.stop_at");
  names(space(kTuning + "step = 6\n"), "did you mean 'steps'");
  std::string tokens = space(kTuning + "steps = 60\n");
  tokens.replace(tokens.find("steps = 12"), 10, "tokens = 4e5");
  names(tokens, "tuning.steps beside recipe.tokens");
}

TEST_CASE("a study with [tuning] trains each design at the rate that did best, and resumes") {
  const search::Space arms = parse_space(space(kTuning));
  const test::TempDir dir;
  db::Store store = db::Store::open(dir / "s.db", db::Access::create);
  search::SweepOptions options;
  options.threads = 2;
  const auto first = search::run_tuned_sweep(arms, store, options);
  CHECK(first.reached_study);
  CHECK(first.tuning.trained == 8);
  CHECK(first.study.trained == 4);
  REQUIRE(first.rates.size() == 2);
  // The study is what is read where none is named, and holds nothing of the tuning.
  const auto runs = search::load_study_runs(store, "");
  CHECK(runs.study.name == "arms");
  CHECK(runs.runs.size() == 4);
  for (const auto& run : runs.runs) CHECK(run.seed <= 2);
  for (const auto& trial : store.trials(runs.study.id)) {
    const auto rate = first.rates.at(trial.design_id);
    CHECK(trial.recipe_json.find(rate == 2e-2 ? "0.02" : "1e-06") != std::string::npos);
  }
  // The best by hand: none emerges in 12 steps, so the rate under which accuracy ended highest.
  for (const auto& design : arms.designs) {
    std::map<double, double> ends;
    const auto tuning = search::load_study_runs(store, "arms-tuning");
    for (const auto* run : tuning.runs_of(design.id())) {
      CHECK_FALSE(run->d50.emerged);
      ends[run->recipe.find("0.02") != std::string::npos ? 2e-2 : 1e-6] += run->curve.back().value;
    }
    REQUIRE(ends.size() == 2);
    CHECK(first.rates.at(design.id()) == (ends[2e-2] > ends[1e-6] ? 2e-2 : 1e-6));
  }
  const auto again = search::run_tuned_sweep(arms, store, options);
  CHECK(again.rates == first.rates);
  CHECK(again.tuning.trained + again.study.trained == 0);
  CHECK(again.study.already_finished == 4);
}
