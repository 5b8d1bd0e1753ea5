// The program as its users call it: contracts of output and exit codes that scripts rely on, and messages for wrong
// input.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/catch.hpp"
#include "tests/search/program.hpp"

using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;

namespace {

// What may lie in a test's directory after a command that must not write anything.
std::set<std::string> files_in(const TempDir& dir) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) names.insert(entry.path().filename());
  names.erase("stdout");
  names.erase("stderr");
  return names;
}

constexpr auto tiny_space = R"(
[study]
name = "tiny"
[shape]
d_model = 8
heads = 1
ffn = 16
context = 16
[space]
patterns = ["(swa:{w} full)*1"]
[axes]
w = [2, 4]
[task]
name = "recall"
keys = 4
values = 4
[recipe]
steps = 20
batch = 4
seeds = 2
learning_rate = 1e-2
[recipe.eval]
sequences = 8
)";

}  // namespace

TEST_CASE("describe counts the parameters of the seed paper's released sizes", "[program]") {
  struct Size {
    int d, layers, ffn;
    std::int64_t n;
  };
  const TempDir dir;
  for (const auto& s : {Size{384, 10, 960, 14'999'424}, Size{512, 12, 1280, 31'470'080},
                        Size{640, 16, 1600, 64'901'760}, Size{768, 18, 1920, 104'427'264}}) {
    const auto run = run_program(dir, "describe '(swa:128 full)*" + std::to_string(s.layers / 2) + "' --d-model " +
                                          std::to_string(s.d) + " --heads " + std::to_string(s.d / 64) +
                                          " --kv-heads 2 --head-dim 64 --ffn " + std::to_string(s.ffn) +
                                          " --vocab 73448 --context 16384 --untied --json");
    REQUIRE(run.code == 0);
    const auto out = json::parse(run.out);
    CHECK(out["parameters"]["non_embedding"] == s.n);
    CHECK(out["layers"].size() == static_cast<std::size_t>(s.layers));
    for (const auto* key : {"layout", "design_id", "layers", "parameters", "flops_per_token", "cache_bytes"}) {
      CHECK(out.contains(key));
    }
    CHECK(out["flops_per_token"]["train"] == 3 * out["flops_per_token"]["forward"].get<double>());
  }
}

TEST_CASE("equal designs have equal ids on the command line", "[program]") {
  const TempDir dir;
  const auto id = [&](const std::string& layout) {
    const auto run = run_program(dir, "describe '" + layout + "' --d-model 64 --heads 1 --context 512 --json");
    REQUIRE(run.code == 0);
    return json::parse(run.out)["design_id"].get<std::string>();
  };
  CHECK(id("full*4") == id("(full full)*2"));
  CHECK(id("full*4") == id("swa:9999*4"));
  CHECK(id("gdn/nope") == id("gdn"));
  CHECK(id("full*4") != id("full/nope*4"));
}

TEST_CASE("wrong input gets one message that says what to do, exit 2, and writes nothing", "[program]") {
  const TempDir dir;
  const auto space = dir.write("bad.toml", "[study]\nname = \"x\"\n[shap]\nd_model = 8\n");
  const auto before = files_in(dir);
  const std::map<std::string, std::string> cases = {
      {"describe 'swq:128 full'", "swa"},         // the nearest mixer
      {"describe '(full'", "column"},             // the place
      {"describe full --d-modl 8", "--d-model"},  // the nearest option
      {"descrbe full", "describe"},               // the nearest command
      {"describe", "layout"},                     // what is missing
      {"describe full --d-model 10 --heads 3", "multiple"},
      {"sweep bad.toml --db x.db", "bad.toml:3:"},  // file and line
      {"enumerate bad.toml", "shape"},              // the nearest key
      {"enumerate missing.toml", "missing.toml"},
      {"bench train --size cpu65", "cpu64"},
      {"recommend --db x.db --flops -1", "--flops"},
      {"fit loss --input missing.csv", "missing.csv"},
      {"completion tcsh", "bash"},
      {"sweep bad.toml", "bad.toml"},
      {"", "command"},
  };
  for (const auto& [arguments, expected] : cases) {
    const auto run = run_program(dir, arguments);
    INFO("hylas " << arguments << "\n" << run.err);
    CHECK(run.code == 2);
    CHECK(run.out.empty());
    CHECK(run.err.find(expected) != std::string::npos);
  }
  CHECK(files_in(dir) == before);
}

