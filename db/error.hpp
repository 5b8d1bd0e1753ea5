// StoreError: the one exception of the results store. Its kind says what a program can do about it, its message what a
// person can. Stands at the bottom of db/; every other file of the room throws it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace hylas::db {

enum class StoreErrorKind : std::uint8_t {
  locked,    // another process held the lock for longer than the wait: nothing was written
  corrupt,   // not a database, or its pages do not fit together
  foreign,   // a database of another program (application_id)
  newer,     // written by a newer hylas (user_version)
  missing,   // no such file, or no such study, trial or fit in it
  readonly,  // the file or its directory cannot be written
  network,   // a network file system: SQLite's write-ahead log needs shared memory on one machine
  full,      // no space left
  io,        // the disk or the operating system refused
  memory,    // out of memory inside SQLite
  changed,   // the study exists with another space
  stale,     // a trial was claimed by somebody else meanwhile (its epoch moved on): trials() says which
  conflict,  // a point is already there with other bits: trials() says of which trial
  internal,  // SQLite refused a statement of ours: a bug
};

class StoreError : public std::runtime_error {
 public:
  StoreError(StoreErrorKind kind, const std::string& message, std::vector<std::int64_t> trials = {})
      : std::runtime_error(message), kind_(kind), trials_(std::move(trials)) {}

  [[nodiscard]] StoreErrorKind kind() const { return kind_; }
  // Row ids of the trials a stale or conflict error is about; the other trials of the batch may be committed without
  // them.
  [[nodiscard]] const std::vector<std::int64_t>& trials() const { return trials_; }

  // The exit code of the program: 4 locked, 5 corrupt or incompatible, 2 changed space, 1 everything else.
  [[nodiscard]] int exit_code() const {
    switch (kind_) {
      case StoreErrorKind::locked: return 4;
      case StoreErrorKind::corrupt:
      case StoreErrorKind::foreign:
      case StoreErrorKind::newer: return 5;
      case StoreErrorKind::changed: return 2;
      default: return 1;
    }
  }

 private:
  StoreErrorKind kind_;
  std::vector<std::int64_t> trials_;
};

}  // namespace hylas::db
