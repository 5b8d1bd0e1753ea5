// Killed and signalled sweeps (RELIABILITY 1-4): nothing acknowledged is lost, and the results are those of an
// undisturbed sweep, bit for bit. The sweep runs in a forked child; the [slow] case does the same with the hylas
// program itself.
#include <fcntl.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <utility>

#include "tests/catch.hpp"
#include "tests/search/test_run_support.hpp"

using namespace hylas;
using namespace hylas::search;
using namespace hylas::search::testing;

namespace {

// Every (trial, step) that a complete line of the log says was committed.
std::set<std::pair<std::string, std::int64_t>> acknowledged(const std::filesystem::path& log) {
  std::set<std::pair<std::string, std::int64_t>> found;
  const std::string text = read_text(log);
  for (std::size_t start = 0, end = text.find('\n'); end != std::string::npos;
       start = end + 1, end = text.find('\n', start)) {
    const auto event = nlohmann::json::parse(text.substr(start, end - start), nullptr, false);
    if (!event.is_object() || event.value("event", "") != "commit") continue;
    for (const std::string key : event["trials"]) found.emplace(key, event["step"]);
  }
  return found;
}

std::set<std::pair<std::string, std::int64_t>> stored(const std::filesystem::path& file) {
  const db::Store store = db::Store::open(file, db::Access::read);  // checks every page
  std::set<std::pair<std::string, std::int64_t>> found;
  for (const db::Trial& trial : store.trials(store.study("tiny").id)) {
    for (const db::Point& point : store.points(trial.id, "loss")) found.emplace(trial.trial_key, point.step);
  }
  return found;
}

// An undisturbed sweep by `start`; returns how long it took, in milliseconds.
template <class Start>
int undisturbed(const TempDir& dir, const Start& start) {
  const auto begin = std::chrono::steady_clock::now();
  const int code = wait_for(start(dir / "whole.db", dir / "log"));
  INFO(read_text(dir / "log"));
  REQUIRE(code == 0);
  const auto taken = std::chrono::steady_clock::now() - begin;
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(taken).count()) + 1;
}

// Starts sweeps with `start` and kills each after a random part of `whole_ms` (later ones live longer, so that one ends
// at last); then compares with the undisturbed sweep. Returns the number of kills.
template <class Start>
int kill_until_done(const TempDir& dir, const Start& start, unsigned seed, int whole_ms) {
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const auto file = dir / ("killed-" + std::to_string(seed) + ".db");
  const auto log = dir / ("log-" + std::to_string(seed));
  int code = -1;
  int kills = 0;
  for (int round = 0; round < 100 && code != 0; ++round) {
    const pid_t child = start(file, log);
    REQUIRE(child > 0);
    const int life = static_cast<int>(random() % static_cast<unsigned>(whole_ms)) + round * whole_ms / 20;
    std::this_thread::sleep_for(std::chrono::milliseconds(life));
    kill(child, SIGKILL);
    code = wait_for(child);
    if (code == 0) break;
    INFO(read_text(log));
    REQUIRE(code == 1000 + SIGKILL);
    ++kills;
    const auto promised = acknowledged(log);
    if (promised.empty()) continue;  // the study may not even be there
    const auto rows = stored(file);
    for (const auto& point : promised) REQUIRE(rows.contains(point));
  }
  REQUIRE(code == 0);
  REQUIRE(first_difference(result_bits(file), result_bits(dir / "whole.db")) == "");
  for (const db::Trial& trial : trials_of(file)) REQUIRE(trial.state == db::TrialState::done);
  return kills;
}

SweepOptions killed_options() {
  SweepOptions options = quiet_options();
  options.checkpoint_seconds = 0;  // as many checkpoints as possible, so that kills hit them too
  options.progress = Progress::jsonl;
  return options;
}

pid_t spawn_program(const std::vector<std::string>& arguments, const std::filesystem::path& log) {
  const pid_t child = fork();
  if (child != 0) return child;
  const int out = open("/dev/null", O_WRONLY);
  const int err = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(98);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(98);
}

