// sweep --keep-checkpoints: the weights of every evaluation stay, through interruptions, and change no result.
#include <atomic>
#include <set>
#include <thread>

#include "search/run/checkpoint_files.hpp"
#include "tests/catch.hpp"
#include "tests/search/test_run_support.hpp"

namespace hylas::search::testing {
namespace {

std::set<std::int64_t> steps_kept(const std::filesystem::path& file, const std::string& key) {
  std::set<std::int64_t> steps;
  for (const KeptCheckpoint& one : CheckpointFiles(checkpoint_directory(file)).list(key)) {
    CHECK(std::filesystem::file_size(one.file) > 0);
    steps.insert(one.step);
  }
  return steps;
}

}  // namespace

TEST_CASE("kept checkpoints are those of all evaluations, and the points are the same bits", "[run]") {
  const TempDir dir;
  const Space space = tiny_space(40);
  const auto evaluations = model::evaluation_steps(space.trials[0].recipe.eval, 40);
  const std::set<std::int64_t> expected(evaluations.begin(), evaluations.end());
  sweep(space, dir / "plain.db");
  SweepOptions options = quiet_options();
  options.keep_checkpoints = true;
  options.checkpoint_seconds = 0;  // those between evaluations come and go
  sweep(space, dir / "kept.db", options);
  CHECK(first_difference(result_bits(dir / "kept.db"), result_bits(dir / "plain.db")) == "");
  for (const db::Trial& trial : trials_of(dir / "kept.db")) {
    CHECK(steps_kept(dir / "kept.db", trial.trial_key) == expected);
    REQUIRE(trial.checkpoint.has_value());
    CHECK(trial.checkpoint->step == 40);
    CHECK(steps_kept(dir / "plain.db", trial.trial_key) == std::set<std::int64_t>{40});
  }
}

TEST_CASE("an interrupted sweep goes on with kept checkpoints, to all of them and the same bits", "[run]") {
  const TempDir dir;
  const Space space = tiny_space(100);
  const auto whole_ms = static_cast<std::int64_t>(sweep(space, dir / "whole.db").seconds * 1000) + 1;
  std::atomic<bool> stop{false};
  SweepOptions options = quiet_options();
  options.keep_checkpoints = true;
  options.checkpoint_seconds = 0;
  options.interrupt = &stop;
  int interrupts = 0;
  for (int round = 0; round < 3; ++round) {
    stop = false;
    std::thread timer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(whole_ms / 4));
      stop = true;
    });
    interrupts += sweep(space, dir / "cut.db", options).interrupted ? 1 : 0;
    timer.join();
  }
  stop = false;
  REQUIRE(interrupts >= 1);
  REQUIRE(sweep(space, dir / "cut.db", options).exit_code() == 0);
  CHECK(first_difference(result_bits(dir / "cut.db"), result_bits(dir / "whole.db")) == "");
  const auto evaluations = model::evaluation_steps(space.trials[0].recipe.eval, 100);
  for (const db::Trial& trial : trials_of(dir / "cut.db")) {
    CHECK(steps_kept(dir / "cut.db", trial.trial_key) ==
          std::set<std::int64_t>(evaluations.begin(), evaluations.end()));
  }
}

TEST_CASE("checkpoint files are found by their names, and removed but for those to be kept", "[run]") {
  const TempDir dir;
  const CheckpointFiles files(dir.path());
  std::filesystem::create_directory(dir / "k");
  for (const char* name : {"step-10.safetensors", "step-9.safetensors", "step-100.safetensors", "step-x.safetensors",
                           "step-7.safetensors.12-1.tmp", "other"}) {
    dir.write(std::string("k/") + name, "x");
  }
  const auto steps = [&] {
    std::vector<std::int64_t> found;
    for (const KeptCheckpoint& one : files.list("k")) found.push_back(one.step);
    return found;
  };
  CHECK(steps() == std::vector<std::int64_t>{9, 10, 100});
  CHECK(files.list("nobody").empty());
  const std::vector<std::int64_t> kept = {9, 50};
  files.remove_others("k", "k/step-100.safetensors", kept);
  CHECK(steps() == std::vector<std::int64_t>{9, 100});
  CHECK(std::filesystem::exists(dir / "k/other"));
  CHECK_FALSE(std::filesystem::exists(dir / "k/step-7.safetensors.12-1.tmp"));  // left by a killed process
  files.remove_others("k", "k/step-100.safetensors");
  CHECK(steps() == std::vector<std::int64_t>{100});
  files.remove_others("k", "");
  CHECK(steps().empty());
}

}  // namespace hylas::search::testing
