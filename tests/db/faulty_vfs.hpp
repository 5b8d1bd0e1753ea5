// FaultyVfs: SQLite's own file system with faults put in: the Nth write or sync fails, the disk is full, or the power
// goes and what was not synced is lost. Registered as the default while it lives; at most one at a time, one thread.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>

namespace hylas::db::testing {

enum class Fault : std::uint8_t {
  none,
  write_error,  // one write fails with SQLITE_IOERR_WRITE
  sync_error,   // one fsync fails with SQLITE_IOERR_FSYNC
  disk_full,    // every write from then on fails with SQLITE_FULL
  power_loss,   // everything from then on fails, and files fall back to what was synced
};

class FaultyVfs {
 public:
  FaultyVfs();
  ~FaultyVfs();
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  // The `operation`th write or sync from now on is hit (counted from 1).
  void arm(Fault fault, std::int64_t operation);
  void disarm();
  [[nodiscard]] bool struck() const;
  [[nodiscard]] std::int64_t operations() const;  // writes and syncs since arm()
  // After a power loss, with every connection closed: gives each file its synced bytes back; of what was written since,
  // each 512-byte sector survives with probability `survive`.
  void lose_unsynced(std::mt19937& random, double survive);
};

}  // namespace hylas::db::testing