void kill_the_program(int wanted_kills, unsigned seed) {
  const TempDir dir;
  std::ofstream(dir / "tiny.toml") << tiny_space_text(100);
  const std::string program = std::string(HYLAS_BINARY_DIR) + "/hylas";
  auto start = [&](const std::filesystem::path& file, const std::filesystem::path& log) {
    return spawn_program({program, "sweep", (dir / "tiny.toml").string(), "--db", file.string(), "--progress", "jsonl",
                          "--threads", "1", "--checkpoint-seconds", "0", "--device", "cpu"},
                         log);
  };
  const int whole_ms = undisturbed(dir, start);
  int kills = 0;
  for (unsigned i = 0; kills < wanted_kills; ++i) kills += kill_until_done(dir, start, seed + i, whole_ms);
}

}  // namespace

TEST_CASE("kill -9 at random moments: the points are those of an undisturbed sweep, nothing acknowledged is lost",
          "[faults]") {
  const TempDir dir;
  const Space space = tiny_space(100);
  auto start = [&](const auto& file, const auto& log) { return fork_sweep(space, file, log, killed_options()); };
  const int whole_ms = undisturbed(dir, start);
  int kills = 0;
  for (unsigned seed = 1; kills < 3; ++seed) kills += kill_until_done(dir, start, seed, whole_ms);
}

TEST_CASE("kill -9 of the hylas program, then the same command again", "[faults]") {
  kill_the_program(1, 11);
}

TEST_CASE("kill -9 of the hylas program, 200 times and more", "[faults][slow]") {
  kill_the_program(40, 1000);
}

TEST_CASE("SIGINT and SIGTERM: checkpoint, exit 75 within 5 s, resume to the same bits", "[faults]") {
  const TempDir dir;
  const Space space = tiny_space(3000);
  // Twice in a row is once: timeout(1) sends its signal to the process and to the process group.
  for (const auto& [signal, times] : {std::pair{SIGINT, 1}, {SIGTERM, 1}, {SIGINT, 2}, {SIGTERM, 2}}) {
    const auto file = dir / fmt::format("s{}-{}.db", signal, times);
    SweepOptions options = quiet_options();
    options.progress = Progress::jsonl;
    options.checkpoint_seconds = -1;
    const pid_t child = fork_sweep(space, file, dir / "log", options);
    REQUIRE(child > 0);
    // Once the first evaluations are in, training is under way.
    for (int i = 0; i < 1000 && acknowledged(dir / "log").size() < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) {
      kill(child, signal);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // so that the second is not merged with the first
    }
    REQUIRE(wait_for(child) == 75);
    REQUIRE(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
    std::size_t checkpoints = 0;
    for (const db::Trial& trial : trials_of(file)) {
      REQUIRE(trial.state != db::TrialState::running);
      checkpoints += trial.checkpoint.has_value() ? 1 : 0;
    }
    REQUIRE(checkpoints >= 2);
    std::filesystem::remove(dir / "log");
  }
}

TEST_CASE("a second signal ends the sweep at once, and the store is whole", "[faults]") {
  const TempDir dir;
  const Space space = tiny_space(3000);
  SweepOptions options = quiet_options();
  options.progress = Progress::jsonl;
  const pid_t child = fork_sweep(space, dir / "a.db", dir / "log", options);
  REQUIRE(child > 0);
  for (int i = 0; i < 1000 && acknowledged(dir / "log").empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  kill(child, SIGSTOP);  // both signals wait for it, so that the second arrives before the first was acted on
  kill(child, SIGINT);
  kill(child, SIGTERM);
  kill(child, SIGCONT);
  REQUIRE(wait_for(child) == 75);
  for (const auto& point : acknowledged(dir / "log")) REQUIRE(stored(dir / "a.db").contains(point));
}

TEST_CASE("two sweeps of one store share the work, and the bits are the same", "[faults]") {
  const TempDir dir;
  const Space space = tiny_space(100);
  sweep(space, dir / "whole.db");
  SweepOptions options = quiet_options();
  options.max_cohort = 1;
  const pid_t first = fork_sweep(space, dir / "a.db", dir / "log", options);
  const pid_t second = fork_sweep(space, dir / "a.db", dir / "log", options);
  const int codes[] = {wait_for(first), wait_for(second)};
  INFO(read_text(dir / "log"));
  REQUIRE(codes[0] == 0);
  REQUIRE(codes[1] == 0);
  REQUIRE(first_difference(result_bits(dir / "a.db"), result_bits(dir / "whole.db")) == "");
  for (const db::Trial& trial : trials_of(dir / "a.db")) REQUIRE(trial.epoch == 1);  // each was claimed once
}
