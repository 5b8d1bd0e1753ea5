// The life of a cohort: load, train to the next evaluation, evaluate, commit, let the finished ones go.
#include "search/run/cohort_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "model/checkpoint.hpp"

namespace hylas::search {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double slice_seconds = 1.0;           // between looks at the clock
constexpr double interrupt_seconds = 4.0;       // for checkpoints after a signal: the process is to be gone in 5
constexpr double checkpoint_share = 1.0 / 150;  // of the time that checkpoints may take

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

CohortRun::CohortRun(SweepContext& sweep, std::vector<Member> members) : sweep_(sweep) {
  for (Member& member : members) slots_.push_back({std::move(member), {}, true});
}

std::vector<Member> CohortRun::members() const {
  std::vector<Member> members;
  for (const Slot& slot : slots_) {
    if (slot.in) members.push_back(slot.member);
  }
  return members;
}

std::size_t CohortRun::active() const {
  return static_cast<std::size_t>(std::count_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.in; }));
}

CohortRun::Slot& CohortRun::slot_of(std::int64_t trial) {
  return *std::find_if(slots_.begin(), slots_.end(), [&](const Slot& s) { return s.member.claim.trial == trial; });
}

void CohortRun::run() {
  recorded_at_ = saved_at_ = committed_at_ = Clock::now();
  std::vector<model::TrialSpec> specs;
  for (const Slot& slot : slots_) specs.push_back(*slot.member.spec);
  const model::Recipe& recipe = specs.front().recipe;
  evaluations_ = model::evaluation_steps(recipe.eval, recipe.steps);
  const model::CohortOptions options{sweep_.options.threads, sweep_.device, sweep_.options.gpu_bytes};
  cohort_ = std::make_unique<model::Cohort>(std::move(specs), options);
  sweep_.reporter.plan(sweep_.worker, cohort_->plan_text());
  load_members();
  sweep_.reporter.cohort(sweep_.worker, active(), cohort_->steps());
  while (active() > 0) {
    if (sweep_.interrupted()) {
      save_all(std::max(interrupt_seconds, 2 * save_seconds_));  // what takes longer than that is worth the wait
      release();
      sweep_.summary.interrupted = true;
      return;
    }
    const auto due = std::upper_bound(evaluations_.begin(), evaluations_.end(), evaluated_step_);
    if (due == evaluations_.end()) break;  // ended: evaluate() has let everybody go
    train_until(*due);
    if (active() > 0 && cohort_->step() == *due && !sweep_.interrupted()) evaluate();
  }
}

// Reads checkpoints. A member whose file is lost or broken starts anew, in a group of its own kind: it is released
// here.
void CohortRun::load_members() {
  const std::optional<db::Checkpoint> position = slots_.front().member.checkpoint;
  const std::int64_t step = position ? position->step : 0;
  const bool evaluated = position && position->evaluated;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    load_history(slot, step, evaluated);
    if (!position) continue;
    try {
      const std::filesystem::path file = sweep_.files.find(slot.member.checkpoint->path);
      if (file.empty()) throw model::CheckpointError("its path leads out of the directory of checkpoints");
      cohort_->load(i, file);
    } catch (const model::CheckpointError& error) {
      sweep_.reporter.warn(fmt::format("trial {}: its checkpoint at step {} cannot be used ({}); it starts again",
                                       slot.member.key, step, error.what()));
      cohort_->remove(i);
      slot.in = false;
      sweep_.store.forget_checkpoint(slot.member.claim, step);
      sweep_.store.release(std::span(&slot.member.claim, 1));
    }
  }
  // Everything up to the position is stored: an evaluation is committed before training goes on.
  const auto next = std::lower_bound(evaluations_.begin(), evaluations_.end(), step);
  evaluated_step_ = next == evaluations_.begin() ? -1 : *(next - 1);
  if (evaluated && next != evaluations_.end() && *next == step) evaluated_step_ = step;
}

void CohortRun::load_history(Slot& slot, std::int64_t step, bool evaluated) {
  for (const db::Point& point :
       sweep_.store.points(slot.member.claim.trial, slot.member.spec->recipe.capability.metric)) {
    if (point.step < step || (point.step == step && evaluated)) slot.history.push_back({point.tokens, point.value});
  }
}

void CohortRun::train_until(std::int64_t step) {
  while (cohort_->step() < step && active() > 0 && !sweep_.interrupted()) {
    const std::int64_t from = cohort_->step();
    const auto start = Clock::now();
    double flops_per_step = 0;
    for (const Slot& slot : slots_) {
      if (slot.in) flops_per_step += slot.member.flops_per_token * static_cast<double>(cohort_->tokens_per_step());
    }
    std::vector<model::Divergence> divergences;
    {
      const Timed timed(sweep_.summary.profile.training);
      divergences = cohort_->train_to(std::min(step, from + slice_), sweep_.options.interrupt);
    }
    const std::int64_t done = cohort_->step() - from;
    const std::int64_t tokens = done * cohort_->tokens_per_step() * static_cast<std::int64_t>(active());
    if (done == slice_ && since(start) < slice_seconds / 2) slice_ *= 2;
    if (done > 1 && since(start) > slice_seconds * 2) slice_ = std::max<std::int64_t>(1, slice_ / 2);
    sweep_.summary.tokens += tokens;
    record_divergences(divergences);
    sweep_.reporter.advance(sweep_.worker, cohort_->step(), active(), tokens,
                            flops_per_step * static_cast<double>(done));
    // Where an evaluation is due it comes first: its checkpoint then needs no second one.
    if (cohort_->step() < step) checkpoint_if_due();
    renew_if_due();
  }
}

