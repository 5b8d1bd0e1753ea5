// run_sweep in this process: ends of trials, resuming, interrupts, broken checkpoints, changed points, retries.
#include <sys/resource.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <set>

#include "search/run/checkpoint_files.hpp"
#include "search/run/progress.hpp"
#include "tests/catch.hpp"
#include "tests/search/test_run_support.hpp"

using namespace hylas;
using namespace hylas::search;
using namespace hylas::search::testing;

namespace {

// Lets this process map `more` bytes beside what it has mapped: its libraries (CUDA's are large), code and stacks.
bool limit_memory(rlim_t more) {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + more;
  const rlimit limit{bytes, bytes};
  return setrlimit(RLIMIT_AS, &limit) == 0;
}

}  // namespace

TEST_CASE("a sweep trains every trial to its end, with every evaluation, and a second call finds nothing to do",
          "[run]") {
  const TempDir dir;
  const Space space = tiny_space();
  const SweepSummary first = sweep(space, dir / "a.db");
  REQUIRE(first.exit_code() == 0);
  REQUIRE(first.trials.at(db::TrialState::done) == 6);
  REQUIRE(first.trained == 6);
  REQUIRE(first.tokens == 6 * 60 * 4 * 16);
  REQUIRE(first.profile.training > 0);
  REQUIRE(first.profile.training + first.profile.evaluation + first.profile.store + first.profile.checkpoints <=
          first.profile.total);
  const auto steps = model::evaluation_steps(space.trials[0].recipe.eval, 60);
  const db::Store store = db::Store::open(dir / "a.db", db::Access::read);
  for (const db::Trial& trial : trials_of(dir / "a.db")) {
    REQUIRE(trial.state == db::TrialState::done);
    REQUIRE(trial.step == 60);
    std::vector<std::int64_t> found;
    for (const db::Point& point : store.points(trial.id, "accuracy/far")) {
      found.push_back(point.step);
      REQUIRE(point.tokens == point.step * 4 * 16);
      REQUIRE(point.count > 0);
    }
    REQUIRE(found == steps);
    REQUIRE(store.points(trial.id, "loss").size() == steps.size());
    // The weights of the end are kept, and only those.
    REQUIRE(trial.checkpoint.has_value());
    REQUIRE(trial.checkpoint->step == 60);
    const auto folder = checkpoint_directory(dir / "a.db") / trial.trial_key;
    REQUIRE(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
    REQUIRE(std::filesystem::file_size(folder / "step-60.safetensors") ==
            static_cast<std::uintmax_t>(trial.checkpoint->bytes));
  }
  const auto bits = result_bits(dir / "a.db");
  const SweepSummary second = sweep(space, dir / "a.db");
  REQUIRE(second.already_finished == 6);
  REQUIRE(second.trained == 0);
  REQUIRE(second.tokens == 0);
  REQUIRE(result_bits(dir / "a.db") == bits);
}

TEST_CASE("the size of cohorts and the number of threads change no bit", "[run]") {
  const TempDir dir;
  const Space space = tiny_space();
  sweep(space, dir / "whole.db");
  SweepOptions options = quiet_options();
  options.max_cohort = 1;
  options.threads = 2;
  sweep(space, dir / "single.db", options);
  REQUIRE(first_difference(result_bits(dir / "whole.db"), result_bits(dir / "single.db")) == "");
  REQUIRE(result_bits(dir / "whole.db").size() > 100);
}

TEST_CASE("a trial stops once its capability held stop_at at two successive evaluations", "[run]") {
  const TempDir dir;
  const Space space = tiny_space(400, 0.08, 0.05);  // a low bar, so that it is met early by most
  const SweepSummary summary = sweep(space, dir / "a.db");
  REQUIRE(summary.trials.at(db::TrialState::stopped) >= 1);
  REQUIRE(summary.exit_code() == 0);
  const db::Store store = db::Store::open(dir / "a.db", db::Access::read);
  for (const db::Trial& trial : trials_of(dir / "a.db")) {
    const auto points = store.points(trial.id, "accuracy/far");
    std::size_t first_held = points.size() - 1;
    for (std::size_t i = 1; i < points.size(); ++i) {
      if (points[i - 1].value < 0.08 || points[i].value < 0.08) continue;
      first_held = i;
      break;
    }
    REQUIRE(first_held == points.size() - 1);  // the first time was the last evaluation
    if (trial.state == db::TrialState::stopped) REQUIRE(trial.step == points.back().step);
    if (trial.state == db::TrialState::done) REQUIRE(trial.step == 400);
  }
}

TEST_CASE("a trial whose loss is not finite is stored as diverged with its step; the others go on", "[run]") {
  const TempDir dir;
  Space space = tiny_space();
  sweep(space, dir / "good.db");
  space.trials[2].recipe.learning_rate = 1e6;
  space.trials[2].recipe.embed_std = 1e30;  // overflows in the first norms
  const SweepSummary summary = sweep(space, dir / "a.db");
  REQUIRE(summary.trials.at(db::TrialState::diverged) == 1);
  REQUIRE(summary.trials.at(db::TrialState::done) == 5);
  REQUIRE(summary.exit_code() == 0);
  const auto trials = trials_of(dir / "a.db");
  REQUIRE(trials[2].state == db::TrialState::diverged);
  REQUIRE(trials[2].step < 60);
  REQUIRE(trials[2].message.find("step " + std::to_string(trials[2].step)) != std::string::npos);
  // The neighbours' bits are those of a sweep without it.
  const auto good = result_bits(dir / "good.db");
  const std::set<std::string> expected(good.begin(), good.end());
  std::size_t same = 0;
  for (const std::string& row : result_bits(dir / "a.db")) {
    if (row.find(trials[2].trial_key) != std::string::npos) continue;
    REQUIRE(expected.contains(row));
    ++same;
  }
  REQUIRE(same == good.size() / 6 * 5);
}

TEST_CASE("interrupted at any moment, a sweep goes on to the same bits", "[run]") {
  const TempDir dir;
  const Space space = tiny_space(100);
  const auto whole_ms = static_cast<std::int64_t>(sweep(space, dir / "whole.db").seconds * 1000) + 1;
  std::atomic<bool> stop{false};
  SweepOptions options = quiet_options();
  options.checkpoint_seconds = -1;  // only the interrupt writes checkpoints
  options.interrupt = &stop;
  int interrupts = 0;
  for (std::int64_t round = 0; round < 50; ++round) {
    stop = false;
    std::thread timer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(whole_ms * (1 + 7 * round % 8) / 12));
      stop = true;
    });
    const SweepSummary summary = sweep(space, dir / "cut.db", options);
    timer.join();
    if (!summary.interrupted) break;
    REQUIRE(summary.exit_code() == 75);
    REQUIRE(summary.trials.count(db::TrialState::running) == 0);  // claims are given back
    ++interrupts;
  }
  stop = false;
  REQUIRE(sweep(space, dir / "cut.db", options).exit_code() == 0);
  REQUIRE(interrupts >= 1);
  REQUIRE(first_difference(result_bits(dir / "cut.db"), result_bits(dir / "whole.db")) == "");
}

