// The loop of one worker (see worker.hpp): which trials form a group, and what becomes of a group that throws.
#include "search/run/worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <thread>
#include <utility>

#include "kernels/cuda/runtime.hpp"
#include "search/run/devices.hpp"
#include "search/run/group_size.hpp"
#include "search/run/records.hpp"

namespace hylas::search {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto poll = std::chrono::milliseconds(200);

// Where training can go on: the step, and whether its evaluation is behind us.
std::pair<std::int64_t, bool> position_of(const db::Trial& trial) {
  return trial.checkpoint ? std::pair{trial.checkpoint->step, trial.checkpoint->evaluated}
                          : std::pair{std::int64_t{0}, false};
}

}  // namespace

std::vector<db::Trial> read_trials(const SharedWork& shared, const db::Store& store, Profile& profile) {
  const Timed timed(profile.store);
  std::unordered_map<std::int64_t, db::Trial> by_id;
  for (db::Trial& trial : store.trials(shared.study)) by_id.emplace(trial.id, std::move(trial));
  std::vector<db::Trial> trials;
  for (const std::int64_t id : shared.order) trials.push_back(std::move(by_id.at(id)));
  return trials;
}

double flops_left(const SharedWork& shared, const db::Trial& trial) {
  const auto tokens = static_cast<double>((trial.steps - position_of(trial).first) * trial.tokens_per_step);
  return tokens * shared.work.at(trial.id).flops_per_token;
}

Worker::Worker(SharedWork& shared, db::Store& store, int index, std::string device)
    : shared_(shared),
      device_(std::move(device)),
      on_gpu_(model::device_of(device_).kind == kernels::DeviceKind::cuda),
      context_{.store = store,
               .options = shared.options,
               .files = CheckpointFiles(checkpoint_directory(store.file())),
               .reporter = shared.reporter,
               .summary = summary_,
               .stop = shared.stop,
               .worker = index,
               .device = device_} {
  store.begin_run(shared.options.program_version, machine_json(shared.options.threads), device_text(device_));
}

void Worker::run() {
  const auto start = Clock::now();
  while (!context_.interrupted() && step()) {
  }
  summary_.profile.total = std::chrono::duration<double>(Clock::now() - start).count();
}

// Trains one group. False when nothing is left to do.
bool Worker::step() {
  const std::vector<db::Trial> trials = read_trials(shared_, context_.store, summary_.profile);
  bool open = false;
  std::vector<std::string> tried;  // cohort keys whose open trials all belong to others
  for (const db::Trial& first : trials) {
    if (db::is_finished(first.state)) continue;
    open = true;
    if (std::find(tried.begin(), tried.end(), first.cohort_key) != tried.end() &&
        first.state == db::TrialState::running)
      continue;
    const std::vector<std::int64_t> ids = candidates(trials, first);
    std::size_t limit = share_of(trials, first);
    if (ids.size() > 1 && limit > 1) limit = std::min(limit, limit_of(first));
    std::vector<Member> members = claim_group(ids, limit);
    if (members.empty()) {
      tried.push_back(first.cohort_key);
      continue;
    }
    train(std::move(members));
    shared_.reporter.idle(context_.worker);
    return true;
  }
  // What is left is being trained by others: wait for them, and take over what they leave.
  if (open) std::this_thread::sleep_for(poll);
  return open;
}

// Open trials that can join `first`, itself first.
std::vector<std::int64_t> Worker::candidates(const std::vector<db::Trial>& trials, const db::Trial& first) const {
  std::vector<std::int64_t> ids;
  for (const db::Trial& trial : trials) {
    if (db::is_finished(trial.state) || trial.cohort_key != first.cohort_key) continue;
    if (position_of(trial) != position_of(first)) continue;
    if (shared_.work.at(trial.id).largest_group != shared_.work.at(first.id).largest_group) continue;
    ids.push_back(trial.id);
  }
  return ids;
}

// This worker's part of the trials of the key of `first`.
std::size_t Worker::share_of(const std::vector<db::Trial>& trials, const db::Trial& first) const {
  double all = 0, of_key = 0;
  for (const db::Trial& trial : trials) {
    if (db::is_finished(trial.state)) continue;
    all += flops_left(shared_, trial);
    if (trial.cohort_key == first.cohort_key) ++of_key;
  }
  return share_of_group(shared_.workers, of_key, all, flops_left(shared_, first));
}