void CohortRun::record_divergences(const std::vector<model::Divergence>& divergences) {
  db::Batch batch;
  for (const model::Divergence& divergence : divergences) {
    const Slot& slot = slots_[divergence.trial];
    batch.finishes.push_back({slot.member.claim, db::TrialState::diverged, divergence.step,
                              fmt::format("loss or gradient not finite at step {}", divergence.step), 0});
  }
  commit(std::move(batch));
}

void CohortRun::evaluate() {
  std::vector<model::Evaluation> evaluations;
  {
    const Timed timed(sweep_.summary.profile.evaluation);
    evaluations = cohort_->evaluate();
  }
  db::Batch batch;
  const double seconds = share_of_time();
  for (model::Evaluation& evaluation : evaluations) add_evaluation(batch, evaluation, seconds);
  evaluated_step_ = cohort_->step();
  commit(std::move(batch));
  checkpoint_if_due();
}

void CohortRun::add_evaluation(db::Batch& batch, model::Evaluation& evaluation, double seconds) {
  Slot& slot = slots_[evaluation.trial];
  db::EvaluationRecord record{slot.member.claim, evaluation.step, evaluation.tokens, seconds, {}};
  for (model::Point& point : evaluation.points) {
    if (point.metric == slot.member.spec->recipe.capability.metric) {
      slot.history.push_back({evaluation.tokens, point.value});
    }
    record.points.push_back({std::move(point.metric), point.value, point.count});
  }
  batch.evaluations.push_back(std::move(record));
  const std::optional<db::TrialState> ending = ending_of(slot);
  if (sweep_.options.keep_checkpoints || (ending && sweep_.options.keep_final_checkpoint)) {
    if (auto saved = save(slot, true)) batch.checkpoints.push_back(std::move(*saved));
  }
  if (ending) batch.finishes.push_back({slot.member.claim, *ending, evaluation.step, "", 0});
}

std::optional<db::TrialState> CohortRun::ending_of(const Slot& slot) const {
  if (cohort_->step() >= cohort_->steps()) return db::TrialState::done;
  if (held_twice(slot.history, slot.member.spec->recipe.capability.stop_at)) return db::TrialState::stopped;
  return std::nullopt;
}

// The file only; its row is the caller's. A checkpoint that cannot be written costs time after a crash, not results.
std::optional<db::CheckpointRecord> CohortRun::save(Slot& slot, bool evaluated) {
  const Timed timed(sweep_.summary.profile.checkpoints);
  const auto index = static_cast<std::size_t>(&slot - slots_.data());
  try {
    const std::string relative = CheckpointFiles::relative_path(slot.member.key, cohort_->step());
    const std::filesystem::path file = sweep_.files.prepare(relative);
    cohort_->save(index, file);
    const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(file));
    return db::CheckpointRecord{slot.member.claim, {cohort_->step(), evaluated, relative, bytes}};
  } catch (const model::CheckpointError& error) {
    sweep_.reporter.warn(fmt::format("no checkpoint of trial {}: {}", slot.member.key, error.what()));
  } catch (const std::filesystem::filesystem_error& error) {
    sweep_.reporter.warn(fmt::format("no checkpoint of trial {}: {}", slot.member.key, error.what()));
  }
  return std::nullopt;
}

void CohortRun::save_all(double budget_seconds) {
  const auto start = Clock::now();
  const bool evaluated = evaluated_step_ == cohort_->step();
  db::Batch batch;
  for (Slot& slot : slots_) {
    if (!slot.in) continue;
    // What does not fit into the time keeps its older checkpoint.
    if (since(start) > budget_seconds) break;
    if (slot.member.checkpoint && slot.member.checkpoint->step == cohort_->step() &&
        slot.member.checkpoint->evaluated == evaluated) {
      continue;
    }
    if (cohort_->step() == 0) continue;  // nothing that starting again would not give
    if (auto saved = save(slot, evaluated)) batch.checkpoints.push_back(std::move(*saved));
  }
  commit(std::move(batch));
  save_seconds_ = since(start);
  saved_at_ = Clock::now();
}

void CohortRun::checkpoint_if_due() {
  const double cadence = sweep_.options.checkpoint_seconds;
  if (cadence < 0 || active() == 0) return;
  if (since(saved_at_) < cadence) return;
  if (cadence > 0 && since(saved_at_) < save_seconds_ / checkpoint_share) return;
  save_all(std::numeric_limits<double>::infinity());
}

// Every commit renews the leases; this is for long ways between evaluations.
void CohortRun::renew_if_due() {
  if (active() == 0 || since(committed_at_) < sweep_.options.lease_seconds / 3) return;
  std::vector<db::Claim> claims;
  for (const Slot& slot : slots_) {
    if (slot.in) claims.push_back(slot.member.claim);
  }
  const Timed timed(sweep_.summary.profile.store);
  try {
    sweep_.store.renew(claims, sweep_.options.lease_seconds);
  } catch (const db::StoreError& error) {
    if (error.kind() != db::StoreErrorKind::stale) throw;
    sweep_.reporter.warn(error.what());
    for (const std::int64_t trial : error.trials()) leave(slot_of(trial));
  }
  committed_at_ = Clock::now();
}

double CohortRun::share_of_time() {
  const double seconds = since(recorded_at_) / static_cast<double>(std::max<std::size_t>(1, active()));
  recorded_at_ = Clock::now();
  return seconds;
}

void CohortRun::leave(Slot& slot) {
  if (!slot.in) return;
  slot.in = false;
  cohort_->remove(static_cast<std::size_t>(&slot - slots_.data()));
}

void CohortRun::release() {
  std::vector<db::Claim> claims;
  for (Slot& slot : slots_) {
    if (slot.in) claims.push_back(slot.member.claim);
    slot.in = false;
  }
  const Timed timed(sweep_.summary.profile.store);
  sweep_.store.release(claims);
}

}  // namespace hylas::search
