// The batch of a cohort: evaluations with their points, checkpoints and ends of trials, in one transaction.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <string_view>

#include "db/store_impl.hpp"

namespace hylas::db {
namespace {

std::string_view class_of(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "+inf" : "-inf";
  return "finite";
}

// SQLite keeps a real that is an integer as an integer, so -0.0 comes back as 0.0: store that.
double storable(double value) {
  return value == 0 ? 0.0 : value;
}

struct Stored {
  std::string value_class;
  double value = 0;
  std::int64_t count = 0;
};

bool same(const Stored& stored, const MetricValue& point) {
  if (stored.count != point.count || stored.value_class != class_of(point.value)) return false;
  return stored.value_class != "finite" ||
         std::bit_cast<std::uint64_t>(stored.value) == std::bit_cast<std::uint64_t>(storable(point.value));
}

std::string shown(std::string_view value_class, double value, std::int64_t count) {
  return value_class == "finite" ? fmt::format("{:.17g} of {} positions", value, count) : std::string(value_class);
}

class BatchWriter {
 public:
  BatchWriter(Connection& db, std::optional<std::int64_t> run, double lease_until)
      : db_(db), run_(run), lease_until_(lease_until), now_(utc_now()) {}

  // Every claim of the batch is still ours, or is the end that an earlier, lost-looking commit of the same batch wrote.
  void check_claims(const Batch& batch) {
    std::vector<std::int64_t> stale;
    std::set<std::int64_t> seen;
    auto check = [&](const Claim& claim) {
      if (seen.insert(claim.trial).second && !holds(claim)) stale.push_back(claim.trial);
    };
    for (const FinishRecord& end : batch.finishes) {
      if (is_repeated(end)) seen.insert(end.claim.trial);
      check(end.claim);
    }
    for (const EvaluationRecord& evaluation : batch.evaluations) check(evaluation.claim);
    for (const CheckpointRecord& checkpoint : batch.checkpoints) check(checkpoint.claim);
    if (stale.empty()) return;
    throw StoreError(
        StoreErrorKind::stale,
        fmt::format("{} trials (first {}) were taken over by another process after their lease ran out; this "
                    "process's results of them are not stored",
                    stale.size(), key_of(db_, stale.front())),
        stale);
  }

  void write(const EvaluationRecord& evaluation) {
    const Claim& claim = evaluation.claim;
    Statement insert = db_.prepare(
        "INSERT INTO evaluations(trial, step, tokens, protocol, run, recorded_at)"
        " SELECT ?1, ?2, ?3, protocol, ?4, ?5 FROM trials WHERE id = ?1 ON CONFLICT DO NOTHING");
    insert.bind(1, claim.trial).bind(2, evaluation.step).bind(3, evaluation.tokens).bind(5, now_);
    if (run_) insert.bind(4, *run_);
    insert.run();
    for (const MetricValue& point : evaluation.points) write_point(claim.trial, evaluation.step, point);
    Statement update = db_.prepare(
        "UPDATE trials SET step = max(step, ?3), wall_seconds = wall_seconds + ?4, lease_until = ?5"
        " WHERE id = ?1 AND epoch = ?2 AND state = 'running'");
    update.bind(1, claim.trial).bind(2, claim.epoch).bind(3, evaluation.step).bind(4, evaluation.seconds);
    update.bind(5, lease_until_).run();
  }

  void write(const CheckpointRecord& record) {
    const std::int64_t trial = record.claim.trial;
    const Checkpoint& checkpoint = record.checkpoint;
    db_.prepare("DELETE FROM checkpoints WHERE trial = ?1").bind(1, trial).run();
    Statement insert = db_.prepare(
        "INSERT INTO checkpoints(trial, step, evaluated, path, bytes, run, recorded_at) VALUES (?1, ?2, ?3, ?4, ?5, "
        "?6, ?7)");
    insert.bind(1, trial).bind(2, checkpoint.step).bind(3, checkpoint.evaluated ? 1 : 0).bind(4, checkpoint.path);
    insert.bind(5, checkpoint.bytes).bind(7, now_);
    if (run_) insert.bind(6, *run_);
    insert.run();
    db_.prepare("UPDATE trials SET lease_until = ?3 WHERE id = ?1 AND epoch = ?2 AND state = 'running'")
        .bind(1, trial)
        .bind(2, record.claim.epoch)
        .bind(3, lease_until_)
        .run();
  }

