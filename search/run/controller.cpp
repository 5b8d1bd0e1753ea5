// run_sweep: registers a space in the store, then lets a worker a device (worker.hpp) train what is open.
#include "search/run/controller.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "model/design/cost.hpp"
#include "search/run/devices.hpp"
#include "search/run/records.hpp"
#include "search/run/worker.hpp"

namespace hylas::search {
namespace {

using Clock = std::chrono::steady_clock;

class Sweep {
 public:
  Sweep(const Space& space, db::Store& store, const SweepOptions& options)
      : options_(options),
        store_(store),
        devices_(options.devices.empty() ? worker_devices(options.device) : options.devices),
        reporter_(options.progress),
        shared_{.options = options_, .reporter = reporter_, .workers = devices_.size()} {
    register_space(space);
  }

  SweepSummary run() {
    begin();
    train();
    summary_.interrupted |= interrupted() && open_trials() > 0;
    for (const db::Trial& trial : read_trials(shared_, store_, summary_.profile)) ++summary_.trials[trial.state];
    const double waited = summary_.profile.total;  // of all workers but the first
    summary_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    summary_.profile.total = summary_.seconds + waited;
    reporter_.end(
        fmt::format("{} in {}", summary_.interrupted ? "interrupted" : "finished", duration_text(summary_.seconds)));
    return summary_;
  }

 private:
  void register_space(const Space& space);
  void begin();
  void train();
  [[nodiscard]] bool interrupted() const { return options_.interrupt != nullptr && options_.interrupt->load(); }
  [[nodiscard]] std::int64_t open_trials();

  Clock::time_point start_ = Clock::now();
  SweepOptions options_;
  db::Store& store_;
  std::vector<std::string> devices_;
  SweepSummary summary_;
  Reporter reporter_;
  SharedWork shared_;
};

void Sweep::register_space(const Space& space) {
  if (options_.extend) check_registration(store_, space);
  std::vector<db::Design> designs;
  std::unordered_map<std::string, double> flops;
  for (const model::Design& design : space.designs) {
    designs.push_back(design_record(design));
    flops[designs.back().design_id] = designs.back().flops_train;
  }
  std::vector<db::NewTrial> trials;
  for (const model::TrialSpec& spec : space.trials) trials.push_back(trial_record(spec));
  const Timed stored(summary_.profile.store);
  shared_.study = store_.ensure_study(space.study, space.canonical_json(), options_.space_text, options_.extend);
  store_.add_designs(designs);
  shared_.order = store_.add_trials(shared_.study, trials);
  for (std::size_t i = 0; i < shared_.order.size(); ++i) {
    Work& work = shared_.work[shared_.order[i]];
    work.spec = &space.trials[i];
    work.flops_per_token = flops[trials[i].design_id];
  }
}

void Sweep::begin() {
  double flops = 0;
  std::vector<std::int64_t> failed;
  for (const db::Trial& trial : read_trials(shared_, store_, summary_.profile)) {
    if (options_.retry_failed && trial.state == db::TrialState::failed) {
      failed.push_back(trial.id);
    } else if (db::is_finished(trial.state)) {
      ++summary_.already_finished;
      continue;
    }
    flops += flops_left(shared_, trial);
  }
  store_.requeue(failed);
  reporter_.start(static_cast<std::int64_t>(shared_.order.size()), summary_.already_finished, flops);
}

// The first worker keeps to this thread and this Store, the others have their own.
void Sweep::train() {
  std::vector<db::Store> stores;
  for (std::size_t i = 1; i < devices_.size(); ++i) {
    stores.push_back(db::Store::open(store_.file(), db::Access::write, {.waiting = {}, .quick_check = false}));
  }
  std::vector<std::unique_ptr<Worker>> workers;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    db::Store& store = i == 0 ? store_ : stores[i - 1];
    workers.push_back(std::make_unique<Worker>(shared_, store, static_cast<int>(i), devices_[i]));
  }
  std::exception_ptr error;  // the first one
  const auto work = [&](Worker& worker) {
    try {
      worker.run();
    } catch (...) {
      if (!shared_.stop.exchange(true)) error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < workers.size(); ++i) threads.emplace_back([&, i] { work(*workers[i]); });
    work(*workers.front());
  }
  if (error) std::rethrow_exception(error);
  for (const auto& worker : workers) {
    Profile profile = worker->summary().profile;
    if (worker == workers.front()) profile.total = 0;  // its time is the sweep's
    summary_.profile.add(profile);
    summary_.trained += worker->summary().trained;
    summary_.tokens += worker->summary().tokens;
    summary_.interrupted |= worker->summary().interrupted;
  }
}

std::int64_t Sweep::open_trials() {
  const auto trials = read_trials(shared_, store_, summary_.profile);
  return std::count_if(trials.begin(), trials.end(), [](const db::Trial& t) { return !db::is_finished(t.state); });
}

}  // namespace

void check_registration(const db::Store& store, const Space& space) {
  for (const db::Study& study : store.studies()) {
    if (study.name != space.study || study.space_json == space.canonical_json()) continue;
    if (!space.registration && !nlohmann::json::parse(study.space_json).contains("findings")) continue;
    throw model::InputError(
        fmt::format("study '{}' cannot be extended: [findings] registers a space before its first step, and what was "
                    "registered stays. Give the changed space another study's name or another store",
                    space.study));
  }
}

int SweepSummary::exit_code() const {
  if (interrupted) return 75;
  const auto failed = trials.find(db::TrialState::failed);
  return failed != trials.end() && failed->second > 0 ? 3 : 0;
}

SweepSummary run_sweep(const Space& space, db::Store& store, const SweepOptions& options) {
  return Sweep(space, store, options).run();
}

std::int64_t planned_tokens(const model::TrialSpec& trial) {
  return trial.recipe.steps * trial.recipe.batch * trial.design.shape.context;
}

SweepPlan plan_sweep(const Space& space) {
  SweepPlan plan;
  plan.designs = static_cast<std::int64_t>(space.designs.size());
  plan.trials = static_cast<std::int64_t>(space.trials.size());
  std::map<std::string, std::int64_t> cohorts;
  for (const model::TrialSpec& spec : space.trials) {
    const model::Recipe& recipe = spec.recipe;
    const std::int64_t tokens = planned_tokens(spec);
    plan.largest_cohort = std::max(plan.largest_cohort, ++cohorts[model::cohort_key(spec.design, recipe)]);
    plan.tokens += tokens;
    plan.flops += static_cast<double>(tokens) * model::cost_of(spec.design).flops_train;
    plan.evaluations += static_cast<std::int64_t>(model::evaluation_steps(recipe.eval, recipe.steps).size());
  }
  plan.cohorts = static_cast<std::int64_t>(cohorts.size());
  return plan;
}

SweepPlan plan_study(const Space& space) {
  SweepPlan plan = plan_sweep(space);
  if (!space.tuning) return plan;
  const SweepPlan tuning = plan_sweep(*space.tuning);
  plan.trials += tuning.trials;
  plan.cohorts += tuning.cohorts;
  plan.largest_cohort = std::max(plan.largest_cohort, tuning.largest_cohort);
  plan.tokens += tuning.tokens;
  plan.flops += tuning.flops;
  plan.evaluations += tuning.evaluations;
  return plan;
}

}  // namespace hylas::search
