// Sweeps on a GPU: the same bits a second time, resumed, in smaller cohorts and beside a trial that diverges; what does
// not fit into memory is halved. Each case skips without a GPU.
#include <atomic>
#include <set>

#include "kernels/cuda/runtime.hpp"
#include "model/cohort.hpp"
#include "search/run/devices.hpp"
#include "tests/catch.hpp"
#include "tests/search/test_run_support.hpp"

using namespace hylas;
using namespace hylas::search;
using namespace hylas::search::testing;

namespace {

bool gpu_here() {
  if (kernels::cuda::gpu_count() > 0) return true;
  WARN("skipped: " << kernels::cuda::gpu_absence());
  return false;
}

// Two layouts of one cohort key x 3 seeds, bf16, of a size that the tensor cores take.
Space gpu_space(int steps = 120) {
  return parse_space(
      "[study]\nname = \"tiny\"\n[shape]\nd_model = 64\nheads = 2\nffn = 96\ncontext = 64\nvocab = 64\n"
      "[space]\npatterns = [\"(swa:{window} full)*1\"]\n[axes]\nwindow = [4, 16]\n"
      "[task]\nname = \"recall\"\nkeys = 16\nvalues = 16\n[recipe]\nprecision = \"bf16\"\nbatch = 8\nseeds = 3\nsteps "
      "= " +
          std::to_string(steps) +
          "\nlearning_rate = 4e-3\nschedule = { kind = \"constant\", warmup_steps = 5 }\n"
          "eval = { sequences = 16, growth = 0.08, min_steps = 5 }\n",
      "gpu.toml");
}

SweepOptions gpu_options() {
  SweepOptions options = quiet_options();
  options.devices = {"cuda:0"};
  return options;
}

// Rows of trials other than `key`.
std::vector<std::string> without(const std::vector<std::string>& rows, const std::string& key) {
  std::vector<std::string> rest;
  for (const std::string& row : rows) {
    if (row.find(key) == std::string::npos) rest.push_back(row);
  }
  return rest;
}

}  // namespace

TEST_CASE("A sweep on a GPU finds the same bits again", "[gpu][run]") {
  if (!gpu_here()) return;
  const TempDir dir;
  const Space space = gpu_space();
  REQUIRE(sweep(space, dir / "a.db", gpu_options()).exit_code() == 0);
  SweepOptions options = quiet_options();
  options.device = "auto";
  const SweepSummary again = sweep(space, dir / "b.db", options);
  REQUIRE(again.trials.at(db::TrialState::done) == 6);
  REQUIRE(again.tokens == 6 * 120 * 8 * 64);
  REQUIRE(first_difference(result_bits(dir / "b.db"), result_bits(dir / "a.db")) == "");
  const db::Store store = db::Store::open(dir / "b.db", db::Access::read);
  REQUIRE(store.runs().front().device == device_text("cuda:0"));
}

TEST_CASE("A sweep on a GPU, interrupted at any moment, goes on to the same bits", "[gpu][run]") {
  if (!gpu_here()) return;
  const TempDir dir;
  const Space space = gpu_space(400);
  sweep(space, dir / "whole.db", gpu_options());
  const auto whole_ms = static_cast<std::int64_t>(sweep(space, dir / "again.db", gpu_options()).seconds * 1000) + 1;
  std::atomic<bool> stop{false};
  SweepOptions options = gpu_options();
  options.checkpoint_seconds = -1;  // only the interrupt writes checkpoints
  options.interrupt = &stop;
  int interrupts = 0;
  for (std::int64_t round = 0; round < 12; ++round) {
    stop = false;
    std::thread timer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(whole_ms * (3 + 5 * round % 8) / 12));
      stop = true;
    });
    const SweepSummary summary = sweep(space, dir / "cut.db", options);
    timer.join();
    REQUIRE(summary.trials.count(db::TrialState::running) == 0);
    if (!summary.interrupted) break;
    ++interrupts;
  }
  options.interrupt = nullptr;
  REQUIRE(sweep(space, dir / "cut.db", options).exit_code() == 0);
  REQUIRE(interrupts >= 1);
  REQUIRE(first_difference(result_bits(dir / "cut.db"), result_bits(dir / "whole.db")) == "");
}

TEST_CASE("A trial that diverges on a GPU is stored as diverged and changes no bit of the others", "[gpu][run]") {
  if (!gpu_here()) return;
  const TempDir dir;
  Space space = gpu_space();
  sweep(space, dir / "good.db", gpu_options());
  const std::string replaced = trials_of(dir / "good.db")[2].trial_key;
  space.trials[2].recipe.learning_rate = 1e6;
  space.trials[2].recipe.embed_std = 1e30;  // overflows in the first norms
  const SweepSummary summary = sweep(space, dir / "a.db", gpu_options());
  REQUIRE(summary.trials.at(db::TrialState::diverged) == 1);
  REQUIRE(summary.trials.at(db::TrialState::done) == 5);
  REQUIRE(summary.exit_code() == 0);
  const auto trials = trials_of(dir / "a.db");
  REQUIRE(trials[2].state == db::TrialState::diverged);
  REQUIRE(trials[2].step < 120);
  REQUIRE(first_difference(without(result_bits(dir / "a.db"), trials[2].trial_key),
                           without(result_bits(dir / "good.db"), replaced)) == "");
}

TEST_CASE("Little GPU memory makes smaller cohorts of the same bits", "[gpu][run]") {
  if (!gpu_here()) return;
  const TempDir dir;
  const Space space = gpu_space();
  sweep(space, dir / "whole.db", gpu_options());
  const auto fitting = [&](std::size_t bytes) {
    return model::trials_that_fit(space.trials[0], {.device = "cuda:0", .gpu_bytes = bytes});
  };
  SweepOptions options = gpu_options();
  options.gpu_bytes = std::size_t{1} << 20;
  while (fitting(options.gpu_bytes) < 2) options.gpu_bytes += std::size_t{1} << 18;
  REQUIRE(fitting(options.gpu_bytes) < 6);
  REQUIRE(sweep(space, dir / "small.db", options).exit_code() == 0);
  REQUIRE(first_difference(result_bits(dir / "small.db"), result_bits(dir / "whole.db")) == "");
  for (const db::Trial& trial : trials_of(dir / "small.db")) REQUIRE(trial.epoch == 1);  // none was tried in vain
}

TEST_CASE("Trials that fit not even alone fail one by one, and say that it was memory", "[gpu][run]") {
  if (!gpu_here()) return;
  const TempDir dir;
  Space space = gpu_space(10);
  space.trials.resize(2);
  SweepOptions options = gpu_options();
  options.gpu_bytes = std::size_t{1} << 16;
  const SweepSummary summary = sweep(space, dir / "a.db", options);
  REQUIRE(summary.exit_code() == 3);
  for (const db::Trial& trial : trials_of(dir / "a.db")) {
    REQUIRE(trial.state == db::TrialState::failed);
    REQUIRE(trial.message.find("memory") != std::string::npos);
  }
  options.gpu_bytes = 0;
  options.retry_failed = true;
  REQUIRE(sweep(space, dir / "a.db", options).exit_code() == 0);
}
