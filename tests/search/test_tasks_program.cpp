// Tasks through the program: listed, shown, swept as variants of one space and on a real text, and summed up by
// `hylas results`; what a person can get wrong is named, with exit code 2.
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "search/space/space.hpp"
#include "search/study/results_table.hpp"
#include "tests/catch.hpp"
#include "tests/search/program.hpp"

using namespace hylas;
using hylas::test::run_program;
using hylas::test::TempDir;
using hylas::test::write_bytes;

namespace {

const std::string kMqar =
    "[study]\nname = \"mqar\"\n[[shape]]\nd_model = 8\nheads = 1\nffn = 0\n[[shape]]\nd_model = 16\nheads = 1\nffn = "
    "0\n"
    "[space]\npatterns = [\"full*2\"]\n[task]\nname = \"mqar\"\nvocab = 64\n"
    "[recipe]\nsteps = 20\nbatch = 4\nlearning_rate = [1e-3, 1e-2]\nweight_decay = [0.0, 0.1]\nseeds = 2\n"
    "eval = { sequences = 8, min_steps = 10, lengths = [64] }\n[capability]\nthreshold = 0.5\n"
    "[[variant]]\ncontext = 16\ntask = { pairs = 2 }\n"
    "[[variant]]\ncontext = 32\nbatch = 2\nsteps = 10\ntask = { pairs = 4 }\n";

bool contains(const std::string& text, const std::string& part) {
  CAPTURE(text, part);
  return text.find(part) != std::string::npos;
}

std::string text_of(std::size_t size) {
  std::mt19937 random(3);
  std::string text;
  while (text.size() < size) text += std::string("the cat sat on a mat and saw it ").substr(random() % 20, 12);
  return text;
}

}  // namespace

