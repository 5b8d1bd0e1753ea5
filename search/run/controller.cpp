// run_sweep: registers a space in the store, then claims and trains groups of trials until none is left.
//
// A group is what can train in lockstep: equal cohort key, equal position (checkpoint step). When a group throws, its
// trials are tried again from their checkpoints in groups of half the size; one that throws alone has failed.
#include "search/run/controller.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>
#include <tuple>
#include <unordered_map>

#include "model/design/cost.hpp"
#include "search/run/cohort_run.hpp"
#include "search/run/records.hpp"

namespace hylas::search {
namespace {

constexpr std::size_t most_in_lockstep = 256;
constexpr double bytes_per_parameter = 16;  // weight, two moments, and a share of gradients
constexpr double share_of_memory = 0.5;
constexpr auto poll = std::chrono::milliseconds(200);

struct Work {
  const model::TrialSpec* spec = nullptr;
  double flops_per_token = 0;
  double parameters = 0;
  std::size_t largest_group = most_in_lockstep;  // halved when a group it was in has thrown
};

// Where training can go on: the step, and whether its evaluation is behind us.
std::pair<std::int64_t, bool> position_of(const db::Trial& trial) {
  return trial.checkpoint ? std::pair{trial.checkpoint->step, trial.checkpoint->evaluated}
                          : std::pair{std::int64_t{0}, false};
}

class Sweep {
 public:
  Sweep(const Space& space, db::Store& store, const SweepOptions& options)
      : options_(options),
        reporter_(options.progress),
        context_{store, options_, CheckpointFiles(checkpoint_directory(store.file())), reporter_, summary_} {
    register_space(space);
  }

  SweepSummary run() {
    const auto start = std::chrono::steady_clock::now();
    begin();
    while (!context_.interrupted() && step()) {
    }
    if (context_.interrupted() && open_trials() > 0) summary_.interrupted = true;
    for (const db::Trial& trial : read_trials()) ++summary_.trials[trial.state];
    summary_.seconds = summary_.profile.total =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() + registered_seconds_;
    reporter_.end(
        fmt::format("{} in {}", summary_.interrupted ? "interrupted" : "finished", duration_text(summary_.seconds)));
    return summary_;
  }

 private:
  void register_space(const Space& space);
  void begin();
  bool step();
  [[nodiscard]] std::vector<std::int64_t> candidates(const std::vector<db::Trial>& trials,
                                                     const db::Trial& first) const;
  [[nodiscard]] std::vector<Member> claim_group(const std::vector<std::int64_t>& ids, std::size_t limit);
  void train(std::vector<Member> members);
  void isolate(const std::vector<Member>& members, const std::string& what);
  [[nodiscard]] std::vector<db::Trial> read_trials();
  [[nodiscard]] std::size_t limit_of(const db::Trial& trial) const;
  [[nodiscard]] std::int64_t open_trials();