TEST_CASE("a device that this program cannot train on is refused before a store is made", "[program]") {
  const TempDir dir;
  dir.write("tiny.toml", tiny_space);
  std::string bf16 = tiny_space;
  bf16.replace(bf16.find("steps = 20"), 10, "precision = \"bf16\"\nsteps = 20");
  dir.write("bf16.toml", bf16);
  const auto before = files_in(dir);
  const std::map<std::string, int> cases = {{"sweep tiny.toml --db x.db --device cuda", 6},
                                            {"sweep tiny.toml --db x.db --device gpu", 2},
                                            {"sweep bf16.toml --db x.db --device cpu", 2},
                                            {"sweep tiny.toml --db x.db --gpu-memory 0", 2},
                                            {"bench train --device cuda", 6},
                                            {"sweep tiny.toml --db x.db --max-cohort -1", 2},
                                            {"sweep tiny.toml --db x.db --checkpoint-seconds -1", 2}};
  for (const auto& [arguments, code] : cases) {
    const auto run = run_program(dir, arguments);
    INFO("hylas " << arguments << "\n" << run.err);
    CHECK(run.code == code);
    CHECK(run.out.empty());
  }
  CHECK(files_in(dir) == before);
}

TEST_CASE("a design is fitted under the learning rate that suits it, and data seeds make runs of their own",
          "[program]") {
  const TempDir dir;
  std::string space = tiny_space;
  space.replace(space.find("steps = 20\nbatch = 4"), 20, "steps = 600\nbatch = 8");
  // Nothing is learnt at 1e-6, so the runs that count must be the other four of each design.
  space.replace(space.find("learning_rate = 1e-2"), 20, "learning_rate = [1e-6, 1e-2]\ndata_seeds = [1, 2]");
  space.replace(space.find("sequences = 8"), 13, "sequences = 32");
  dir.write("rates.toml", space);
  REQUIRE(run_program(dir, "sweep rates.toml --db r.db").code == 0);

  const auto run = run_program(dir, "fit emergence --db r.db --json");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto fit = json::parse(run.out);
  REQUIRE(fit["designs"].size() == 2);
  for (const auto& design : fit["designs"]) {
    CHECK(design["runs"] == 4);
    CHECK(design["emerged"] == 4);
  }
  CHECK(run_program(dir, "fit emergence --db r.db").out.find("8 runs of other recipes") != std::string::npos);
  CHECK(run_program(dir, "recommend --db r.db --flops 1e9").code == 0);

  // The threshold holds for the metric that was swept for, too: no accuracy is over 1.
  CHECK(run_program(dir, "fit emergence --db r.db --threshold 2").err.find("emerged") != std::string::npos);
  // A plot that cannot be written leaves no fit behind.
  const auto size = hylas::test::read_bytes(dir.path() / "r.db");
  CHECK(run_program(dir, "fit emergence --db r.db --svg none/x.svg").code == 1);
  CHECK(hylas::test::read_bytes(dir.path() / "r.db") == size);
  // Names that are not there: the nearest one that is.
  CHECK(run_program(dir, "export --db r.db --metric los").err.find("'loss'") != std::string::npos);
  CHECK(run_program(dir, "status --db r.db --study tin").err.find("'tiny'") != std::string::npos);
}

TEST_CASE("a store whose records make no sense is refused with exit 5", "[program]") {
  const TempDir dir;
  dir.write("tiny.toml", tiny_space);
  REQUIRE(run_program(dir, "sweep tiny.toml --db t.db").code == 0);
  const auto whole = hylas::test::read_bytes(dir.path() / "t.db");
  const auto with = [&](const std::string& from, const std::string& to) {  // of one length: the pages stay as they are
    auto bytes = whole;
    for (auto at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at + 1)) {
      bytes.replace(at, from.size(), to);
    }
    REQUIRE(bytes != whole);
    dir.write("t.db", bytes);
  };
  with("swa:2 full", "swq:2 full");
  CHECK(run_program(dir, "fit emergence --db t.db").code == 5);
  with("{\"batch\":", "[\"batch\":");
  CHECK(run_program(dir, "export --db t.db --json").code == 5);
}

TEST_CASE("a study whose trials all diverged says so when it is asked for a law", "[program]") {
  const TempDir dir;
  std::string space = tiny_space;
  space.replace(space.find("1e-2"), 4, "1e5");
  dir.write("hot.toml", space);
  REQUIRE(run_program(dir, "sweep hot.toml --db h.db").code == 0);
  const auto run = run_program(dir, "fit emergence --db h.db");
  INFO(run.err);
  CHECK(run.code == 2);
  CHECK(run.err.find("4 diverged") != std::string::npos);
}

TEST_CASE("a file that is no store is refused with exit 5 and left as it is", "[program]") {
  const TempDir dir;
  const std::string text(8192, 'x');
  const auto file = dir.write("x.db", text);
  for (const std::string command : {"status", "fit emergence", "export", "recommend --flops 1e9"}) {
    const auto run = run_program(dir, command + " --db x.db");
    INFO(run.err);
    CHECK(run.code == 5);
  }
  CHECK(hylas::test::read_bytes(file) == text);
  CHECK(run_program(dir, "status --db none.db").code == 2);
  CHECK(files_in(dir) == std::set<std::string>{"x.db"});
}