TEST_CASE("a broken, lost or strayed checkpoint costs time, not results", "[run]") {
  const TempDir dir;
  const Space space = tiny_space();
  const auto whole_ms = static_cast<std::int64_t>(sweep(space, dir / "whole.db").seconds * 1000) + 1;
  std::atomic<bool> stop{true};
  SweepOptions options = quiet_options();
  // Interrupt after some steps: a first call that is stopped by a timer, until every trial of the first cohort has a
  // file.
  options.interrupt = &stop;
  options.checkpoint_seconds = 0;
  stop = false;
  std::thread timer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(whole_ms / 3));
    stop = true;
  });
  sweep(space, dir / "a.db", options);
  timer.join();
  std::size_t broken = 0;
  for (const db::Trial& trial : trials_of(dir / "a.db")) {
    if (!trial.checkpoint || db::is_finished(trial.state)) continue;
    const auto file = checkpoint_directory(dir / "a.db") / trial.checkpoint->path;
    REQUIRE(std::filesystem::exists(file));
    if (broken % 2 == 0) std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
    if (broken % 2 == 1) std::filesystem::remove(file);
    ++broken;
  }
  INFO(broken << " checkpoints were broken");
  REQUIRE(sweep(space, dir / "a.db").exit_code() == 0);
  REQUIRE(first_difference(result_bits(dir / "a.db"), result_bits(dir / "whole.db")) == "");
}

