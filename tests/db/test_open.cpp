// Opening: what is refused, with which kind and exit code, and that a refused file keeps its bytes.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "db/filesystem.hpp"
#include "tests/catch.hpp"
#include "tests/db/support.hpp"

using namespace hylas::db;
using namespace hylas::db::testing;

namespace {

int exit_code_of_opening(const std::filesystem::path& file, Access access) {
  try {
    (void)Store::open(file, access);
  } catch (const StoreError& error) {
    return error.exit_code();
  }
  return 0;
}

void make_sample(const std::filesystem::path& file) {
  Store store = Store::open(file, Access::create);
  const auto ids = fill(store, 20);
  const auto claims = store.claim(ids, 10, 60);
  for (const Claim& claim : claims) {
    for (std::int64_t step = 0; step < 5; ++step) {
      store.record_evaluation(std::vector<EvaluationRecord>{
          {claim, step, step * 100, 0, {{"loss", 1.0 / static_cast<double>(step + 3), 8}, {"accuracy/far", 0.1, 8}}}});
    }
    store.record_checkpoint({claim, {4, true, "x/step-4.safetensors", 10}});
  }
}

// Reads everything a command would read; bad bytes may throw StoreError and nothing else.
void read_all(const Store& store) {
  for (const Study& study : store.studies()) {
    (void)store.trials(study.id);
    (void)store.designs(study.id);
    (void)store.study_points(study.id);
    (void)store.fits(study.id);
  }
  (void)store.runs();
}

// Damages a store in `ways` random ways and opens it for reading and for writing.
void damage(int ways, unsigned seed) {
  const TempDir dir;
  make_sample(dir / "good.db");
  const std::string good = read_bytes(dir / "good.db");
  REQUIRE(good.size() > 50000);
  std::mt19937 random(seed);
  int refused = 0;
  for (int way = 0; way < ways; ++way) {
    std::string bad = good;
    const int flips = way % 4 == 3 ? 0 : 1 << (way % 4 * 3);
    for (int i = 0; i < flips; ++i) {
      // Half of the flips hit the first kilobyte: headers are small and matter most.
      const std::size_t byte = random() % (i % 2 == way % 2 ? 1024 : bad.size());
      bad[byte] = static_cast<char>(bad[byte] ^ (1 << random() % 8));
    }
    if (flips == 0) bad.resize(1 + random() % (bad.size() - 1));
    const auto file = dir / "bad.db";
    write_bytes(file, bad);
    INFO("way " << way << " of seed " << seed);
    try {
      const Store store = Store::open(file, way % 2 == 0 ? Access::read : Access::write);
      read_all(store);
    } catch (const StoreError& error) {
      INFO(error.what());
      REQUIRE(error.exit_code() == 5);
      ++refused;
      REQUIRE(read_bytes(file) == bad);
    }
    std::filesystem::remove(file);
    std::filesystem::remove(dir / "bad.db-wal");
    std::filesystem::remove(dir / "bad.db-shm");
  }
  // Flips inside of stored text or numbers cannot be seen; truncations and headers must be.
  REQUIRE(refused > ways / 3);
}

}  // namespace