  SweepOptions options_;
  SweepSummary summary_;
  Reporter reporter_;
  SweepContext context_;
  std::int64_t study_ = 0;
  std::vector<std::int64_t> order_;  // row ids, as the space lists them
  std::unordered_map<std::int64_t, Work> work_;
  double registered_seconds_ = 0;
};

void Sweep::register_space(const Space& space) {
  const Timed timed(registered_seconds_);
  std::vector<db::Design> designs;
  std::unordered_map<std::string, double> parameters, flops;
  for (const model::Design& design : space.designs) {
    designs.push_back(design_record(design));
    parameters[designs.back().design_id] = static_cast<double>(designs.back().parameters_total);
    flops[designs.back().design_id] = designs.back().flops_train;
  }
  std::vector<db::NewTrial> trials;
  for (const model::TrialSpec& spec : space.trials) trials.push_back(trial_record(spec));
  const Timed stored(summary_.profile.store);
  db::Store& store = context_.store;
  study_ = store.ensure_study(space.study, space.canonical_json(), options_.space_text, options_.extend);
  store.add_designs(designs);
  order_ = store.add_trials(study_, trials);
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const std::string& design = trials[i].design_id;
    work_[order_[i]] = {&space.trials[i], flops[design], parameters[design], most_in_lockstep};
  }
  store.begin_run(options_.program_version, machine_json(options_.threads), options_.device);
}

void Sweep::begin() {
  double flops = 0;
  std::vector<std::int64_t> failed;
  for (const db::Trial& trial : read_trials()) {
    if (options_.retry_failed && trial.state == db::TrialState::failed) {
      failed.push_back(trial.id);
    } else if (db::is_finished(trial.state)) {
      ++summary_.already_finished;
      continue;
    }
    const auto left = static_cast<double>((trial.steps - position_of(trial).first) * trial.tokens_per_step);
    flops += left * work_.at(trial.id).flops_per_token;
  }
  context_.store.requeue(failed);
  reporter_.start(static_cast<std::int64_t>(order_.size()), summary_.already_finished, flops);
}

// The trials of this space (a study may hold more), in the order of the space.
std::vector<db::Trial> Sweep::read_trials() {
  const Timed timed(summary_.profile.store);
  std::unordered_map<std::int64_t, db::Trial> by_id;
  for (db::Trial& trial : context_.store.trials(study_)) by_id.emplace(trial.id, std::move(trial));
  std::vector<db::Trial> trials;
  for (const std::int64_t id : order_) trials.push_back(std::move(by_id.at(id)));
  return trials;
}

std::int64_t Sweep::open_trials() {
  const auto trials = read_trials();
  return std::count_if(trials.begin(), trials.end(), [](const db::Trial& t) { return !db::is_finished(t.state); });
}

// Trains one group. False when nothing is left to do.
bool Sweep::step() {
  const std::vector<db::Trial> trials = read_trials();
  bool open = false;
  std::vector<std::string> tried;  // cohort keys whose open trials all belong to others
  for (const db::Trial& first : trials) {
    if (db::is_finished(first.state)) continue;
    open = true;
    if (std::find(tried.begin(), tried.end(), first.cohort_key) != tried.end() &&
        first.state == db::TrialState::running)
      continue;
    std::vector<Member> members = claim_group(candidates(trials, first), limit_of(first));
    if (members.empty()) {
      tried.push_back(first.cohort_key);
      continue;
    }
    train(std::move(members));
    return true;
  }
  // What is left is being trained by other processes: wait for them, and take over what they leave.
  if (open) std::this_thread::sleep_for(poll);
  return open;
}

// Open trials that can join `first`, itself first.
std::vector<std::int64_t> Sweep::candidates(const std::vector<db::Trial>& trials, const db::Trial& first) const {
  std::vector<std::int64_t> ids;
  for (const db::Trial& trial : trials) {
    if (db::is_finished(trial.state) || trial.cohort_key != first.cohort_key) continue;
    if (position_of(trial) != position_of(first)) continue;
    if (work_.at(trial.id).largest_group != work_.at(first.id).largest_group) continue;
    ids.push_back(trial.id);
  }
  return ids;
}

std::size_t Sweep::limit_of(const db::Trial& trial) const {
  const Work& work = work_.at(trial.id);
  std::size_t limit = work.largest_group;
  if (options_.max_cohort > 0) return std::min(limit, options_.max_cohort);
  if (const double memory = available_memory_bytes(); memory > 0) {
    const double fitting = share_of_memory * memory / (bytes_per_parameter * std::max(1.0, work.parameters));
    if (fitting < static_cast<double>(limit)) limit = std::max<std::size_t>(1, static_cast<std::size_t>(fitting));
  }
  return limit;
}

// Claims, then looks again: another process may have moved some of them on since they were read.
std::vector<Member> Sweep::claim_group(const std::vector<std::int64_t>& ids, std::size_t limit) {
  std::vector<db::Claim> claims;
  {
    const Timed timed(summary_.profile.store);
    claims = context_.store.claim(ids, limit, options_.lease_seconds);
  }
  if (claims.empty()) return {};
  std::unordered_map<std::int64_t, db::Trial> now;
  for (db::Trial& trial : read_trials()) now.emplace(trial.id, std::move(trial));
  std::vector<Member> members;
  std::vector<db::Claim> others;
  const auto position = position_of(now.at(claims.front().trial));
  for (const db::Claim& claim : claims) {
    const db::Trial& trial = now.at(claim.trial);
    if (position_of(trial) != position) {
      others.push_back(claim);
      continue;
    }
    const Work& work = work_.at(claim.trial);
    members.push_back({work.spec, trial.trial_key, claim, trial.checkpoint, work.flops_per_token});
  }
  const Timed timed(summary_.profile.store);
  if (!others.empty()) context_.store.release(others);
  return members;
}

void Sweep::train(std::vector<Member> members) {
  CohortRun run(context_, std::move(members));
  try {
    run.run();
  } catch (const db::StoreError&) {
    throw;  // the leases are free as soon as this process has ended
  } catch (const model::InputError&) {
    std::vector<db::Claim> claims;
    for (const Member& member : run.members()) claims.push_back(member.claim);
    context_.store.release(claims);
    throw;
  } catch (const std::exception& error) {
    isolate(run.members(), error.what());
  }
}

// Whoever made the group throw is found by halving. No members: they had all ended, and the error was of no
// consequence.
void Sweep::isolate(const std::vector<Member>& members, const std::string& what) {
  if (members.size() == 1) {
    const Member& member = members.front();
    reporter_.warn(fmt::format("trial {} failed: {}", member.key, what));
    const std::int64_t step = member.checkpoint ? member.checkpoint->step : 0;
    const Timed timed(summary_.profile.store);
    context_.store.finish({member.claim, db::TrialState::failed, step, what, 0});
    ++summary_.trained;
    reporter_.finished(0);
    return;
  }
  reporter_.warn(fmt::format("a cohort of {} trials failed ({}); trying them in smaller groups", members.size(), what));
  std::vector<db::Claim> claims;
  for (const Member& member : members) {
    work_.at(member.claim.trial).largest_group = (members.size() + 1) / 2;
    claims.push_back(member.claim);
  }
  const Timed timed(summary_.profile.store);
  context_.store.release(claims);
}

}  // namespace

int SweepSummary::exit_code() const {
  if (interrupted) return 75;
  const auto failed = trials.find(db::TrialState::failed);
  return failed != trials.end() && failed->second > 0 ? 3 : 0;
}

SweepSummary run_sweep(const Space& space, db::Store& store, const SweepOptions& options) {
  return Sweep(space, store, options).run();
}

SweepPlan plan_sweep(const Space& space) {
  SweepPlan plan;
  plan.designs = static_cast<std::int64_t>(space.designs.size());
  plan.trials = static_cast<std::int64_t>(space.trials.size());
  std::map<std::string, std::int64_t> cohorts;
  for (const model::TrialSpec& spec : space.trials) {
    const model::Recipe& recipe = spec.recipe;
    const std::int64_t tokens = recipe.steps * recipe.batch * spec.design.shape.context;
    plan.largest_cohort = std::max(plan.largest_cohort, ++cohorts[model::cohort_key(spec.design, recipe)]);
    plan.tokens += tokens;
    plan.flops += static_cast<double>(tokens) * model::cost_of(spec.design).flops_train;
    plan.evaluations += static_cast<std::int64_t>(model::evaluation_steps(recipe.eval, recipe.steps).size());
  }
  plan.cohorts = static_cast<std::int64_t>(cohorts.size());
  return plan;
}

}  // namespace hylas::search
