// Worker: one device's share of a sweep. It claims a group of trials, trains it, and takes the next until none is left.
// Inside of search/run; controller.cpp makes one worker a device, each with a Store and a thread of its own.
//
// A group is what can train in lockstep: equal cohort key, equal position (checkpoint step). When a group throws, its
// trials are tried again from their checkpoints in groups of half the size; one that throws alone has failed.
//
// Errors: StoreError, InputError, DeviceError (a GPU that answers no more). Claims of a worker that threw are free, or
// free as soon as the process has ended. Thread-safety: a Worker belongs to one thread; SharedWork to all of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "db/store.hpp"
#include "search/run/cohort_run.hpp"
#include "search/run/group_size.hpp"

namespace hylas::search {

struct Work {
  const model::TrialSpec* spec = nullptr;
  double flops_per_token = 0;
  std::atomic<std::size_t> largest_group = most_in_lockstep;  // halved when a group it was in has thrown
};

// What all workers of a sweep share; set up before they start.
struct SharedWork {
  const SweepOptions& options;
  Reporter& reporter;
  std::int64_t study = 0;
  std::vector<std::int64_t> order = {};  // row ids, as the space lists them
  std::unordered_map<std::int64_t, Work> work = {};
  std::size_t workers = 1;
  std::atomic<bool> stop = false;  // one worker has thrown: the others checkpoint and return
};

// The trials of the space (a study may hold more), in the order of the space.
[[nodiscard]] std::vector<db::Trial> read_trials(const SharedWork& shared, const db::Store& store, Profile& profile);
// FLOPs until the trial's last step, from its checkpoint on.
[[nodiscard]] double flops_left(const SharedWork& shared, const db::Trial& trial);

class Worker {
 public:
  Worker(SharedWork& shared, db::Store& store, int index, std::string device);

  // Returns when no trial of the space is open any more, or on an interrupt or SharedWork::stop.
  void run();
  [[nodiscard]] const SweepSummary& summary() const { return summary_; }

 private:
  bool step();
  [[nodiscard]] std::vector<std::int64_t> candidates(const std::vector<db::Trial>& trials,
                                                     const db::Trial& first) const;
  [[nodiscard]] std::vector<Member> claim_group(const std::vector<std::int64_t>& ids, std::size_t limit);
  [[nodiscard]] std::size_t limit_of(const db::Trial& trial);
  [[nodiscard]] std::size_t device_limit(const db::Trial& trial);
  [[nodiscard]] std::size_t share_of(const std::vector<db::Trial>& trials, const db::Trial& first) const;
  void train(std::vector<Member> members);
  void isolate(const std::vector<Member>& members, const std::string& what, bool memory);
  void release(const std::vector<Member>& members);

  SharedWork& shared_;
  std::string device_;
  bool on_gpu_;
  SweepSummary summary_;
  SweepContext context_;
  std::unordered_map<std::string, std::size_t> fitting_;  // on a GPU: trials that fit together, by cohort key
};

}  // namespace hylas::search
