// What a cohort writes to the store, and what follows from it: members lost to others, members that ended, old files.
#include <fmt/format.h>

#include <algorithm>

#include "search/run/cohort_run.hpp"

namespace hylas::search {
namespace {

void erase_trial(db::Batch& batch, std::int64_t trial) {
  auto of_trial = [&](const auto& record) { return record.claim.trial == trial; };
  std::erase_if(batch.evaluations, of_trial);
  std::erase_if(batch.checkpoints, of_trial);
  std::erase_if(batch.finishes, of_trial);
}

}  // namespace

void CohortRun::commit(db::Batch batch) {
  while (!batch.empty()) {
    try {
      const Timed timed(sweep_.summary.profile.store);
      sweep_.store.commit(batch, sweep_.options.lease_seconds);
    } catch (const db::StoreError& error) {
      const bool of_trials = error.kind() == db::StoreErrorKind::stale || error.kind() == db::StoreErrorKind::conflict;
      if (!of_trials || error.trials().empty()) throw;
      drop(batch, error);
      continue;
    }
    after_commit(batch);
    return;
  }
}

// Stale: another process has the trial now, and it is none of our business any more. Conflict: it fails with the
// message.
void CohortRun::drop(db::Batch& batch, const db::StoreError& error) {
  sweep_.reporter.warn(error.what());
  for (const std::int64_t trial : error.trials()) {
    erase_trial(batch, trial);
    Slot& slot = slot_of(trial);
    if (error.kind() == db::StoreErrorKind::conflict) {
      batch.finishes.push_back({slot.member.claim, db::TrialState::failed, cohort_->step(), error.what(), 0});
    } else {
      leave(slot);
    }
  }
}

void CohortRun::after_commit(const db::Batch& batch) {
  CommitNews news;
  news.step = cohort_->step();
  news.tokens = cohort_->step() * cohort_->tokens_per_step();
  for (const db::EvaluationRecord& record : batch.evaluations)
    news.trials.push_back(slot_of(record.claim.trial).member.key);
  for (const db::CheckpointRecord& record : batch.checkpoints) {
    Slot& slot = slot_of(record.claim.trial);
    slot.member.checkpoint = record.checkpoint;
    news.checkpoints.push_back(slot.member.key);
    const Timed timed(sweep_.summary.profile.checkpoints);
    std::span<const std::int64_t> kept;
    if (sweep_.options.keep_checkpoints) kept = evaluations_;
    sweep_.files.remove_others(slot.member.key, record.checkpoint.path, kept);
  }
  for (const db::FinishRecord& record : batch.finishes) {
    Slot& slot = slot_of(record.claim.trial);
    news.finished[slot.member.key] = db::to_string(record.state);
    const auto left = static_cast<double>((cohort_->steps() - record.step) * cohort_->tokens_per_step());
    sweep_.reporter.finished(left * slot.member.flops_per_token);
    ++sweep_.summary.trained;
    if (!sweep_.options.keep_final_checkpoint && record.state != db::TrialState::failed) drop_checkpoints(slot);
    leave(slot);
  }
  committed_at_ = std::chrono::steady_clock::now();
  sweep_.reporter.commit(news);
}

// The row first: a row always has its file.
void CohortRun::drop_checkpoints(const Slot& slot) {
  if (slot.member.checkpoint) {
    const Timed timed(sweep_.summary.profile.store);
    sweep_.store.forget_checkpoint(slot.member.claim, slot.member.checkpoint->step);
  }
  const Timed timed(sweep_.summary.profile.checkpoints);
  sweep_.files.remove_others(slot.member.key, "");
}

}  // namespace hylas::search
