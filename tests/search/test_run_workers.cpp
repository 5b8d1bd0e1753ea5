// Sweeps of several workers (two on the CPU): the same bits as one worker, interrupted or not; one that throws ends the
// sweep with everything given back. Which devices a word means.
#include <atomic>

#include "kernels/cuda/runtime.hpp"
#include "search/run/devices.hpp"
#include "search/run/progress.hpp"
#include "tests/catch.hpp"
#include "tests/search/test_run_support.hpp"

using namespace hylas;
using namespace hylas::search;
using namespace hylas::search::testing;

namespace {

SweepOptions two_workers() {
  SweepOptions options = quiet_options();
  options.devices = {"cpu", "cpu"};
  return options;
}

// Runs that recorded evaluations.
std::int64_t recording_runs(const std::filesystem::path& file) {
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open(file.c_str(), &raw) == SQLITE_OK);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> db(raw, sqlite3_close);
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(raw, "SELECT count(DISTINCT run) FROM evaluations", -1, &statement, nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
  const std::int64_t count = sqlite3_column_int64(statement, 0);
  sqlite3_finalize(statement);
  return count;
}

}  // namespace

TEST_CASE("two workers share the trials of a sweep and store the bits of one", "[run][workers]") {
  const TempDir dir;
  Space space = tiny_space(300);
  space.trials.resize(4);  // of one cohort key: each worker is to leave the other its half
  sweep(space, dir / "one.db");
  const SweepSummary summary = sweep(space, dir / "two.db", two_workers());
  REQUIRE(summary.exit_code() == 0);
  REQUIRE(summary.trials.at(db::TrialState::done) == 4);
  REQUIRE(summary.trained == 4);
  REQUIRE(summary.tokens == 4 * 300 * 4 * 16);
  REQUIRE(summary.profile.training > 0);
  REQUIRE(summary.profile.training + summary.profile.evaluation + summary.profile.store + summary.profile.checkpoints <=
          summary.profile.total);
  REQUIRE(summary.profile.total >= summary.seconds);
  REQUIRE(first_difference(result_bits(dir / "two.db"), result_bits(dir / "one.db")) == "");
  for (const db::Trial& trial : trials_of(dir / "two.db")) REQUIRE(trial.epoch == 1);  // each was claimed once
  REQUIRE(recording_runs(dir / "two.db") == 2);
  const db::Store store = db::Store::open(dir / "two.db", db::Access::read);
  REQUIRE(store.runs().size() == 2);
  for (const db::Run& run : store.runs()) REQUIRE(run.device == "cpu");
}

TEST_CASE("two workers, interrupted at any moment, go on to the same bits", "[run][workers]") {
  const TempDir dir;
  const Space space = tiny_space(200);
  const auto whole_ms = static_cast<std::int64_t>(sweep(space, dir / "whole.db").seconds * 1000) + 1;
  std::atomic<bool> stop{false};
  SweepOptions options = two_workers();
  options.checkpoint_seconds = -1;  // only the interrupt writes checkpoints
  options.interrupt = &stop;
  int interrupts = 0;
  for (std::int64_t round = 0; round < 50; ++round) {
    stop = false;
    std::thread timer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(whole_ms * (1 + 5 * round % 8) / 12));
      stop = true;
    });
    const SweepSummary summary = sweep(space, dir / "cut.db", options);
    timer.join();
    REQUIRE(summary.trials.count(db::TrialState::running) == 0);  // claims are given back
    if (!summary.interrupted) break;
    REQUIRE(summary.exit_code() == 75);
    ++interrupts;
  }
  options.interrupt = nullptr;
  REQUIRE(sweep(space, dir / "cut.db", options).exit_code() == 0);
  REQUIRE(interrupts >= 1);
  REQUIRE(first_difference(result_bits(dir / "cut.db"), result_bits(dir / "whole.db")) == "");
}

TEST_CASE("a worker that throws ends the sweep: the other keeps what it has and gives back its trials",
          "[run][workers]") {
  const TempDir dir;
  Space space = tiny_space(1'000'000);  // hours
  space.trials.resize(3);
  space.trials[1].recipe.steps = 400;
  space.trials[2].recipe.precision = "bf16";  // which no CPU can train
  REQUIRE_THROWS_AS(sweep(space, dir / "a.db", two_workers()), model::InputError);
  const auto trials = trials_of(dir / "a.db");
  REQUIRE(trials[0].state == db::TrialState::queued);
  REQUIRE(trials[0].checkpoint.has_value());
  REQUIRE(trials[1].state == db::TrialState::done);
  REQUIRE(trials[2].state == db::TrialState::queued);
}

TEST_CASE("a word for a device means its workers, or says what is wrong", "[run][workers]") {
  REQUIRE(worker_devices("cpu") == std::vector<std::string>{"cpu"});
  REQUIRE(device_text("cpu") == "cpu");
  REQUIRE(device_works("cpu"));
  REQUIRE_THROWS_AS(worker_devices("gpu"), model::InputError);
  REQUIRE_THROWS_AS(worker_devices("cuda:99"), model::DeviceError);
  if (kernels::cuda::gpu_count() > 0) {
    REQUIRE(worker_devices("auto").front() == "cuda:0");
    return;
  }
  REQUIRE(worker_devices("auto") == std::vector<std::string>{"cpu"});
  REQUIRE_THROWS_AS(worker_devices("cuda"), model::DeviceError);
  model::TrialSpec trial = tiny_space().trials[0];
  check_trainable_on(trial, "auto", "cpu");
  trial.recipe.precision = "bf16";
  try {
    check_trainable_on(trial, "auto", "cpu");
    FAIL("bf16 was accepted without a GPU");
  } catch (const model::InputError& error) {
    REQUIRE(std::string(error.what()).find("needs a GPU") != std::string::npos);
  }
}

TEST_CASE("a worker's plan is said once, and not among the JSON lines", "[run][workers]") {
  const TempDir dir;
  for (const Progress mode : {Progress::text, Progress::jsonl}) {
    std::FILE* stream = std::fopen((dir / "log").c_str(), "w");
    REQUIRE(stream != nullptr);
    Reporter reporter(mode, stream);
    reporter.plan(0, "cuda:0 planned");
    reporter.plan(0, "cuda:0 planned");
    reporter.plan(1, "cuda:1 planned");
    std::fclose(stream);
    const std::string expected = mode == Progress::text ? "sweep: cuda:0 planned\nsweep: cuda:1 planned\n" : "";
    REQUIRE(read_text(dir / "log") == expected);
  }
}
