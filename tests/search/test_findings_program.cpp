// hylas findings as its users call it: trains, judges, reports; stops and goes on; judges a store again to the same
// bits.
#include <nlohmann/json.hpp>
#include <set>

#include "tests/catch.hpp"
#include "tests/search/program.hpp"

using hylas::test::read_bytes;
using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;

namespace {

std::string space(const std::string& name, const std::string& patterns, const std::string& more) {
  return "[study]\nname = \"" + name + "\"\n" + R"([shape]
d_model = 16
heads = 1
ffn = 16
context = 32
[space]
patterns = [)" +
         patterns + R"(]
[task]
name = "recall"
keys = 4
values = 4
repeat = 0.8
[recipe]
steps = 60
batch = 8
seeds = 2
schedule = { kind = "constant", warmup_steps = 5 }
eval = { sequences = 16, growth = 0.05, min_steps = 6, probe_sequences = 4 }
[tuning]
learning_rates = [1e-2, 2e-2]
seeds = [101]
steps = 20
[capability]
metric = "accuracy/far"
threshold = 0.3
stop_at = 2.0
[findings]
small_window = 4
cut_window = 4
simulations = 19
)" + more;
}

// `patterns` of the core: two windows, and full attention.
void write_spaces(const TempDir& dir) {
  std::filesystem::create_directory(dir / "spaces");
  dir.write("spaces/core.toml",
            space("core", R"("full*2", "swa:4 full", "swa:8 full", "swa:4 full/nope", "swa:8 full/nope")",
                  "part = \"core\"\nhold_out_windows = [8]\n"));
  dir.write("spaces/sinks.toml", space("sinks", R"("swa:4 full", "swa:4/sink full")", "part = \"sinks\"\n"));
}

}  // namespace

TEST_CASE("findings: trains, judges and reports; the same store gives the same report", "[program][findings]") {
  const TempDir dir;
  write_spaces(dir);
  const std::string command = "findings --spaces spaces --db f.db --device cpu --threads 2 ";
  const auto first = run_program(dir, command + "-o report --json");
  INFO(first.err);
  REQUIRE(first.code == 0);
  const auto document = json::parse(first.out);
  CHECK(document["parts"].size() == 2);
  CHECK(document["statements"].size() == 13);
  CHECK(document["registration"]["core"]["cut_window"] == 4);
  CHECK(document["findings"]["device"] == "cpu");
  // A trial stands once in a part; "swa:4 full" of the part sinks may be the core's own.
  std::set<std::string> keys;
  for (const auto& arm : document["arms"]) {
    for (const auto& seed : arm["seeds"]) {
      CHECK(keys.insert(arm["part"].get<std::string>() + seed["trial_key"].get<std::string>()).second);
    }
  }
  for (const char* file : {"findings.txt", "findings.json", "d50-by-window.svg", "curves.svg"}) {
    CHECK(std::filesystem::file_size(dir / "report" / file) > 100);
  }
  CHECK(json::parse(read_bytes(dir / "report" / "findings.json")) == document);
  const auto again = run_program(dir, command + "--json");  // nothing is trained again
  CHECK(again.code == 0);
  CHECK(again.out == first.out);
  std::filesystem::remove_all(dir / "f.db.checkpoints");  // the cuts are in the store
  const auto judged = run_program(dir, command + "--judge --json");
  INFO(judged.err);
  CHECK(judged.code == 0);
  CHECK(judged.out == first.out);
}

TEST_CASE("findings: a changed registration, a missing core and a missing store are refused", "[program][findings]") {
  const TempDir dir;
  write_spaces(dir);
  const auto none = run_program(dir, "findings --spaces spaces --db none.db --device cpu --judge");
  CHECK(none.code != 0);
  CHECK_FALSE(std::filesystem::exists(dir / "none.db"));
  const auto no_db = run_program(dir, "findings --spaces spaces --device cpu");
  CHECK(no_db.code == 2);
  CHECK(no_db.err.find("needs --db") != std::string::npos);
  std::filesystem::rename(dir / "spaces" / "core.toml", dir / "core.toml");
  const auto no_core = run_program(dir, "findings --spaces spaces --db f.db --device cpu");
  CHECK(no_core.code == 2);
  CHECK(no_core.err.find("no file of the part 'core'") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(dir / "f.db"));
  std::filesystem::rename(dir / "core.toml", dir / "spaces" / "core.toml");
  REQUIRE(run_program(dir, "findings --spaces spaces --only core --db f.db --device cpu").code == 0);
  std::string changed = read_bytes(dir / "spaces" / "core.toml");
  changed.replace(changed.find("cut_window = 4"), 14, "cut_window = 6");
  dir.write("spaces/core.toml", changed);
  const auto refused = run_program(dir, "findings --spaces spaces --only core --db f.db --device cpu");
  CHECK(refused.code != 0);
  CHECK(refused.err.find("core") != std::string::npos);
  const auto judged = run_program(dir, "findings --spaces spaces --only core --db f.db --device cpu --judge");
  CHECK(judged.code == 2);  // thresholds chosen after the runs
  CHECK(judged.err.find("was registered and trained with another space file") != std::string::npos);
}

TEST_CASE("findings: the plan says tokens and hours and stores nothing", "[program][findings]") {
  const TempDir dir;
  write_spaces(dir);
  const auto plan = run_program(dir, "findings --spaces spaces --only core --device cpu --plan --json");
  INFO(plan.err);
  REQUIRE(plan.code == 0);
  const auto document = json::parse(plan.out);
  REQUIRE(document.size() == 1);
  CHECK(document[0]["study"] == "core");
  CHECK(document[0]["tokens"] == 5 * 2 * 60 * 8 * 32 + 5 * 2 * 20 * 8 * 32);
  CHECK(document[0]["device_hours"].get<double>() > 0);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 3);  // spaces, stdout, stderr
}
