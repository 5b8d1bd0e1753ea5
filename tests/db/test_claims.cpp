// Leases: given once, lost when they run out or their owner dies, never by a clock that jumps; stale writes are
// refused.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "db/process.hpp"
#include "tests/catch.hpp"
#include "tests/db/support.hpp"

using namespace hylas::db;
using namespace hylas::db::testing;

namespace {

// `workers` processes claim `trials` trials in small handfuls, record a point under each claim and finish it.
void claim_in_processes(int workers, int trials) {
  const TempDir dir;
  std::vector<std::int64_t> ids;
  {
    Store store = Store::open(dir / "a.db", Access::create);
    ids = fill(store, trials);
  }
  std::vector<pid_t> children;
  for (int worker = 0; worker < workers; ++worker) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child > 0) {
      children.push_back(child);
      continue;
    }
    int code = 0;
    try {
      Store store =
          Store::open(dir / "a.db", Access::write, {.lock_wait_seconds = 120, .waiting = {}, .quick_check = false});
      store.begin_run(std::to_string(worker), "{}", "cpu");
      for (;;) {
        const auto claims = store.claim(ids, 7, 600);
        if (claims.empty()) break;
        Batch batch;
        for (const Claim& claim : claims) {
          batch.evaluations.push_back({claim, 1, 1024, 0.5, {{"worker", static_cast<double>(worker), 1}}});
          batch.finishes.push_back({claim, TrialState::done, 1, "", 0});
        }
        store.commit(batch);
      }
    } catch (const std::exception& error) {
      fprintf(stderr, "worker %d: %s\n", worker, error.what());
      code = 1;
    }
    _exit(code);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);  // no BUSY surfaced
  }
  const std::string count = std::to_string(trials);
  REQUIRE(sql(dir / "a.db", "SELECT count(*), min(epoch), max(epoch) FROM trials WHERE state = 'done'") ==
          std::vector<std::string>{count + "|1|1"});  // each claimed exactly once
  REQUIRE(sql(dir / "a.db", "SELECT count(*) FROM points") == std::vector<std::string>{count});
  REQUIRE(sql(dir / "a.db", "PRAGMA integrity_check") == std::vector<std::string>{"ok"});
}

}  // namespace

TEST_CASE("claims are exclusive, limited, and released or renewed", "[claims]") {
  const TempDir dir;
  Store a = Store::open(dir / "a.db", Access::create);
  Store b = Store::open(dir / "a.db", Access::write);
  const auto ids = fill(a, 5);
  const auto mine = a.claim(ids, 3, 60);
  REQUIRE(mine.size() == 3);
  REQUIRE(a.trials(1)[0].state == TrialState::running);
  REQUIRE(a.trials(1)[0].owner.find(std::to_string(getpid())) != std::string::npos);
  const auto theirs = b.claim(ids, 9, 60);
  REQUIRE(theirs.size() == 2);
  REQUIRE(theirs[0].trial == ids[3]);
  a.renew(mine, 60);
  a.release(std::span(mine).first(1));
  REQUIRE(b.claim(ids, 9, 60).size() == 1);
  REQUIRE(kind_thrown([&] { a.renew(mine, 60); }) == StoreErrorKind::stale);
}

TEST_CASE("a stalled worker that returns after its lease finds its writes refused", "[claims]") {
  const TempDir dir;
  Store stalled = Store::open(dir / "a.db", Access::create);
  Store other = Store::open(dir / "a.db", Access::write);
  const auto ids = fill(stalled, 2);
  const auto old = stalled.claim(ids, 2, 0.05);
  REQUIRE(other.claim(ids, 2, 60).empty());  // not before the lease is over
  std::this_thread::sleep_for(std::chrono::milliseconds(80));
  const auto taken = other.claim(std::span(ids).first(1), 1, 60);
  REQUIRE(taken.size() == 1);
  REQUIRE(taken[0].epoch == old[0].epoch + 1);
  const EvaluationRecord lost{old[0], 1, 1, 0, {{"loss", 1.0, 1}}};
  const EvaluationRecord kept{old[1], 1, 1, 0, {{"loss", 1.0, 1}}};
  try {
    stalled.record_evaluation(std::vector{kept, lost});
    FAIL("a stale write was accepted");
  } catch (const StoreError& error) {
    REQUIRE(error.kind() == StoreErrorKind::stale);
    REQUIRE(error.trials() == std::vector{ids[0]});
  }
  REQUIRE(stalled.points(ids[1]).empty());  // all or nothing
  stalled.record_evaluation(std::vector{kept});
  REQUIRE(stalled.points(ids[1]).size() == 1);  // nobody took this one: its owner goes on
  REQUIRE(kind_thrown([&] { stalled.record_checkpoint({old[0], {1, true, "x", 1}}); }) == StoreErrorKind::stale);
  REQUIRE(kind_thrown([&] { stalled.finish({old[0], TrialState::done, 1, "", 0}); }) == StoreErrorKind::stale);
  stalled.release(old);  // leaves the other's claim alone
  REQUIRE(other.find_trials("k0").at(0).state == TrialState::running);
  other.finish({taken[0], TrialState::done, 1, "", 0});
}