TEST_CASE("what is no store is refused: missing, text, foreign, newer, directory", "[open]") {
  const TempDir dir;
  REQUIRE(kind_thrown([&] { (void)Store::open(dir / "none.db", Access::read); }) == StoreErrorKind::missing);
  REQUIRE(kind_thrown([&] { (void)Store::open(dir / "none.db", Access::write); }) == StoreErrorKind::missing);
  REQUIRE_FALSE(std::filesystem::exists(dir / "none.db"));
  REQUIRE(kind_thrown([&] { (void)Store::open(dir / "no/dir.db", Access::create); }) == StoreErrorKind::missing);
  REQUIRE(exit_code_of_opening(dir.path(), Access::create) == 1);
  REQUIRE(exit_code_of_opening("", Access::create) == 1);

  const std::string text(4096, 'x');
  write_bytes(dir / "text.db", text);
  for (const Access access : {Access::read, Access::write, Access::create}) {
    REQUIRE(exit_code_of_opening(dir / "text.db", access) == 5);
    REQUIRE(read_bytes(dir / "text.db") == text);
  }

  sql(dir / "other.db", "CREATE TABLE a(b); PRAGMA application_id=7");
  const std::string other = read_bytes(dir / "other.db");
  for (const Access access : {Access::read, Access::write, Access::create}) {
    std::string message;
    REQUIRE(kind_thrown([&] { (void)Store::open(dir / "other.db", access); }, &message) == StoreErrorKind::foreign);
    REQUIRE(message.find("another program") != std::string::npos);
    REQUIRE(read_bytes(dir / "other.db") == other);
  }

  make_sample(dir / "newer.db");
  sql(dir / "newer.db", "PRAGMA user_version=99");
  const std::string newer = read_bytes(dir / "newer.db");
  for (const Access access : {Access::read, Access::write, Access::create}) {
    std::string message;
    REQUIRE(kind_thrown([&] { (void)Store::open(dir / "newer.db", access); }, &message) == StoreErrorKind::newer);
    REQUIRE(message.find("update hylas") != std::string::npos);
    REQUIRE(read_bytes(dir / "newer.db") == newer);
  }
}

TEST_CASE("an empty file becomes a store when made, and is no store when read", "[open]") {
  const TempDir dir;
  write_bytes(dir / "empty.db", "");
  REQUIRE(exit_code_of_opening(dir / "empty.db", Access::read) == 5);
  Store store = Store::open(dir / "empty.db", Access::create);
  REQUIRE(fill(store, 3).size() == 3);
}

TEST_CASE("a store whose tables were dropped or swapped is refused", "[open]") {
  const TempDir dir;
  make_sample(dir / "a.db");
  sql(dir / "a.db", "DROP TABLE checkpoints");
  REQUIRE(exit_code_of_opening(dir / "a.db", Access::write) == 5);
}