TEST_CASE("a stored point with other bits than the recomputed one fails its trial with a message; others go on",
          "[run]") {
  const TempDir dir;
  const Space space = tiny_space();
  sweep(space, dir / "a.db");
  const std::string key = trials_of(dir / "a.db")[1].trial_key;
  // As if another machine had begun trial 1 and died before its first checkpoint.
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open((dir / "a.db").c_str(), &db) == SQLITE_OK);
  const std::string change =
      "UPDATE trials SET state = 'queued' WHERE trial_key = '" + key +
      "'; DELETE FROM checkpoints WHERE trial = (SELECT id FROM trials WHERE trial_key = '" + key +
      "'); UPDATE points SET value = value + 1e-9 WHERE metric = 'loss' AND step = 10 AND trial ="
      " (SELECT id FROM trials WHERE trial_key = '" +
      key + "')";
  REQUIRE(sqlite3_exec(db, change.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  const SweepSummary summary = sweep(space, dir / "a.db");
  REQUIRE(summary.exit_code() == 3);
  REQUIRE(summary.trials.at(db::TrialState::failed) == 1);
  REQUIRE(trials_of(dir / "a.db")[1].message.find("step 10 loss: stored") != std::string::npos);
  // Failed trials are left alone, and run from their beginning when asked for.
  REQUIRE(sweep(space, dir / "a.db").trained == 0);
  SweepOptions retry = quiet_options();
  retry.retry_failed = true;
  REQUIRE(sweep(space, dir / "a.db", retry).exit_code() == 0);
  sweep(space, dir / "whole.db");
  REQUIRE(first_difference(result_bits(dir / "a.db"), result_bits(dir / "whole.db")) == "");
}

TEST_CASE("a trial that does not fit into memory fails alone, with a message", "[run]") {
  const TempDir dir;
  Space space = tiny_space(5);
  model::Shape huge = space.designs[0].shape;
  huge.d_model = 4096;
  huge.head_dim = 4096;
  huge.ffn = 16384;
  space.designs.push_back(model::Design::make("full*3", huge));  // several GB with its moments
  space.trials.push_back({space.designs.back(), space.trials[0].recipe});
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (!limit_memory(rlim_t{960} << 20)) _exit(97);
    try {
      _exit(sweep(space, dir / "a.db").exit_code());
    } catch (...) {
      _exit(99);
    }
  }
  REQUIRE(wait_for(child) == 3);
  const auto trials = trials_of(dir / "a.db");
  REQUIRE(trials.size() == 7);
  for (std::size_t i = 0; i < 6; ++i) REQUIRE(trials[i].state == db::TrialState::done);
  REQUIRE(trials[6].state == db::TrialState::failed);
  REQUIRE_FALSE(trials[6].message.empty());
}

TEST_CASE("a cohort that does not fit into memory is trained in halves", "[run][slow]") {
  const TempDir dir;
  Space space = tiny_space(2);
  model::Shape wide = space.designs[0].shape;
  wide.d_model = wide.head_dim = 512;
  wide.ffn = 4096;  // 22 M parameters: 0.26 GB a trial with its moments, so 4 do not fit into 1 GiB and 1 or 2 do
  space.designs = {model::Design::make("full*3", wide)};
  const model::TrialSpec first{space.designs[0], space.trials[0].recipe};
  space.trials.assign(4, first);
  for (std::size_t i = 0; i < 4; ++i) space.trials[i].recipe.seed = static_cast<std::int64_t>(i);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (!limit_memory(rlim_t{960} << 20)) _exit(97);
    try {
      SweepOptions options = quiet_options();
      options.keep_final_checkpoint = false;
      options.progress = Progress::jsonl;
      if (std::freopen((dir / "log").c_str(), "w", stderr) == nullptr) _exit(98);
      _exit(sweep(space, dir / "a.db", options).exit_code());
    } catch (...) {
      _exit(99);
    }
  }
  REQUIRE(wait_for(child) == 0);
  REQUIRE(read_text(dir / "log").find("trying them in smaller groups") != std::string::npos);
  for (const db::Trial& trial : trials_of(dir / "a.db")) REQUIRE(trial.epoch >= 2);  // claimed whole, then in a half
}