TEST_CASE("a sweep leads through status, show, export and fit", "[program]") {
  const TempDir dir;
  dir.write("tiny.toml", tiny_space);
  const auto dry = run_program(dir, "sweep tiny.toml --dry-run --json");
  REQUIRE(dry.code == 0);
  CHECK(json::parse(dry.out)["trials"] == 4);
  CHECK(files_in(dir) == std::set<std::string>{"tiny.toml"});

  const auto sweep = run_program(dir, "sweep tiny.toml --db t.db --progress jsonl --json");
  INFO(sweep.err);
  REQUIRE(sweep.code == 0);
  CHECK(json::parse(sweep.out)["trained"] == 4);
  for (std::size_t start = 0; start < sweep.err.size();) {  // every line of progress is one JSON object
    const auto end = sweep.err.find('\n', start);
    REQUIRE(end != std::string::npos);
    CHECK(json::parse(sweep.err.substr(start, end - start)).is_object());
    start = end + 1;
  }
  CHECK(json::parse(run_program(dir, "status --db t.db --json").out)["trials"]["done"] == 4);

  const auto exported = json::parse(run_program(dir, "export --db t.db --json").out);
  REQUIRE(exported["trials"].size() == 4);
  const auto key = exported["trials"][0]["trial_key"].get<std::string>();
  const auto shown = json::parse(run_program(dir, "show " + key.substr(0, 10) + " --db t.db --json").out);
  CHECK(shown["trial_key"] == key);
  CHECK(shown["points"] == exported["trials"][0]["points"]);
  CHECK(shown["recipe"]["steps"] == 20);
  CHECK(run_program(dir, "show zz --db t.db").code == 2);

  const auto csv = run_program(dir, "export --db t.db --format csv -o points.csv");
  CHECK(csv.code == 0);
  CHECK(hylas::test::read_bytes(dir.path() / "points.csv").rfind("trial_key,design_id,layout,seed,", 0) == 0);

  const auto again = run_program(dir, "sweep tiny.toml --db t.db --json");
  CHECK(json::parse(again.out)["trained"] == 0);
  CHECK(json::parse(again.out)["already_finished"] == 4);

  std::string changed = tiny_space;
  changed.replace(changed.find("steps = 20"), 10, "steps = 30");
  dir.write("tiny.toml", changed);
  const auto refused = run_program(dir, "sweep tiny.toml --db t.db");
  CHECK(refused.code == 2);
  CHECK(refused.err.find("--extend") != std::string::npos);
}

TEST_CASE("fit loss recovers a noiseless law from a table and predicts what it held out", "[program]") {
  const TempDir dir;
  std::string csv = "params,tokens,loss\n";
  for (const double n : {1e7, 3e7, 1e8, 3e8, 1e9}) {
    for (const double d : {2e8, 1e9, 5e9, 2e10}) {
      const double loss = 1.69 + 406.4 * std::pow(n, -0.34) + 410.7 * std::pow(d, -0.28);
      csv += std::to_string(n) + "," + std::to_string(d) + "," + json(loss).dump() + "\n";
    }
  }
  dir.write("runs.csv", csv);
  const auto run =
      run_program(dir,
                  "fit loss --input runs.csv --columns N=params,D=tokens --bootstrap 0 --holdout largest:N "
                  "--predict N=1e10,D=1e11 --json");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto fit = json::parse(run.out);
  std::map<std::string, double> found;
  for (const auto& p : fit["parameters"]) found[p["name"]] = p["estimate"];
  // Noiseless: only the solver's own tolerance stands between the fit and the truth.
  CHECK(found.at("alpha") == Approx(0.34).epsilon(1e-5));
  CHECK(found.at("beta") == Approx(0.28).epsilon(1e-5));
  CHECK(found.at("E") == Approx(1.69).epsilon(1e-5));
  CHECK(fit["holdout"]["rows"] == 4);
  CHECK(fit["holdout"]["rmse_log"].get<double>() < 1e-5);
  CHECK(fit["prediction"]["loss"].get<double>() ==
        Approx(1.69 + 406.4 * std::pow(1e10, -0.34) + 410.7 * std::pow(1e11, -0.28)).epsilon(1e-4));
}

TEST_CASE("every command has help with an example, and the version prints", "[program]") {
  const TempDir dir;
  for (const std::string command : {"demo", "init", "describe", "enumerate", "sweep", "status", "show", "tasks",
                                    "results", "probe", "fit emergence", "fit loss", "fit list", "recommend", "export",
                                    "bench train", "bench kernels", "bench fit", "completion"}) {
    const auto run = run_program(dir, command + " --help");
    INFO(command);
    CHECK(run.code == 0);
    CHECK(run.out.find("Example:\n  ") != std::string::npos);
    CHECK(run.out.find("--json") != std::string::npos);
    CHECK(run.out.find("--threads") != std::string::npos);
  }
  CHECK(run_program(dir, "--version").out.rfind("hylas 0.", 0) == 0);
  const auto init = run_program(dir, "init space.toml");
  CHECK(init.code == 0);
  CHECK(run_program(dir, "enumerate space.toml").code == 0);
  CHECK(run_program(dir, "init space.toml").code == 2);  // never overwrites
}