std::size_t Worker::limit_of(const db::Trial& trial) {
  const Work& work = shared_.work.at(trial.id);
  const std::size_t fitting = on_gpu_ ? device_limit(trial) : group_limit(*work.spec, shared_.options, device_);
  return std::min<std::size_t>(work.largest_group, fitting);
}

// By the GPU's memory, planned once a cohort key.
std::size_t Worker::device_limit(const db::Trial& trial) {
  const auto known = fitting_.find(trial.cohort_key);
  if (known != fitting_.end()) return known->second;
  try {
    return fitting_[trial.cohort_key] = group_limit(*shared_.work.at(trial.id).spec, shared_.options, device_);
  } catch (const std::exception&) {
    return 1;  // others fill the GPU, or it cannot hold this: a trial alone says so, or finds them gone
  }
}

// Claims, then looks again: another worker may have moved some of them on since they were read.
std::vector<Member> Worker::claim_group(const std::vector<std::int64_t>& ids, std::size_t limit) {
  std::vector<db::Claim> claims;
  {
    const Timed timed(summary_.profile.store);
    claims = context_.store.claim(ids, limit, shared_.options.lease_seconds);
  }
  if (claims.empty()) return {};
  std::unordered_map<std::int64_t, db::Trial> now;
  for (db::Trial& trial : read_trials(shared_, context_.store, summary_.profile)) now.emplace(trial.id, trial);
  std::vector<Member> members;
  std::vector<db::Claim> others;
  const auto position = position_of(now.at(claims.front().trial));
  for (const db::Claim& claim : claims) {
    const db::Trial& trial = now.at(claim.trial);
    if (position_of(trial) != position) {
      others.push_back(claim);
      continue;
    }
    const Work& work = shared_.work.at(claim.trial);
    members.push_back({work.spec, trial.trial_key, claim, trial.checkpoint, work.flops_per_token});
  }
  const Timed timed(summary_.profile.store);
  if (!others.empty()) context_.store.release(others);
  return members;
}

void Worker::train(std::vector<Member> members) {
  std::vector<Member> left;
  std::string what;
  bool memory = false;
  {
    CohortRun run(context_, std::move(members));
    try {
      run.run();
      return;
    } catch (const db::StoreError&) {
      throw;  // the leases are free as soon as this process has ended
    } catch (const model::InputError&) {
      release(run.members());
      throw;
    } catch (const kernels::cuda::OutOfDeviceMemory& error) {
      what = error.what();
      memory = true;
    } catch (const kernels::cuda::CudaError& error) {
      if (!device_works(device_)) {
        release(run.members());
        throw model::DeviceError(
            fmt::format("{} has stopped working: {}; run the same command again to go on", device_, error.what()));
      }
      what = error.what();
    } catch (const std::bad_alloc&) {
      what = "out of memory";
      memory = true;
    } catch (const std::exception& error) {
      what = error.what();
    }
    left = run.members();
  }  // the cohort's memory is given back before anything else is tried
  isolate(left, what, memory);
}

void Worker::release(const std::vector<Member>& members) {
  std::vector<db::Claim> claims;
  claims.reserve(members.size());
  for (const Member& member : members) claims.push_back(member.claim);
  const Timed timed(summary_.profile.store);
  context_.store.release(claims);
}

// Whoever made the group throw is found by halving. No members: they had all ended, and the error was of no
// consequence.
void Worker::isolate(const std::vector<Member>& members, const std::string& what, bool memory) {
  if (members.empty()) return;
  Reporter& reporter = shared_.reporter;
  if (members.size() == 1) {
    const Member& member = members.front();
    reporter.warn(fmt::format("trial {} failed: {}", member.key, what));
    const std::int64_t step = member.checkpoint ? member.checkpoint->step : 0;
    const Timed timed(summary_.profile.store);
    context_.store.finish({member.claim, db::TrialState::failed, step, what, 0});
    ++summary_.trained;
    reporter.finished(0);
    return;
  }
  const std::size_t half = (members.size() + 1) / 2;
  reporter.warn(fmt::format("a cohort of {} trials {} ({}); trying them in smaller groups", members.size(),
                            memory ? "does not fit into memory" : "failed", what));
  for (const Member& member : members) {
    shared_.work.at(member.claim.trial).largest_group = half;
  }
  if (memory && on_gpu_) {
    const model::TrialSpec& spec = *members.front().spec;
    auto& fitting = fitting_.try_emplace(model::cohort_key(spec.design, spec.recipe), half).first->second;
    fitting = std::min(fitting, half);
  }
  release(members);
}

}  // namespace hylas::search