TEST_CASE("a writing worker keeps its lease alive", "[claims]") {
  const TempDir dir;
  Store worker = Store::open(dir / "a.db", Access::create);
  Store other = Store::open(dir / "a.db", Access::write);
  const auto ids = fill(worker, 1);
  const auto claim = worker.claim(ids, 1, 0.3).at(0);
  for (int i = 0; i < 6; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    worker.commit({{{claim, i, i, 0, {{"loss", 1.0, 1}}}}, {}, {}}, 0.3);
    REQUIRE(other.claim(ids, 1, 60).empty());
  }
}

TEST_CASE("the lease of a killed process is free at once, that of a living one is not", "[claims]") {
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  const auto ids = fill(store, 1);
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    char ok = '0';
    try {
      Store mine = Store::open(dir / "a.db", Access::write);
      if (mine.claim(ids, 1, 100000).size() == 1) ok = '1';
      if (write(ready[1], &ok, 1) == 1) pause();
    } catch (...) {
    }
    _exit(1);
  }
  char ok = '0';
  REQUIRE(read(ready[0], &ok, 1) == 1);
  REQUIRE(ok == '1');
  REQUIRE(store.claim(ids, 1, 60).empty());
  kill(child, SIGKILL);
  int status = 0;
  siginfo_t information{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(child), &information, WEXITED | WNOWAIT) == 0);
  REQUIRE(store.claim(ids, 1, 60).size() == 1);  // even while it is an unreaped zombie
  waitpid(child, &status, 0);
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("whether a lease is over depends on no clock that can be set", "[claims]") {
  const Owner self = this_process();
  REQUIRE(may_be_alive(self.process));
  REQUIRE_FALSE(lease_is_over(self, 100, self, 99));
  REQUIRE(lease_is_over(self, 100, self, 101));
  // An earlier boot, or a pid that now belongs to somebody else: over, whatever the deadline.
  Owner before = self;
  before.boot = "00000000-0000-0000-0000-000000000000";
  REQUIRE(lease_is_over(before, 1e18, self, 0));
  Owner reused = self;
  reused.process = self.process + "1";
  REQUIRE(lease_is_over(reused, 1e18, self, 0));
  // Another container on this machine (its pids mean nothing here), or nonsense: only the deadline counts.
  for (const std::string process : {"pid:[1]:1:1", "", "garbage", "pid:[4026531836]:x:y"}) {
    Owner hidden = self;
    hidden.process = process;
    REQUIRE_FALSE(lease_is_over(hidden, 100, self, 99));
    REQUIRE(lease_is_over(hidden, 100, self, 101));
  }
  // The deadline is one of the monotonic clock: it does not hold the wall clock's value.
  const TempDir dir;
  Store store = Store::open(dir / "a.db", Access::create);
  (void)store.claim(fill(store, 1), 1, 60);
  const double until = std::stod(sql(dir / "a.db", "SELECT lease_until FROM trials").at(0));
  REQUIRE(until == Approx(monotonic_seconds() + 60).margin(5));
}

TEST_CASE("4 processes claim 200 trials, each once", "[claims]") {
  claim_in_processes(4, 200);
}

TEST_CASE("16 processes claim 4,000 trials, each once", "[claims][slow]") {
  claim_in_processes(16, 4000);
}
