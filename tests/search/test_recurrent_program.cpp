// Recurrent mixers through the program: described, enumerated, swept, resumed, probed.
#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/search/program.hpp"
#include "tests/search/test_run_support.hpp"

using namespace hylas::search;
using namespace hylas::search::testing;
using hylas::test::run_program;
using nlohmann::json;

namespace {

constexpr auto recurrent_space = R"(
[study]
name = "tiny"
[shape]
d_model = 32
heads = 1
ffn = 16
context = 24
[space]
patterns = ["({m} full)*1", "{m}*2", "swa:4 gdn/nope"]
[axes]
m = ["gdn", "mamba2", "lightning"]
[task]
name = "recall"
keys = 4
values = 4
[recipe]
steps = 12
batch = 4
seeds = 1
learning_rate = 1e-2
[recipe.eval]
sequences = 6
probe_sequences = 4
)";

}  // namespace

TEST_CASE("recurrent mixers are enumerated, swept and shown by the program, and heads probed where there are some",
          "[program][mixer]") {
  const TempDir dir;
  dir.write("r.toml", recurrent_space);
  const auto listed = run_program(dir, "enumerate r.toml --json");
  INFO(listed.err);
  REQUIRE(listed.code == 0);
  CHECK(json::parse(listed.out)["designs"].size() == 7);
  const auto swept = run_program(dir, "sweep r.toml --db r.db --device cpu --threads 2 --keep-checkpoints");
  INFO(swept.err);
  REQUIRE(swept.code == 0);
  const auto trials = trials_of(dir / "r.db");
  REQUIRE(trials.size() == 7);
  for (const auto& trial : trials) {
    INFO(trial.layout);
    CHECK(trial.state == hylas::db::TrialState::done);
    const auto probed = run_program(dir, "probe --db r.db --draws 1 --device cpu --json --trial " + trial.trial_key);
    const bool attention =
        trial.layout.find("full") != std::string::npos || trial.layout.find("swa") != std::string::npos;
    CHECK(probed.code == (attention ? 0 : 2));
    if (!attention) CHECK(probed.err.find("no attention layer") != std::string::npos);
  }
  const auto all =
      run_program(dir, "probe --db r.db --all --draws 1 --device cpu");  // the others, and how many are not
  INFO(all.err);
  CHECK(all.code == 0);
  CHECK(all.err.find("without an attention layer are left out") != std::string::npos);
}

TEST_CASE("a sweep of recurrent mixers, killed and run again, gives the bits of an undisturbed one", "[run][mixer]") {
  const TempDir dir;
  std::string text = recurrent_space;
  text.replace(text.find("steps = 12"), 10, "steps = 60");
  const Space space = parse_space(text, "r.toml");
  REQUIRE(sweep(space, dir / "whole.db").exit_code() == 0);
  SweepOptions options = quiet_options();
  options.checkpoint_seconds = 0;
  int kills = 0;
  for (int i = 0; i < 200; ++i) {
    const pid_t child = fork_sweep(space, dir / "killed.db", dir / "log", options);
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 10 * i));
    kill(child, SIGKILL);
    const int code = wait_for(child);
    if (code == 0) break;
    REQUIRE(code == 1000 + SIGKILL);
    ++kills;
  }
  CHECK(kills >= 1);
  const std::string difference = first_difference(result_bits(dir / "killed.db"), result_bits(dir / "whole.db"));
  INFO(difference);
  CHECK(difference.empty());
}