TEST_CASE("two first opens at once: one makes the schema, all work", "[open]") {
  for (int round = 0; round < 10; ++round) {
    const TempDir dir;
    std::vector<std::thread> threads;
    std::vector<int> codes(8, -1);
    for (std::size_t i = 0; i < codes.size(); ++i) {
      threads.emplace_back([&, i] {
        try {
          Store store = Store::open(dir / "a.db", Access::create);
          fill(store, 10);
          codes[i] = 0;
        } catch (const StoreError& error) {
          codes[i] = 100 + error.exit_code();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(codes == std::vector<int>(8, 0));
    REQUIRE(Store::open(dir / "a.db", Access::read).trials(1).size() == 10);
  }
}

TEST_CASE("reading a store while it is written sees whole batches, and leaves no files behind", "[open]") {
  const TempDir dir;
  {
    Store writer = Store::open(dir / "a.db", Access::create);
    const auto ids = fill(writer, 1);
    const Claim claim = writer.claim(ids, 1, 60).at(0);
    const Store reader = Store::open(dir / "a.db", Access::read);
    writer.record_evaluation(std::vector{EvaluationRecord{claim, 1, 1, 0, {{"a", 1.0, 1}, {"b", 2.0, 1}}}});
    REQUIRE(reader.points(ids[0]).size() == 2);
  }
  (void)Store::open(dir / "a.db", Access::read);
  REQUIRE(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("a read-only store cannot be written through the API", "[open]") {
  const TempDir dir;
  make_sample(dir / "a.db");
  Store store = Store::open(dir / "a.db", Access::read);
  REQUIRE(kind_thrown([&] { store.ensure_study("new", "{}", ""); }) == StoreErrorKind::readonly);
}

TEST_CASE("read-only file or directory: reading works, writing names the path", "[open]") {
  if (geteuid() == 0) {
    WARN("runs as root, which may write everywhere: permissions are tested through a child with another user id");
  }
  const TempDir dir;
  make_sample(dir / "a.db");
  chmod(dir.path().c_str(), 0555);
  chmod((dir / "a.db").c_str(), 0444);
  // Root ignores permissions; a child that gave up root does not.
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int code = 0;
    if (geteuid() == 0 && setuid(65534) != 0) _exit(90);
    try {
      if (Store::open(dir / "a.db", Access::read).trials(1).size() != 20) code = 91;
    } catch (...) {
      code = 92;
    }
    std::string message;
    try {
      (void)Store::open(dir / "a.db", Access::write);
      code = 93;
    } catch (const StoreError& error) {
      message = error.what();
      if (error.kind() != StoreErrorKind::readonly || message.find("a.db") == std::string::npos) code = 94;
    }
    try {
      (void)Store::open(dir / "b.db", Access::create);
      code = 95;
    } catch (const StoreError& error) {
      message = error.what();
      if (error.kind() != StoreErrorKind::readonly || message.find(dir.path().string()) == std::string::npos) code = 96;
    }
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  chmod(dir.path().c_str(), 0755);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 0);
}

TEST_CASE("network file systems are known by their numbers and mount types", "[open]") {
  for (const unsigned long magic :
       {0x6969UL, 0xFF534D42UL, 0xFFFFFFFFFF534D42UL, 0xFE534D42UL, 0x0BD00BD0UL, 0x47504653UL}) {
    REQUIRE_FALSE(network_name(magic).empty());
  }
  for (const unsigned long magic : {0xEF53UL, 0x58465342UL, 0x01021994UL, 0x794c7630UL, 0x9123683EUL, 0x65735546UL}) {
    REQUIRE(network_name(magic).empty());  // ext4, xfs, tmpfs, overlay, btrfs, FUSE of an unknown type
  }
  REQUIRE(network_name(0x65735546, "fuse.sshfs") == "fuse.sshfs");
  REQUIRE(network_name(0x65735546, "fuse.fuse-overlayfs").empty());
}

TEST_CASE("a lock that stays is waited for, told about, and ends with exit 4", "[open]") {
  const TempDir dir;
  make_sample(dir / "a.db");
  int told = 0;
  Store store = Store::open(dir / "a.db", Access::write,
                            {.lock_wait_seconds = 1.5,
                             .waiting =
                                 [&](double) {
                                   ++told;
                                   return true;
                                 },
                             .quick_check = true});
  sqlite3* holder = nullptr;
  REQUIRE(sqlite3_open((dir / "a.db").c_str(), &holder) == SQLITE_OK);
  REQUIRE(sqlite3_exec(holder, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  const auto start = std::chrono::steady_clock::now();
  try {
    store.ensure_study("new", "{}", "");
    FAIL("the lock was ignored");
  } catch (const StoreError& error) {
    REQUIRE(error.exit_code() == 4);
  }
  REQUIRE(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(1400));
  REQUIRE(told >= 1);
  // Nothing is lost and the store works on once the lock is gone.
  sqlite3_exec(holder, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(holder);
  REQUIRE(store.ensure_study("new", "{}", "") > 0);
  REQUIRE(store.trials(1).size() == 20);
}

TEST_CASE("waiting for a lock can be given up", "[open]") {
  const TempDir dir;
  make_sample(dir / "a.db");
  Store store = Store::open(dir / "a.db", Access::write,
                            {.lock_wait_seconds = 60, .waiting = [](double) { return false; }, .quick_check = true});
  sqlite3* holder = nullptr;
  REQUIRE(sqlite3_open((dir / "a.db").c_str(), &holder) == SQLITE_OK);
  REQUIRE(sqlite3_exec(holder, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  REQUIRE(kind_thrown([&] { store.ensure_study("new", "{}", ""); }) == StoreErrorKind::locked);
  sqlite3_close(holder);
}

TEST_CASE("flipped bits and truncations: exit 5 or unharmed, never a crash, never a changed file", "[open]") {
  damage(400, 20260101);
}

TEST_CASE("10,000 flipped bits and truncations", "[open][slow]") {
  damage(10000, 7);
}
