// CohortRun: trains one group of claimed trials from where they stand to their ends, recording as it goes. Inside of
// search/run; controller.cpp decides which trials form a group.
//
// All members share a cohort key and a position: the step of their checkpoint and whether the evaluation due there was
// made before it (fresh trials: step 0, not evaluated). Errors: StoreError; anything else that training throws goes
// through, and members() then says who was still in. Thread-safety: one thread at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "model/cohort.hpp"
#include "search/run/checkpoint_files.hpp"
#include "search/run/controller.hpp"
#include "search/run/emergence.hpp"
#include "search/run/progress.hpp"

namespace hylas::search {

// A trial under claim.
struct Member {
  const model::TrialSpec* spec = nullptr;
  std::string key;
  db::Claim claim;
  std::optional<db::Checkpoint> checkpoint;  // where to go on; none: from the beginning
  double flops_per_token = 0;
};

// What all groups of one worker share.
struct SweepContext {
  db::Store& store;
  const SweepOptions& options;
  CheckpointFiles files;
  Reporter& reporter;
  SweepSummary& summary;
  const std::atomic<bool>& stop;  // another worker has thrown
  int worker = 0;
  std::string device = "cpu";

  [[nodiscard]] bool interrupted() const {
    return stop.load() || (options.interrupt != nullptr && options.interrupt->load());
  }
};

class CohortRun {
 public:
  CohortRun(SweepContext& sweep, std::vector<Member> members);

  // Returns when every member has ended, or has been lost to another process, or the sweep is interrupted (checkpoints
  // are written and claims released then). Members whose checkpoint cannot be read are released as fresh trials.
  void run();
  // Members that are still claimed and have not ended.
  [[nodiscard]] std::vector<Member> members() const;

 private:
  struct Slot {
    Member member;
    std::vector<CapabilityPoint> history;  // of the capability's metric
    bool in = true;                        // claimed and not ended
  };

  void load_members();
  void load_history(Slot& slot, std::int64_t step, bool evaluated);
  void train_until(std::int64_t step);
  void evaluate();
  void add_evaluation(db::Batch& batch, model::Evaluation& evaluation, double seconds);
  [[nodiscard]] std::optional<db::TrialState> ending_of(const Slot& slot) const;
  [[nodiscard]] std::optional<db::CheckpointRecord> save(Slot& slot, bool evaluated);
  void save_all(double budget_seconds);
  void checkpoint_if_due();
  void renew_if_due();
  void record_divergences(const std::vector<model::Divergence>& divergences);
  // Commits; members that another process took over, or whose points differ from the stored ones, are dropped.
  void commit(db::Batch batch);
  void after_commit(const db::Batch& batch);
  void drop(db::Batch& batch, const db::StoreError& error);
  void drop_checkpoints(const Slot& slot);
  void leave(Slot& slot);
  void release();
  [[nodiscard]] Slot& slot_of(std::int64_t trial);
  [[nodiscard]] std::size_t active() const;
  [[nodiscard]] double share_of_time();

  SweepContext& sweep_;
  std::vector<Slot> slots_;  // in the order of the cohort's trials
  std::unique_ptr<model::Cohort> cohort_;
  std::vector<std::int64_t> evaluations_;  // steps at which they are due
  std::int64_t evaluated_step_ = -1;       // the last evaluation that is stored
  std::int64_t slice_ = 1;                 // steps of about a second
  std::chrono::steady_clock::time_point recorded_at_;
  std::chrono::steady_clock::time_point saved_at_;
  std::chrono::steady_clock::time_point committed_at_;
  double save_seconds_ = 0;  // what the last round of checkpoints cost
};

}  // namespace hylas::search
