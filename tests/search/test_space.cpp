// Space files: what they yield, in which order, without duplicates; arrangements, filters, recipes, strategies,
// examples.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "model/design/cost.hpp"
#include "search/space/candidates.hpp"
#include "search/space/embedded.hpp"
#include "search/space/space.hpp"
#include "tests/catch.hpp"
#include "tests/temp_dir.hpp"

using namespace hylas;
using namespace hylas::search;

namespace {

// A space file with `space` (the [space] section and what else a test needs) and a small recipe.
Space space_of(const std::string& space, const std::string& recipe = "[recipe]\nsteps = 10\n",
               const std::string& shape = "[shape]\nd_model = 32\nheads = 1\nffn = 96\ncontext = 64\n") {
  return parse_space("[study]\nname = \"test\"\n" + shape + space + "\n" + recipe);
}

std::vector<std::string> layouts(const Space& space) {
  std::vector<std::string> result;
  for (const model::Design& design : space.designs) result.push_back(design.layout_text());
  return result;
}

std::filesystem::path example(const std::string& name) {
  return std::filesystem::path(HYLAS_SOURCE_DIR) / "search/space/examples" / name;
}

}  // namespace

TEST_CASE("The demo is the study of TASKS 1 at d 32: 7 designs, 3 seeds") {
  const Space space = load_space(example("demo.toml"));
  CHECK(space.study == "demo");
  CHECK(layouts(space) == std::vector<std::string>{"(swa:4 full)*2", "(swa:4 full/nope)*2", "(swa:16 full)*2",
                                                   "(swa:16 full/nope)*2", "(swa:32 full)*2", "(swa:32 full/nope)*2",
                                                   "full*4"});
  const model::Shape expected{32, 1, 1, 32, 96, 32, 64, true, 10000.0};
  for (const model::Design& design : space.designs) CHECK(design.shape == expected);
  REQUIRE(space.trials.size() == 21);
  for (std::size_t i = 0; i < 21; ++i) {
    const model::Recipe& recipe = space.trials[i].recipe;
    CHECK(space.trials[i].design.id() == space.designs[i / 3].id());
    CHECK(recipe.seed == static_cast<std::int64_t>(i % 3) + 1);
    CHECK(recipe.data_seed == recipe.seed);
    CHECK(recipe.steps == 2000);
    CHECK(recipe.batch == 16);
    CHECK(recipe.learning_rate == 4e-3);
    CHECK(recipe.weight_decay == 0.1);
    CHECK(recipe.schedule == model::Schedule{});
    CHECK(recipe.task == model::recall_task(16, 16, 0.4));
    CHECK(recipe.eval == model::EvalPlan{96, 0.08, 10});
    CHECK(recipe.capability == model::Capability{"accuracy/far", 0.5, 0.9});
  }
}

TEST_CASE("Every example and every space of the findings parses, and those inside the program are the files") {
  const test::TempDir dir;
  const std::filesystem::path text = dir.path() / "text.txt";
  std::ofstream(text) << std::string(400'000, 'x');
  std::size_t examples = 0, findings = 0;
  for (const auto& entry : std::filesystem::directory_iterator(example(""))) {
    CAPTURE(entry.path().string());
    std::optional<model::TaskSpec> task;  // text*.toml take theirs from the command line
    if (entry.path().filename().string().starts_with("text"))
      task = model::task_spec("text", {{"corpus", text.string()}});
    CHECK_FALSE(load_space(entry.path(), task).trials.empty());
    ++examples;
  }
  CHECK(examples >= 3);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(example("") / "../../findings")) {
    if (entry.path().extension() != ".toml") continue;
    CAPTURE(entry.path().string());
    CHECK_FALSE(load_space(entry.path()).trials.empty());
    ++findings;
  }
  CHECK(findings == finding_spaces.size());
  CHECK(parse_space(demo_space).canonical_json() == load_space(example("demo.toml")).canonical_json());
  CHECK(parse_space(template_space).canonical_json() == load_space(example("template.toml")).canonical_json());
}