  void write(const FinishRecord& end) {
    if (!is_finished(end.state)) {
      throw StoreError(StoreErrorKind::internal, fmt::format("a trial cannot end as {}", to_string(end.state)));
    }
    Statement update = db_.prepare(
        "UPDATE trials SET state = ?3, step = ?4, message = ?5, wall_seconds = wall_seconds + ?6, finished_at = ?7,"
        " lease_until = 0 WHERE id = ?1 AND epoch = ?2 AND state = 'running'");
    update.bind(1, end.claim.trial).bind(2, end.claim.epoch).bind(3, to_string(end.state)).bind(4, end.step);
    update.bind(5, end.message).bind(6, end.seconds).bind(7, now_).run();
  }

 private:
  bool holds(const Claim& claim) {
    Statement find = db_.prepare("SELECT 1 FROM trials WHERE id = ?1 AND epoch = ?2 AND state = 'running'");
    return find.bind(1, claim.trial).bind(2, claim.epoch).step();
  }

  bool is_repeated(const FinishRecord& end) {
    Statement find = db_.prepare("SELECT 1 FROM trials WHERE id = ?1 AND epoch = ?2 AND state = ?3 AND step = ?4");
    return find.bind(1, end.claim.trial)
        .bind(2, end.claim.epoch)
        .bind(3, to_string(end.state))
        .bind(4, end.step)
        .step();
  }

  void write_point(std::int64_t trial, std::int64_t step, const MetricValue& point) {
    const std::string_view value_class = class_of(point.value);
    Statement insert = db_.prepare(
        "INSERT INTO points(trial, step, metric, value, value_class, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT DO NOTHING");
    insert.bind(1, trial).bind(2, step).bind(3, point.metric).bind(5, value_class).bind(6, point.count);
    if (value_class == "finite") insert.bind(4, storable(point.value));
    insert.run();
    if (db_.changes() == 0) verify_point(trial, step, point);
  }

  void verify_point(std::int64_t trial, std::int64_t step, const MetricValue& point) {
    Statement find =
        db_.prepare("SELECT value_class, value, count FROM points WHERE trial = ?1 AND step = ?2 AND metric = ?3");
    find.bind(1, trial).bind(2, step).bind(3, point.metric);
    const bool found = find.step();
    const Stored stored{found ? find.text(0) : "", found ? find.real(1) : 0, found ? find.integer(2) : 0};
    if (found && same(stored, point)) return;
    throw StoreError(
        StoreErrorKind::conflict,
        fmt::format(
            "trial {} step {} {}: stored {}, recomputed {}; the same trial must give the same bits, so this program, "
            "library or processor differs from the one that began it. Go on where it began, or run it anew",
            key_of(db_, trial), step, point.metric, shown(stored.value_class, stored.value, stored.count),
            shown(class_of(point.value), point.value, point.count)),
        {trial});
  }

  Connection& db_;
  std::optional<std::int64_t> run_;
  double lease_until_;
  std::string now_;
};

}  // namespace

void Store::commit(const Batch& batch, double lease_seconds) {
  if (batch.empty()) return;
  Transaction transaction(impl_->db());
  BatchWriter writer(impl_->db(), impl_->run, monotonic_seconds() + lease_seconds);
  writer.check_claims(batch);
  for (const EvaluationRecord& evaluation : batch.evaluations) writer.write(evaluation);
  for (const CheckpointRecord& checkpoint : batch.checkpoints) writer.write(checkpoint);
  for (const FinishRecord& end : batch.finishes) writer.write(end);
  transaction.commit();
}

void Store::record_evaluation(std::span<const EvaluationRecord> cohort) {
  commit({.evaluations = {cohort.begin(), cohort.end()}, .checkpoints = {}, .finishes = {}});
}

void Store::record_checkpoint(const CheckpointRecord& checkpoint) {
  commit({.evaluations = {}, .checkpoints = {checkpoint}, .finishes = {}});
}

void Store::finish(const FinishRecord& end) {
  commit({.evaluations = {}, .checkpoints = {}, .finishes = {end}});
}

void Store::forget_checkpoint(const Claim& claim, std::int64_t step) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  db.prepare(
        "DELETE FROM checkpoints WHERE trial = ?1 AND step = ?3"
        " AND EXISTS (SELECT 1 FROM trials WHERE id = ?1 AND epoch = ?2)")
      .bind(1, claim.trial)
      .bind(2, claim.epoch)
      .bind(3, step)
      .run();
  transaction.commit();
}

}  // namespace hylas::db
