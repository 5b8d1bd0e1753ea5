// Faults of the disk and of memory inside SQLite (RELIABILITY 5-8): what was acknowledged is there, nothing twice, the
// store refuses further writes after a fatal error, and the work can be finished afterwards.
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <utility>

#include "tests/catch.hpp"
#include "tests/db/faulty_vfs.hpp"
#include "tests/db/support.hpp"

using namespace hylas::db;
using namespace hylas::db::testing;

namespace {

constexpr int trials = 3;
constexpr std::int64_t steps = 4;

using Points = std::set<std::pair<std::string, std::int64_t>>;  // trial key, step

// A small sweep: whatever is not finished is claimed and recorded. Notes in `promised` what a write returned for.
void work(const std::filesystem::path& file, Points* promised) {
  Store store = Store::open(file, Access::create);
  const auto ids = fill(store, trials);
  store.begin_run("0.1.0", "{}", "cpu");
  const auto claims = store.claim(ids, trials, 0);
  for (std::int64_t step = 0; step < steps && !claims.empty(); ++step) {
    Batch batch;
    for (const Claim& claim : claims) {
      batch.evaluations.push_back({claim, step, step * 10, 1, {{"loss", 1.0 / static_cast<double>(step + 3), 8}}});
      batch.checkpoints.push_back({claim, {step, true, "k/step.safetensors", 10}});
      if (step + 1 == steps) batch.finishes.push_back({claim, TrialState::done, step, "", 0});
    }
    store.commit(batch, 0);
    for (const Trial& trial : store.trials(1)) {
      for (const Claim& claim : claims) {
        if (claim.trial == trial.id) promised->emplace(trial.trial_key, step);
      }
    }
  }
}

void check(const std::filesystem::path& file, const Points& promised) {
  const Store store = Store::open(file, Access::create);
  Points found;
  for (const Study& study : store.studies()) {
    for (const Trial& trial : store.trials(study.id)) {
      for (const Point& point : store.points(trial.id)) {
        REQUIRE(found.emplace(trial.trial_key, point.step).second);
        REQUIRE(point.value == 1.0 / static_cast<double>(point.step + 3));
      }
    }
  }
  for (const auto& point : promised) REQUIRE(found.contains(point));
  REQUIRE(sql(file, "PRAGMA integrity_check") == std::vector<std::string>{"ok"});
  REQUIRE(sql(file, "PRAGMA foreign_key_check").empty());
}

// Afterwards the same work ends as if nothing had happened.
void finish_and_check(const std::filesystem::path& file, Points promised) {
  check(file, promised);
  work(file, &promised);
  check(file, promised);
  REQUIRE(sql(file, "SELECT count(*) FROM points") == std::vector<std::string>{std::to_string(trials * steps)});
  REQUIRE(sql(file, "SELECT count(*) FROM trials WHERE state = 'done'") ==
          std::vector<std::string>{std::to_string(trials)});
}

// One fault at every operation in turn, until the work gets through without meeting it. Returns the number of faults
// met.
int fault_everywhere(Fault fault, std::int64_t stride) {
  FaultyVfs vfs;
  int met = 0;
  for (std::int64_t operation = 1;; operation += stride) {
    const TempDir dir;
    Points promised;
    vfs.arm(fault, operation);
    INFO("operation " << operation);
    try {
      work(dir / "a.db", &promised);
    } catch (const StoreError& error) {
      INFO(error.what());
      REQUIRE(error.exit_code() == 1);
      if (fault == Fault::disk_full) REQUIRE(std::string(error.what()).find("free some") != std::string::npos);
    }
    const bool struck = vfs.struck();
    vfs.disarm();
    finish_and_check(dir / "a.db", promised);
    if (!struck) return met;
    ++met;
  }
}

// Cuts the power at every operation in turn; sectors that were not synced survive at random.
int cut_power_everywhere(unsigned seed, std::int64_t stride) {
  FaultyVfs vfs;
  std::mt19937 random(seed);
  int met = 0;
  for (std::int64_t operation = 1;; operation += stride) {
    const TempDir dir;
    Points promised;
    vfs.arm(Fault::power_loss, operation);
    INFO("operation " << operation << " of seed " << seed);
    try {
      work(dir / "a.db", &promised);
    } catch (const StoreError&) {
    }
    const bool struck = vfs.struck();
    if (struck) vfs.lose_unsynced(random, 0.25 * static_cast<double>(random() % 4));
    vfs.disarm();
    finish_and_check(dir / "a.db", promised);
    if (!struck) return met;
    ++met;
  }
}

// --- Memory: SQLite's allocator with a failing Nth call; only in a child, since it is set for a whole process.

sqlite3_mem_methods real_memory;
std::int64_t allocations_left = 0;  // 0: none fails

bool fails() {
  return allocations_left > 0 && --allocations_left == 0;
}
void* failing_malloc(int bytes) {
  return fails() ? nullptr : real_memory.xMalloc(bytes);
}
void* failing_realloc(void* memory, int bytes) {
  return fails() ? nullptr : real_memory.xRealloc(memory, bytes);
}

// Returns 0 if every failed allocation gave a clean error, left nothing allocated, and lost nothing.
int fail_every_allocation(const TempDir& dir, std::int64_t first, std::int64_t stride) {
  sqlite3_shutdown();
  if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory) != SQLITE_OK) return 10;
  sqlite3_mem_methods failing = real_memory;
  failing.xMalloc = failing_malloc;
  failing.xRealloc = failing_realloc;
  if (sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) != SQLITE_OK) return 11;
  sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
  sqlite3_initialize();
  int met = 0;
  for (std::int64_t n = first;; n += stride) {
    const auto file = dir / (std::to_string(n) + ".db");
    Points promised;
    allocations_left = n;
    try {
      work(file, &promised);
    } catch (const StoreError& error) {
      if (error.exit_code() != 1) return 12;
      ++met;
    } catch (const std::bad_alloc&) {
      return 13;
    }
    const bool reached = allocations_left == 0;
    allocations_left = 0;
    if (sqlite3_memory_used() != 0) return 14;
    work(file, &promised);
    const Store store = Store::open(file, Access::read);
    if (promised.size() < trials || store.study_points(1).size() != trials * static_cast<std::size_t>(steps)) return 15;
    std::filesystem::remove(file);
    if (!reached) return met > 20 ? 0 : 16;
  }
}