TEST_CASE("S1 has the published size: 15M parameters in every arm, steps of half a million tokens") {
  const Space space = load_space(example("") / "../../findings/S1/core.toml");
  CHECK(space.designs.size() == 7);
  CHECK(space.trials.size() == 21);
  std::set<std::string> cohorts;
  for (const model::TrialSpec& trial : space.trials) {
    CHECK(model::cost_of(trial.design).parameters_non_embedding == 14'999'424);
    CHECK(trial.design.shape.vocab == 8192);
    CHECK(trial.recipe.batch * trial.design.shape.context == 524'288);
    CHECK(trial.recipe.steps == 2862);
    cohorts.insert(model::cohort_key(trial.design, trial.recipe));
  }
  CHECK(cohorts.size() == 1);
}

TEST_CASE("The ladder example: two shapes, a duplicate in each, a filter, a random strategy, tokens for steps") {
  const Space space = load_space(example("ladder.toml"));
  CHECK(space.counts.candidates == 20);
  CHECK(space.counts.duplicates == 2);
  CHECK(space.counts.filtered == 1);
  CHECK(space.designs.size() == 17);
  CHECK(space.recipes.size() == 6);
  CHECK(space.trials.size() == 40);
  for (const model::TrialSpec& trial : space.trials) {
    const std::int64_t per_step = 16 * trial.design.shape.context;
    CHECK(trial.recipe.steps == (2'000'000 + per_step - 1) / per_step);
  }
}

TEST_CASE("Holes turn like an odometer in the order in which they appear, the last fastest") {
  const Space space = space_of(
      "[space]\npatterns = [\"swa:{w} full{n}\", \"{m}*2\"]\n"
      "[axes]\nn = [\"\", \"/nope\"]\nm = [\"gdn\", \"lightning\"]\nw = [2, \"8\"]\n");
  CHECK(layouts(space) == std::vector<std::string>{"swa:2 full", "swa:2 full/nope", "swa:8 full", "swa:8 full/nope",
                                                   "gdn*2", "lightning*2"});
}

TEST_CASE("A hole may stand several times and hold any text of a layout") {
  const Space space = space_of("[space]\npatterns = [\"{a} full {a}\"]\n[axes]\na = [\"(gdn swa:4)*2\", \"mamba2\"]\n");
  CHECK(layouts(space) ==
        std::vector<std::string>{"gdn swa:4 gdn swa:4 full gdn swa:4 gdn swa:4", "mamba2 full mamba2"});
}

TEST_CASE("Designs equal after canonicalisation are dropped and counted; the first one stays") {
  const Space space = space_of(
      "[space]\npatterns = [\"full*4\", \"(full full)*2\", \"swa:{w}*4\", \"gdn\", \"gdn/nope\"]\n[axes]\nw = [8, 64, "
      "999]\n");
  CHECK(layouts(space) == std::vector<std::string>{"full*4", "swa:8*4", "gdn"});
  CHECK(space.counts.candidates == 7);
  CHECK(space.counts.duplicates == 4);
  CHECK(space.counts.filtered == 0);
}

TEST_CASE("Several shapes: every layout at every shape, shapes outermost") {
  const Space space =
      space_of("[space]\npatterns = [\"full\", \"gdn\"]\n", "[recipe]\ntokens = 1_000\n",
               "[[shape]]\nd_model = 32\nheads = 2\nffn = 0\ncontext = 64\n"
               "[[shape]]\nd_model = 64\nheads = 4\nkv_heads = 2\nhead_dim = 32\nffn = 8\ncontext = 32\n"
               "tied = false\nvocab = 99\nrope_theta = 5e5\n");
  REQUIRE(space.designs.size() == 4);
  CHECK(space.designs[0].shape == model::Shape{32, 2, 2, 16, 0, 32, 64, true, 10000.0});
  CHECK(space.designs[1].layout_text() == "gdn");
  CHECK(space.designs[2].shape == model::Shape{64, 4, 2, 32, 8, 99, 32, false, 5e5});
  // 1,000 tokens in steps of 16 x 64 and of 16 x 32, rounded up.
  CHECK(space.recipes_of(space.designs[0])[0].steps == 1);
  CHECK(space.recipes_of(space.designs[2])[0].steps == 2);
  CHECK(space.trials[3].recipe.steps == 2);
}

TEST_CASE("Arrangements hold every placement once: counts are binomials") {
  for (std::int64_t layers = 1; layers <= 8; ++layers) {
    for (std::int64_t count = 0; count <= layers; ++count) {
      CAPTURE(layers, count);
      const Space space =
          space_of("[[space.arrangement]]\nlayers = " + std::to_string(layers) + "\ncount = " + std::to_string(count) +
                   "\nplace = \"full/nope\"\namong = \"swa:8\"\n");
      // Pascal's triangle, not the function under test.
      std::vector<std::int64_t> row = {1};
      for (std::int64_t n = 1; n <= layers; ++n) {
        row.push_back(1);
        for (std::size_t k = row.size() - 2; k > 0; --k) row[k] += row[k - 1];
      }
      CHECK(std::ssize(space.designs) == row[static_cast<std::size_t>(count)]);
      CHECK(binomial(layers, count) == row[static_cast<std::size_t>(count)]);
      for (const model::Design& design : space.designs) {
        CHECK(design.depth() == layers);
        const auto placed =
            std::count_if(design.layout.layers.begin(), design.layout.layers.end(),
                          [](const model::Layer& l) { return l.mixer == model::Mixer::full && !l.rope; });
        CHECK(placed == count);
      }
    }
  }
  CHECK(binomial(60, 30) == 118264581564861424);
  CHECK(binomial(62, 31) == 465428353255261088);
  CHECK(binomial(1024, 512) == INT64_MAX);
  CHECK(binomial(3, 4) == 0);
}

TEST_CASE("Placements come in lexicographic order of positions, and holes of an arrangement turn outside of them") {
  const Space space = space_of(
      "[[space.arrangement]]\nlayers = 3\ncount = 2\nplace = \"full{n}\"\namong = \"swa:{w}\"\n"
      "[axes]\nw = [4]\nn = [\"\", \"/sink\"]\n");
  CHECK(layouts(space) == std::vector<std::string>{"full*2 swa:4", "full swa:4 full", "swa:4 full*2",
                                                   "full/sink*2 swa:4", "full/sink swa:4 full/sink",
                                                   "swa:4 full/sink*2"});
}

TEST_CASE("Filters keep designs inside their bounds, bounds included") {
  const std::string all = "[space]\npatterns = [\"swa:8*4\", \"(swa:8 full)*2\", \"full*4\", \"full*2\"]\n[filter]\n";
  CHECK(layouts(space_of(all + "min_full_fraction = 0.5")) ==
        std::vector<std::string>{"(swa:8 full)*2", "full*4", "full*2"});
  CHECK(layouts(space_of(all + "max_full_fraction = 0.5")) == std::vector<std::string>{"swa:8*4", "(swa:8 full)*2"});
  const model::Shape shape{32, 1, 1, 32, 96, 32, 64, true, 10000.0};
  const model::Cost two = model::cost_of(model::Design::make("full*2", shape));
  const model::Cost mixed = model::cost_of(model::Design::make("(swa:8 full)*2", shape));
  CHECK(layouts(space_of(all + "max_parameters = " + std::to_string(two.parameters_non_embedding))) ==
        std::vector<std::string>{"full*2"});
  CHECK(layouts(space_of(all + "min_parameters = " + std::to_string(two.parameters_non_embedding + 1))).size() == 3);
  CHECK(layouts(space_of(all + "max_cache_bytes = " + std::to_string(mixed.cache_bytes) +
                         "\nmin_cache_bytes = 8193")) == std::vector<std::string>{"(swa:8 full)*2", "full*2"});
  CHECK(layouts(space_of(all + "min_flops_per_token = " + std::to_string(mixed.flops_train))) ==
        std::vector<std::string>{"(swa:8 full)*2", "full*4"});
  CHECK(space_of(all + "max_flops_per_token = " + std::to_string(mixed.flops_train)).counts.filtered == 1);
}

TEST_CASE("Recipes: learning rates as written, then seeds, then data seeds") {
  const std::string one = "[space]\npatterns = [\"full\"]\n";
  const Space space = space_of(one, "[recipe]\nsteps = 5\nlearning_rate = [2e-3, 1]\nseeds = [7, 3]\ndata_seeds = 2\n");
  std::vector<std::vector<double>> found;
  for (const model::Recipe& r : space.recipes) {
    found.push_back({r.learning_rate, static_cast<double>(r.seed), static_cast<double>(r.data_seed)});
  }
  CHECK(found ==
        std::vector<std::vector<double>>{
            {2e-3, 7, 1}, {2e-3, 7, 2}, {2e-3, 3, 1}, {2e-3, 3, 2}, {1, 7, 1}, {1, 7, 2}, {1, 3, 1}, {1, 3, 2}});
  const Space own = space_of(one, "[recipe]\nsteps = 5\nseeds = [7, 3]\n");
  CHECK(own.recipes[0].data_seed == 7);
  CHECK(own.recipes[1].data_seed == 3);
  CHECK(space_of(one).recipes.size() == 1);
}

TEST_CASE("Every key of a recipe reaches the trial") {
  const Space space = space_of(
      "[space]\npatterns = [\"full\"]\n[task]\nname = \"recall\"\nkeys = 5\nvalues = 7\nrepeat = 0.25\n"
      "[capability]\nmetric = \"accuracy/(16,64]\"\nthreshold = 0.25\nstop_at = 2\n",
      "[recipe]\nsteps = 11\nbatch = 3\nlearning_rate = 0.5\nweight_decay = 0.25\nclip = 2\n"
      "beta1 = 0.5\nbeta2 = 0.75\neps = 1e-6\nembed_std = 0.125\nseeds = [9]\ndata_seeds = [8]\n"
      "precision = \"fp32\"\n[recipe.schedule]\nkind = \"wsd\"\nwarmup_steps = 4\n"
      "decay_fraction = 0.5\nfinal_ratio = 0.1\n[recipe.eval]\nsequences = 17\ngrowth = 0.5\n"
      "min_steps = 2\n[recipe.window_growth]\nstart = 8\nsteps = 10\n");
  model::Recipe expected;
  expected.task = model::recall_task(5, 7, 0.25);
  expected.steps = 11;
  expected.batch = 3;
  expected.learning_rate = 0.5;
  expected.weight_decay = 0.25;
  expected.clip = 2;
  expected.beta1 = 0.5;
  expected.beta2 = 0.75;
  expected.eps = 1e-6;
  expected.embed_std = 0.125;
  expected.schedule = {model::ScheduleKind::wsd, 4, 0.5, 0.1};
  expected.eval = {17, 0.5, 2};
  expected.capability = {"accuracy/(16,64]", 0.25, 2};
  expected.window_growth = {8, 10};
  expected.seed = 9;
  expected.data_seed = 8;
  REQUIRE(space.trials.size() == 1);
  CHECK(space.trials[0].recipe == expected);
  CHECK(space.designs[0].shape.vocab == 12);  // keys + values
}

TEST_CASE("canonical_json says what the study is, not how its file looks") {
  const std::string space = "[space]\npatterns = [\"full*2\", \"swa:8*2\"]\n";
  const std::string same =
      "# a comment\n[space]\npatterns = [  \"full full\",\"swa:8 swa:{w}\", \"full*2\"]\n[axes]\nw = [8]\n";
  const std::string base = space_of(space).canonical_json();
  CHECK(space_of(same).canonical_json() == base);
  CHECK(space_of(space, "[recipe]\nsteps = 10\nbatch = 16\n").canonical_json() == base);
  CHECK(space_of(space, "[recipe]\nsteps = 11\n").canonical_json() != base);
  CHECK(space_of(space, "[recipe]\nsteps = 10\nseeds = 2\n").canonical_json() != base);
  CHECK(space_of("[space]\npatterns = [\"full*2\"]\n").canonical_json() != base);
  const std::string random = space + "[strategy]\nkind = \"random\"\ntrials = 1\n";
  CHECK(space_of(random).canonical_json() != base);
  CHECK(space_of(random + "seed = 2\n").canonical_json() != space_of(random).canonical_json());
}

TEST_CASE("The random strategy draws without replacement, reproducibly, and fairly") {
  const Strategy strategy{StrategyKind::random, 30, 5};
  const std::vector<std::size_t> drawn = choose_trials(strategy, 100);
  CHECK(drawn.size() == 30);
  CHECK(std::set<std::size_t>(drawn.begin(), drawn.end()).size() == 30);
  CHECK(*std::max_element(drawn.begin(), drawn.end()) < 100);
  CHECK(choose_trials(strategy, 100) == drawn);
  CHECK(choose_trials({StrategyKind::random, 30, 6}, 100) != drawn);
  // A longer draw begins with a shorter one, so more trials of the same seed extend a study.
  const std::vector<std::size_t> longer = choose_trials({StrategyKind::random, 60, 5}, 100);
  CHECK(std::equal(drawn.begin(), drawn.end(), longer.begin()));
  std::vector<std::size_t> all = choose_trials({StrategyKind::random, 100, 5}, 100);
  CHECK(all != choose_trials({}, 100));
  std::sort(all.begin(), all.end());
  CHECK(all == choose_trials({}, 100));
  // First draws over 6,000 seeds: each of 6 expected 1,000 times, standard deviation 29; 6 of those allowed.
  std::map<std::size_t, int> counts;
  for (std::uint64_t seed = 0; seed < 6000; ++seed) ++counts[choose_trials({StrategyKind::random, 1, seed}, 6)[0]];
  for (const auto& [value, count] : counts) {
    CAPTURE(value);
    CHECK(std::abs(count - 1000) < 174);
  }
}

TEST_CASE("The random strategy's order is the same on every machine") {
  // From a second implementation (Python: MT19937-64, rejection, partial Fisher-Yates), seed 5, 8 of 100.
  CHECK(choose_trials({StrategyKind::random, 8, 5}, 100) == std::vector<std::size_t>{42, 77, 40, 1, 24, 7, 27, 26});
}
