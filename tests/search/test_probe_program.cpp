// hylas probe as its users call it: the document and the tables of kept checkpoints, a table over trials, and messages
// for wrong input.
#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/search/program.hpp"

using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;

namespace {

constexpr auto space = R"(
[study]
name = "probed"
[shape]
d_model = 16
heads = 4
head_dim = 4
ffn = 16
context = 32
[space]
patterns = ["(swa:4 full)*1"]
[task]
name = "recall"
keys = 4
values = 4
repeat = 0.8
[recipe]
steps = 20
batch = 4
seeds = 2
learning_rate = 1e-2
[recipe.eval]
sequences = 8
growth = 0
min_steps = 10
probe_sequences = 3
)";

std::string first_key(const TempDir& dir, const std::string& db) {
  const auto exported = run_program(dir, "export --json --db " + db);
  REQUIRE(exported.code == 0);
  return json::parse(exported.out)["trials"][0]["trial_key"].get<std::string>();
}

}  // namespace

TEST_CASE("probe: every head of every kept checkpoint, cuts and ablation", "[program][probe]") {
  const TempDir dir;
  dir.write("p.toml", space);
  const auto swept = run_program(dir, "sweep p.toml --db p.db --keep-checkpoints");
  INFO(swept.err);
  REQUIRE(swept.code == 0);
  const std::string key = first_key(dir, "p.db");
  const std::string command = "probe --db p.db --trial " + key.substr(0, 12) + " --draws 3 --device cpu";
  const auto run = run_program(dir, command + " --json");
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(run.err.find("32 heads") != std::string::npos);  // too few to compare
  const auto document = json::parse(run.out)["trials"];
  REQUIRE(document.size() == 1);
  const auto& probe = document[0];
  CHECK(probe["trial_key"] == key);
  CHECK(probe["sequences"] == 8);
  CHECK(probe["warning"].is_string());
  REQUIRE(probe["checkpoints"].size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& one = probe["checkpoints"][i];
    CHECK(one["step"] == 10 * i);
    CHECK(one["tokens"] == 10 * i * 128);
    REQUIRE(one["heads"].size() == 8);
    CHECK(one["heads"][0]["mixer"] == "swa:4");
    CHECK(one["heads"][7]["layer"] == 1);
    CHECK(one["heads"][7]["head"] == 3);
    CHECK(one["heads"][7]["mixer"] == "full");
    REQUIRE(one["weight_distance"].size() == 2);
    CHECK((one["weight_distance"][0]["q"].get<double>() == 0) == (i == 2));
    for (const auto& head : one["heads"]) {
      for (const char* name : {"answer", "answer_far", "copy", "previous", "entropy"}) {
        if (head[name].is_null()) {  // the few sequences need not hold a far answer
          CHECK(std::string(name) == "answer_far");
          continue;
        }
        CHECK(head[name].get<double>() >= 0);
        CHECK(head[name].get<double>() <= 1 + 1e-6);
      }
    }
  }
  // What the sweep stored of its last evaluation are the scores of its first 3 sequences.
  const auto stored = json::parse(run_program(dir, "show " + key + " --db p.db --json").out);
  const auto few = json::parse(run_program(dir, command + " --sequences 3 --json").out)["trials"][0];
  int compared = 0;
  for (const auto& point : stored["points"]) {
    if (point["step"] != 20 || point["metric"] != "head/1.2/answer") continue;
    CHECK(point["value"] == few["checkpoints"][2]["heads"][6]["answer"]);
    CHECK(point["count"] == few["queries"]);
    ++compared;
  }
  CHECK(compared == 1);
  CHECK(stored["protocol"]["evaluation"]["probe"]["sequences"] == 3);
  CHECK(stored["protocol"]["metrics"].contains("head/L.H/copy"));

  REQUIRE(probe["top_heads"].size() == 1);  // an eighth of 8
  REQUIRE(probe["cuts"].size() == 3);
  CHECK(probe["cuts"][0]["layers"] == "full");
  CHECK(probe["cuts"][0]["window"] == 4);
  CHECK(probe["cuts"][0]["first_keys"] == 4);
  CHECK(probe["cuts"][1]["window"] == 4);
  CHECK(probe["cuts"][1]["first_keys"] == 0);
  CHECK(probe["cuts"][2]["layers"] == "swa");
  CHECK(probe["cuts"][2]["window"] == 2);
  CHECK(json::parse(run_program(dir, command + " --first-keys 0 --json").out)["trials"][0]["cuts"][0]["metrics"] ==
        probe["cuts"][1]["metrics"]);
  REQUIRE(probe["ablations"].size() == 5);
  CHECK(probe["ablations"][0]["off"][0] == probe["top_heads"]);
  CHECK(probe["ablations"][2]["heads"] == "random");
  CHECK(probe["ablations"][2]["metrics"]["loss"]["values"].size() == 3);
  CHECK(run_program(dir, command + " --json").out == run.out);  // the same draws, the same bits
  const auto wide = json::parse(run_program(dir, command + " --cut-window 32 --json").out)["trials"][0];
  CHECK(wide["cuts"][0]["metrics"] == wide["as_trained"]);
  CHECK(json::parse(run_program(dir, command + " --seed 5 --json").out)["trials"][0]["ablations"][2]["off"] !=
        probe["ablations"][2]["off"]);

  const auto text = run_program(dir, command);
  CHECK(text.code == 0);
  for (const char* part : {"8 heads in 2 attention layers", "over training (3 checkpoints)",
                           "full layers see 4 keys + first 4", "top 1 by answer mass", "1 random, none of both"}) {
    INFO(part);
    CHECK(text.out.find(part) != std::string::npos);
  }
  // With the last checkpoint alone the history is what the sweep stored; hylas show is not flooded with it.
  REQUIRE(run_program(dir, "sweep p.toml --db last.db").code == 0);
  const auto last = run_program(dir, "probe --db last.db --trial " + key + " --draws 1 --device cpu");
  CHECK(last.out.find("(3 evaluations, as the sweep stored them)") != std::string::npos);
  const auto shown = run_program(dir, "show " + key + " --db last.db");
  CHECK(shown.out.find("hylas probe") != std::string::npos);
  CHECK(shown.out.find("head/") == std::string::npos);

  const auto table = run_program(dir, "probe --db p.db --all --draws 2 --by copy --device cpu");
  CHECK(table.code == 0);
  CHECK(table.out.find("top in full") != std::string::npos);
  CHECK(std::count(table.out.begin(), table.out.end(), '\n') == 4);  // two trials
}