int exit_code_of(const TempDir& dir, std::int64_t first, std::int64_t stride) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      _exit(fail_every_allocation(dir, first, stride));
    } catch (...) {
      _exit(99);
    }
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("a failed write or sync: acknowledged points are there, and the work can be finished", "[faults]") {
  REQUIRE(fault_everywhere(Fault::write_error, 17) >= 3);
  REQUIRE(fault_everywhere(Fault::sync_error, 7) >= 3);
}

TEST_CASE("a full disk: exit 1 with advice, and it goes on once there is space", "[faults]") {
  REQUIRE(fault_everywhere(Fault::disk_full, 17) >= 3);
}

TEST_CASE("a power cut: what was acknowledged survives the loss of unsynced bytes", "[faults]") {
  REQUIRE(cut_power_everywhere(1, 17) >= 3);
}

TEST_CASE("a failed write, sync, full disk or power cut at every operation", "[faults][slow]") {
  for (const Fault fault : {Fault::write_error, Fault::sync_error, Fault::disk_full})
    REQUIRE(fault_everywhere(fault, 1) >= 20);
  for (unsigned seed = 1; seed <= 3; ++seed) REQUIRE(cut_power_everywhere(seed, 1) >= 20);
}

TEST_CASE("after a full disk a store writes no more", "[faults]") {
  const TempDir dir;
  FaultyVfs vfs;
  Store store = Store::open(dir / "a.db", Access::create);
  fill(store, 2);
  vfs.arm(Fault::disk_full, 1);
  REQUIRE(kind_thrown([&] { store.ensure_study("t", "{}", ""); }) == StoreErrorKind::full);
  vfs.disarm();
  std::string message;
  REQUIRE(kind_thrown([&] { store.ensure_study("t", "{}", ""); }, &message) == StoreErrorKind::full);
  REQUIRE(message.find("nothing more is written") != std::string::npos);
  REQUIRE(store.trials(1).size() == 2);  // reading still works
  Store fresh = Store::open(dir / "a.db", Access::write);
  REQUIRE(fresh.ensure_study("t", "{}", "") == 2);
}

TEST_CASE("failing allocations inside SQLite give clean errors and leak nothing", "[faults]") {
  const TempDir dir;
  REQUIRE(exit_code_of(dir, 1, 97) == 0);
}

TEST_CASE("every seventh allocation inside SQLite fails once", "[faults][slow]") {
  const TempDir dir;
  REQUIRE(exit_code_of(dir, 1, 7) == 0);
}
