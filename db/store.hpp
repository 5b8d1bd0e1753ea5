// Store: the results of studies in one SQLite file. The only public door of db/ (with records.hpp and error.hpp).
//
// Promise: what a write returned for is on disk (WAL, synchronous=FULL) and is never lost; a trial is never given to
// two workers (leases with an epoch). Every write is one BEGIN IMMEDIATE transaction and idempotent: repeating it after
// an error whose outcome is unknown is safe. After an I/O error, corruption or a full disk the store refuses further
// writes.
//
// Errors: StoreError; error.hpp lists the kinds and their exit codes. Bad bytes in a file never crash.
// Thread-safety: a Store belongs to one thread at a time; processes and threads with a Store each may share a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/error.hpp"
#include "db/records.hpp"

namespace hylas::db {

enum class Access : std::uint8_t {
  create,  // read and write; made if it does not exist
  write,   // read and write an existing file
  read,    // existing file, also on read-only media
};

struct OpenOptions {
  double lock_wait_seconds = 30;  // how long to wait for another process's lock before StoreError(locked)
  // Called about once a second while waiting, with the seconds waited so far; returning false gives up at once.
  std::function<bool(double)> waiting;
  bool quick_check = true;  // look at every page before the first use (about 1 s a gigabyte in memory)
};

class Store {
 public:
  [[nodiscard]] static Store open(const std::filesystem::path& file, Access access, const OpenOptions& options = {});
  ~Store();
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;

  [[nodiscard]] const std::filesystem::path& file() const;
  [[nodiscard]] static int schema_version();

  // --- What a study is ---------------------------------------------------------------------------------------------
  // Makes the study, or finds it. One with another space_json is refused (changed) unless `extend`, which replaces it.
  std::int64_t ensure_study(const std::string& name, const std::string& space_json, const std::string& space_text,
                            bool extend = false);
  // Adds what is not there yet, in this order; returns the row ids of all given trials, in order. A trial belongs to
  // every study that lists it and is trained once. Designs must be added first.
  void add_designs(std::span<const Design> designs);
  std::vector<std::int64_t> add_trials(std::int64_t study, std::span<const NewTrial> trials);
  // Registers the writing process; its id stands beside every evaluation that this Store records afterwards.
  std::int64_t begin_run(const std::string& program_version, const std::string& machine, const std::string& device);

  // --- Work ----------------------------------------------------------------------------------------------------------
  // Claims at most `limit` of the listed trials that are free: queued, or running under a lease that has run out or
  // whose owner is gone. The lease holds for lease_seconds of a clock that no one can set, and longer with every
  // renewal or write.
  std::vector<Claim> claim(std::span<const std::int64_t> trials, std::size_t limit, double lease_seconds);
  void renew(std::span<const Claim> claims, double lease_seconds);  // throws stale, naming the lost ones
  void release(std::span<const Claim> claims);                      // back to queued; stale claims are left alone
  // Writes the batch in one transaction, all or nothing, and renews the leases it names. A point that is there already
  // with the same bits is left alone, one with other bits is a conflict. Older checkpoint rows of a trial are dropped.
  void commit(const Batch& batch, double lease_seconds = 60);
  // The three kinds of a batch on their own.
  void record_evaluation(std::span<const EvaluationRecord> cohort);
  void record_checkpoint(const CheckpointRecord& checkpoint);
  void finish(const FinishRecord& end);
  // Forgets everything a finished trial has recorded and queues it again.
  void requeue(std::span<const std::int64_t> trials);
  // Drops a checkpoint row whose file turned out to be unusable.
  void forget_checkpoint(const Claim& claim, std::int64_t step);

  // --- Fits
  // ------------------------------------------------------------------------------------------------------------
  std::int64_t add_fit(std::int64_t study, const std::string& kind, const std::string& json,
                       const std::string& program_version);
  [[nodiscard]] std::vector<Fit> fits(std::int64_t study,
                                      std::string_view kind = "") const;  // oldest first; "": all kinds

  // --- Reading
  // ---------------------------------------------------------------------------------------------------------
  [[nodiscard]] std::vector<Study> studies() const;                     // by id
  [[nodiscard]] Study study(std::string_view name) const;               // throws missing, listing those there are
  [[nodiscard]] std::vector<Design> designs(std::int64_t study) const;  // in the order of their first trial
  [[nodiscard]] std::vector<Trial> trials(std::int64_t study) const;    // in the order they were added
  [[nodiscard]] std::vector<Trial> find_trials(std::string_view key_prefix) const;  // of all studies
  // By (trial, step, metric); metric "" means all.
  [[nodiscard]] std::vector<Point> points(std::int64_t trial, std::string_view metric = "") const;
  [[nodiscard]] std::vector<Point> study_points(std::int64_t study, std::string_view metric = "") const;
  [[nodiscard]] std::vector<Run> runs() const;

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hylas::db
