// Leases: who may write a trial. A claim raises the trial's epoch, so whoever held it before can write no more.
#include <fmt/format.h>

#include <algorithm>

#include "db/store_impl.hpp"

namespace hylas::db {
namespace {

// Free: queued, or running under a lease that is over (process.hpp has the rule).
bool is_free(Connection& db, std::int64_t trial, const Owner& self, double now) {
  Statement find = db.prepare("SELECT state, owner_boot, owner_process, lease_until FROM trials WHERE id = ?1");
  find.bind(1, trial);
  if (!find.step()) return false;
  const std::string state = find.text(0);
  if (state == "queued") return true;
  return state == "running" && lease_is_over({"", find.text(1), find.text(2)}, find.real(3), self, now);
}

}  // namespace

std::string key_of(Connection& db, std::int64_t trial) {
  Statement find = db.prepare("SELECT trial_key FROM trials WHERE id = ?1");
  find.bind(1, trial);
  return find.step() ? find.text(0) : fmt::format("number {}", trial);
}

std::vector<Claim> Store::claim(std::span<const std::int64_t> trials, std::size_t limit, double lease_seconds) {
  Connection& db = impl_->db();
  std::vector<Claim> claims;
  Transaction transaction(db);
  const double now = monotonic_seconds();
  for (const std::int64_t trial : trials) {
    if (claims.size() >= limit) break;
    if (!is_free(db, trial, impl_->owner, now)) continue;
    Statement take = db.prepare(
        "UPDATE trials SET state = 'running', epoch = epoch + 1, owner = ?2, owner_boot = ?3, owner_process = ?4,"
        " lease_until = ?5, started_at = CASE started_at WHEN '' THEN ?6 ELSE started_at END WHERE id = ?1 RETURNING "
        "epoch");
    take.bind(1, trial).bind(2, impl_->owner.name).bind(3, impl_->owner.boot).bind(4, impl_->owner.process);
    take.bind(5, now + lease_seconds).bind(6, utc_now());
    if (take.step()) claims.push_back({trial, take.integer(0)});
    take.run();
  }
  transaction.commit();
  return claims;
}

void Store::renew(std::span<const Claim> claims, double lease_seconds) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  const double until = monotonic_seconds() + lease_seconds;
  std::vector<std::int64_t> lost;
  for (const Claim& claim : claims) {
    db.prepare("UPDATE trials SET lease_until = ?3 WHERE id = ?1 AND epoch = ?2 AND state = 'running'")
        .bind(1, claim.trial)
        .bind(2, claim.epoch)
        .bind(3, until)
        .run();
    if (db.changes() == 0) lost.push_back(claim.trial);
  }
  transaction.commit();
  if (!lost.empty()) {
    throw StoreError(StoreErrorKind::stale,
                     fmt::format("{} trials (first {}) were taken over by another process after their lease ran out",
                                 lost.size(), key_of(db, lost.front())),
                     lost);
  }
}

void Store::release(std::span<const Claim> claims) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  for (const Claim& claim : claims) {
    db.prepare("UPDATE trials SET state = 'queued', lease_until = 0 WHERE id = ?1 AND epoch = ?2 AND state = 'running'")
        .bind(1, claim.trial)
        .bind(2, claim.epoch)
        .run();
  }
  transaction.commit();
}

void Store::requeue(std::span<const std::int64_t> trials) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  for (const std::int64_t trial : trials) {
    db.prepare(
          "UPDATE trials SET state = 'queued', epoch = epoch + 1, step = 0, message = '', wall_seconds = 0, started_at "
          "= '',"
          " finished_at = '', lease_until = 0 WHERE id = ?1 AND state NOT IN ('queued', 'running')")
        .bind(1, trial)
        .run();
    if (db.changes() == 0) continue;
    db.prepare("DELETE FROM points WHERE trial = ?1").bind(1, trial).run();
    db.prepare("DELETE FROM evaluations WHERE trial = ?1").bind(1, trial).run();
    db.prepare("DELETE FROM checkpoints WHERE trial = ?1").bind(1, trial).run();
  }
  transaction.commit();
}

}  // namespace hylas::db