TEST_CASE("final weights are dropped on request, and a study refuses a changed space", "[run]") {
  const TempDir dir;
  SweepOptions options = quiet_options();
  options.keep_final_checkpoint = false;
  sweep(tiny_space(20), dir / "a.db", options);
  for (const db::Trial& trial : trials_of(dir / "a.db")) REQUIRE_FALSE(trial.checkpoint.has_value());
  const auto folder = checkpoint_directory(dir / "a.db");
  REQUIRE((!std::filesystem::exists(folder) || std::filesystem::is_empty(folder)));
  try {
    sweep(tiny_space(30), dir / "a.db", options);
    FAIL("a changed space was accepted");
  } catch (const db::StoreError& error) {
    REQUIRE(error.exit_code() == 2);
  }
  options.extend = true;
  REQUIRE(sweep(tiny_space(30), dir / "a.db", options).trained == 6);
  REQUIRE(trials_of(dir / "a.db").size() == 12);
}

TEST_CASE("what was registered cannot be extended, nor what has begun be registered", "[run]") {
  const TempDir dir;
  SweepOptions options = quiet_options();
  options.extend = true;
  const auto registered = [](Space space, double margin) {
    space.registration.emplace().short_margin = margin;
    return space;
  };
  sweep(registered(tiny_space(20), 0.02), dir / "a.db", options);
  REQUIRE_THROWS_AS(sweep(registered(tiny_space(20), 0.03), dir / "a.db", options), model::InputError);
  REQUIRE_THROWS_AS(sweep(registered(tiny_space(30), 0.02), dir / "a.db", options), model::InputError);
  REQUIRE_THROWS_AS(sweep(tiny_space(30), dir / "a.db", options), model::InputError);
  REQUIRE(trials_of(dir / "a.db").size() == 6);
  REQUIRE(sweep(registered(tiny_space(20), 0.02), dir / "a.db", options).already_finished == 6);
  sweep(tiny_space(20), dir / "b.db", options);
  REQUIRE_THROWS_AS(sweep(registered(tiny_space(20), 0.02), dir / "b.db", options), model::InputError);
}

TEST_CASE("a plan counts designs, trials, cohorts, tokens without a store", "[run]") {
  const Space space = tiny_space();
  const SweepPlan plan = plan_sweep(space);
  REQUIRE(plan.designs == 3);
  REQUIRE(plan.trials == 6);
  REQUIRE(plan.cohorts == 2);
  REQUIRE(plan.largest_cohort == 4);
  REQUIRE(plan.tokens == 6 * 60 * 64);
  REQUIRE(plan.evaluations ==
          static_cast<std::int64_t>(6 * model::evaluation_steps(space.trials[0].recipe.eval, 60).size()));
  REQUIRE(plan.flops > static_cast<double>(plan.tokens));
}

TEST_CASE("paths of checkpoints that lead out of their directory are refused", "[run]") {
  const CheckpointFiles files("/some/where");
  REQUIRE(files.find("k/step-1.safetensors") == "/some/where/k/step-1.safetensors");
  for (const char* path : {"", "/etc/passwd", "../x", "k/../../x"}) REQUIRE(files.find(path).empty());
}

TEST_CASE("progress as JSON lines names what each commit made durable; durations read well", "[run]") {
  const TempDir dir;
  std::FILE* stream = std::fopen((dir / "log").c_str(), "w");
  REQUIRE(stream != nullptr);
  Reporter reporter(Progress::jsonl, stream);
  reporter.start(2, 0, 1e9);
  reporter.commit({10, 640, {"k1", "k2"}, {"k1"}, {{"k2", "stopped"}}});
  reporter.warn("not \xff utf-8 \"quoted\"\n");
  reporter.end("finished");
  std::fclose(stream);
  std::ifstream lines(dir / "log");
  std::vector<nlohmann::json> events;
  for (std::string line; std::getline(lines, line);) events.push_back(nlohmann::json::parse(line));
  REQUIRE(events.size() == 4);
  REQUIRE(events[1]["event"] == "commit");
  REQUIRE(events[1]["trials"] == nlohmann::json{"k1", "k2"});
  REQUIRE(events[1]["finished"]["k2"] == "stopped");
  REQUIRE(duration_text(3725) == "1h02m");
  REQUIRE(duration_text(80) == "1m20s");
  REQUIRE(duration_text(0.6) == "1s");
}