// Proves that variants multiply shapes and recipes, change what they name and nothing else, and make other studies.
TEST_CASE("Variants of a space change task, context, batch and steps") {
  const search::Space space = search::parse_space(kMqar);
  REQUIRE(space.trials.size() == 2 * 2 * 2 * 2 * 2);  // variants, shapes, rates, decays, seeds
  CHECK(space.designs.size() == 4);
  CHECK(space.variants.size() == 2);
  for (std::size_t i = 0; i < space.trials.size(); ++i) {
    const model::TrialSpec& trial = space.trials[i];
    const bool first = i < 16;
    CHECK(trial.design.shape.context == (first ? 16 : 32));
    CHECK(trial.recipe.batch == (first ? 4 : 2));
    CHECK(trial.recipe.steps == (first ? 20 : 10));
    CHECK(trial.recipe.task.whole("pairs") == (first ? 2 : 4));
    CHECK(trial.recipe.task.whole("vocab") == 64);
    CHECK(trial.recipe.capability.metric == "accuracy/far");
  }
  std::string other = kMqar;
  other.replace(other.find("pairs = 4"), 9, "pairs = 3");
  CHECK(search::parse_space(other).canonical_json() != space.canonical_json());
  const auto refusal = [](const std::string& text) {
    try {
      (void)search::parse_space(text, "s.toml");
    } catch (const model::InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(contains(refusal(kMqar + "[[variant]]\ncontext = 32\ntask = { pairs = 9 }\n"), "task.pairs"));
  CHECK(contains(refusal(kMqar + "[[variant]]\ncontext = 32\ntask = { pears = 9 }\n"), "did you mean 'pairs'"));
  CHECK(contains(refusal(kMqar + "[[variant]]\nlength = 32\n"), "length"));
  CHECK(contains(refusal(kMqar + "[[variant]]\ncontext = 16\ntask = { pairs = 2 }\n"), "same trial"));
}

// Proves the whole way: sweep of variants, and a table whose best learning rate is the best that the store holds.
TEST_CASE("hylas results shows each design at the best of its learning rates") {
  const TempDir dir;
  write_bytes(dir.path() / "mqar.toml", kMqar);
  const auto sweep = run_program(dir, "sweep mqar.toml --db m.db --device cpu --progress none");
  REQUIRE(sweep.code == 0);
  const auto results = run_program(dir, "results --db m.db --metric loss --metric accuracy@64 --json");
  REQUIRE(results.code == 0);
  const auto document = nlohmann::json::parse(results.out);
  REQUIRE(document["rows"].size() == 4);
  const auto store = db::Store::open(dir.path() / "m.db", db::Access::read);
  const db::Study study = store.study("mqar");
  for (const auto& row : document["rows"]) {
    CHECK(row["best_of"] == 4);
    CHECK(row["seeds"] == 2);
    CHECK(row["setting"].contains("task.pairs"));
    // The least mean loss over seeds, by a plain search through the store.
    std::map<std::string, std::pair<double, int>> sums;
    for (const db::Trial& trial : store.trials(study.id)) {
      if (trial.design_id != row["design_id"]) continue;
      const auto recipe = nlohmann::json::parse(trial.recipe_json);
      auto& [sum, count] = sums[recipe["learning_rate"].dump() + " " + recipe["weight_decay"].dump()];
      sum += store.points(trial.id, "loss").back().value, ++count;
    }
    double least = 1e300;
    for (const auto& [rates, sum] : sums) least = std::min(least, sum.first / sum.second);
    CHECK(row["values"]["loss"]["mean"].get<double>() == Approx(least).epsilon(1e-12));
    CHECK(row["values"]["loss"]["runs"] == 2);
    CHECK(row["values"]["accuracy@64"]["mean"].is_number());
  }
  const auto table = run_program(dir, "results --db m.db --metric accuracy");
  CHECK(table.code == 0);
  CHECK(contains(table.out, "task.pairs"));
  const auto unknown = run_program(dir, "results --db m.db --metric acuracy");
  CHECK(unknown.code == 2);
  CHECK(contains(unknown.err, "acuracy"));
}

// Proves that a parameter that only some of a study's tasks have is a column, whichever task comes first.
TEST_CASE("hylas results tells settings of different tasks apart") {
  const TempDir dir;
  write_bytes(dir.path() / "two.toml",
              "[study]\nname = \"two\"\n[shape]\nd_model = 8\nheads = 1\nffn = 0\n[space]\npatterns = [\"full*2\"]\n"
              "[recipe]\nsteps = 10\nbatch = 4\nlearning_rate = 1e-3\neval = { sequences = 8, min_steps = 10 }\n"
              "[capability]\nmetric = \"accuracy\"\nthreshold = 0.5\n"
              "[[variant]]\ncontext = 32\ntask = { name = \"mad_recall\" }\n"
              "[[variant]]\ncontext = 32\ntask = { name = \"mad_noisy_recall\" }\n"
              "[[variant]]\ncontext = 32\ntask = { name = \"mad_noisy_recall\", noise = 0.8 }\n");
  REQUIRE(run_program(dir, "sweep two.toml --db t.db --device cpu --progress none").code == 0);
  const auto document = nlohmann::json::parse(run_program(dir, "results --db t.db --metric accuracy --json").out);
  REQUIRE(document["rows"].size() == 3);
  std::set<std::string> settings;
  for (const auto& row : document["rows"]) settings.insert(row["setting"].dump());
  CHECK(settings.size() == 3);
}

// Proves that a sweep takes a text from its command line, and says what is wrong with one.
TEST_CASE("sweep --corpus trains on the bytes of a file") {
  const TempDir dir;
  write_bytes(dir.path() / "text.txt", text_of(40'000));
  write_bytes(dir.path() / "space.toml",
              "[study]\nname = \"text\"\n[shape]\nd_model = 16\nheads = 1\nffn = 32\ncontext = 32\n"
              "[space]\npatterns = [\"swa:8 full/nope\"]\n[recipe]\nsteps = 60\nbatch = 8\nlearning_rate = 1e-2\n"
              "embed_std = 0.05\neval = { sequences = 16, min_steps = 30 }\n[capability]\nstop_at = 1.1\n");
  const auto sweep = run_program(dir, "sweep space.toml --corpus text.txt --db t.db --device cpu --progress none");
  REQUIRE(sweep.code == 0);
  const auto store = db::Store::open(dir.path() / "t.db", db::Access::read);
  const db::Trial trial = store.trials(store.study("text").id).front();
  const auto bits = store.points(trial.id, "bits_per_byte");
  REQUIRE(bits.size() == 3);
  CHECK(bits.back().value < bits.front().value - 1);  // of 8 bits at first
  CHECK(contains(trial.protocol_json, "bytes[40"));   // the text's identity is part of the protocol
  CHECK(contains(trial.protocol_json, "xxh64"));
  const auto refused = [&](const std::string& arguments, const std::string& part) {
    const auto outcome = run_program(dir, "sweep space.toml --db new.db --device cpu " + arguments);
    CHECK(outcome.code == 2);
    CHECK(contains(outcome.err, part));
    CHECK_FALSE(std::filesystem::exists(dir.path() / "new.db"));
  };
  refused("--corpus no.txt", "no.txt");
  write_bytes(dir.path() / "empty.txt", "");
  refused("--corpus empty.txt", "empty");
  write_bytes(dir.path() / "odd.bin", "abc");
  refused("--corpus odd.bin", "odd.bin");
  write_bytes(dir.path() / "short.txt", "too short for a context of 32");
  refused("--corpus short.txt", "short.txt");
}

TEST_CASE("hylas tasks and hylas show task tell what a task is") {
  const TempDir dir;
  const auto list = run_program(dir, "tasks");
  CHECK(list.code == 0);
  for (const char* name : {"recall", "mqar", "mad_fuzzy_recall", "needle_tracking", "induction", "text"}) {
    CHECK(contains(list.out, name));
  }
  CHECK(nlohmann::json::parse(run_program(dir, "tasks --json").out).size() == 16);
  CHECK(contains(run_program(dir, "tasks mqar").out, "power_a"));
  CHECK(contains(run_program(dir, "tasks mqr").err, "did you mean 'mqar'"));
  const auto shown = run_program(dir, "show task mqar --context 64 --set pairs=4");
  CHECK(shown.code == 0);
  CHECK(contains(shown.out, "4 scored:"));
  CHECK(std::count(shown.out.begin(), shown.out.end(), '^') == 5);  // and the legend's
  // Windows reach what the generator's rule says: gaps of power_a .01 put .794 of four answers within 32 tokens and all
  // within 64 (1,000 sequences: a standard deviation of .006).
  const auto reach =
      nlohmann::json::parse(run_program(dir, "show task mqar --context 64 --set pairs=4 --reach --json").out)["reach"];
  REQUIRE(reach.size() == 5);
  CHECK(reach[3]["window"] == 32);
  CHECK(reach[3]["one_layer"].get<double>() == Approx(0.794).margin(0.025));
  CHECK(reach[3]["two_layers"] == 1.0);
  CHECK(reach[4]["one_layer"] == 1.0);
  CHECK(contains(run_program(dir, "show task mqar --reach").out, "two layers"));
  const auto document = nlohmann::json::parse(run_program(dir, "show task recall --context 32 --json --eval").out);
  CHECK(document["tokens"].size() == 32);
  for (const auto& [arguments, part] :
       std::map<std::string, std::string>{{"show task mqar --context 64 --set pairs=40", "task.pairs"},
                                          {"show task mqar --set pears=4", "did you mean 'pairs'"},
                                          {"show task mqar --set pairs=x", "'x' is no whole number"},
                                          {"show task mqar --set pairs", "parameter=value"},
                                          {"show task mad_memorization --reach", "no answer stands in the sequence"},
                                          {"show task", "needs the name of a task"},
                                          {"show 3f2a", "needs --db"},
                                          {"show task text", "task.corpus is missing"}}) {
    const auto outcome = run_program(dir, arguments);
    CHECK(outcome.code == 2);
    CHECK(contains(outcome.err, part));
  }
}