TEST_CASE("probe: what cannot be probed is refused with exit 2 and what to do", "[program][probe]") {
  const TempDir dir;
  dir.write("p.toml", space);
  REQUIRE(run_program(dir, "sweep p.toml --db none.db --no-final-checkpoints").code == 0);
  std::string fixed = space;
  const std::string recall = "name = \"recall\"\nkeys = 4\nvalues = 4\nrepeat = 0.8\n";
  fixed.replace(fixed.find(recall), recall.size(), "name = \"mad_memorization\"\n");
  const std::string probed = fixed;
  const std::string asked = "probe_sequences = 3\n";
  fixed.erase(fixed.find(asked), asked.size());
  dir.write("fixed.toml", fixed);
  dir.write("bad.toml", probed);
  const auto swept = run_program(dir, "sweep fixed.toml --db fixed.db");
  INFO(swept.err);
  REQUIRE(swept.code == 0);
  const std::string none = first_key(dir, "none.db"), memory = first_key(dir, "fixed.db");
  const std::vector<std::tuple<std::string, int, std::string>> cases = {
      {"probe --db none.db --trial " + none, 2, "--no-final-checkpoints"},
      {"probe --db none.db --all", 2, "--no-final-checkpoints"},
      {"probe --db none.db --trial zz", 2, "no trial key starts with 'zz'"},
      {"probe --db none.db", 2, "--trial"},
      {"probe --db none.db --all --trial " + none, 2, "either"},
      {"probe --db missing.db --all", 2, "missing.db"},
      {"probe --db fixed.db --trial " + memory, 2, "mad_memorization"},
      {"probe --db fixed.db --all --draws 0", 2, "--draws"},
      {"probe --db fixed.db --all --by entropy", 2, "--by"},
      {"probe --db fixed.db --all --cut-window 0", 2, "--cut-window"},
      {"probe --db fixed.db --all --device gpu", 2, "gpu"},
      {"probe --db fixed.db --all --study other", 2, "other"},
      {"sweep bad.toml --db x.db", 2, "recipe.eval.probe_sequences"},
      {"sweep p.toml --db x.db --keep-checkpoints --no-final-checkpoints", 2, "--no-final-checkpoints"}};
  for (const auto& [arguments, code, expected] : cases) {
    const auto run = run_program(dir, arguments);
    INFO("hylas " << arguments << "\n" << run.err);
    CHECK(run.code == code);
    CHECK(run.out.empty());
    CHECK(run.err.find(expected) != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists(dir / "x.db"));
}
