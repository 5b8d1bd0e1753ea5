// Store: opening, studies, designs, trials, provenance and fits. Claims, batches and queries have files of their own.
#include "db/store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "db/open.hpp"
#include "db/store_impl.hpp"

namespace hylas::db {
namespace {

// Where two canonical texts part, with a little of both: enough to see which setting was changed.
std::string first_difference(const std::string& before, const std::string& now) {
  const auto [a, b] = std::mismatch(before.begin(), before.end(), now.begin(), now.end());
  const auto at = static_cast<std::size_t>(a - before.begin());
  const std::size_t from = at > 40 ? at - 40 : 0;
  return fmt::format("...{}... before, ...{}... now", before.substr(from, 80), now.substr(from, 80));
}

std::int64_t id_where(Connection& db, std::string_view query, const std::string& key, std::string_view what) {
  Statement find = db.prepare(query);
  find.bind(1, key);
  if (!find.step()) throw StoreError(StoreErrorKind::internal, fmt::format("{} {} is not in the store yet", what, key));
  return find.integer(0);
}

std::int64_t protocol_id(Connection& db, const std::string& json) {
  db.prepare("INSERT INTO protocols(json) VALUES (?1) ON CONFLICT DO NOTHING").bind(1, json).run();
  return id_where(db, "SELECT id FROM protocols WHERE json = ?1", json, "protocol");
}

void insert_trial(Connection& db, const NewTrial& trial, const std::string& now) {
  const std::int64_t design = id_where(db, "SELECT id FROM designs WHERE design_id = ?1", trial.design_id, "design");
  Statement insert = db.prepare(
      "INSERT INTO trials(trial_key, design, protocol, recipe_json, cohort_key, seed, steps, tokens_per_step,"
      " capability_metric, capability_threshold, capability_stop_at, created_at)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT(trial_key) DO NOTHING");
  insert.bind(1, trial.trial_key).bind(2, design).bind(3, protocol_id(db, trial.protocol_json));
  insert.bind(4, trial.recipe_json).bind(5, trial.cohort_key).bind(6, trial.seed).bind(7, trial.steps);
  insert.bind(8, trial.tokens_per_step).bind(9, trial.capability_metric).bind(10, trial.capability_threshold);
  insert.bind(11, trial.capability_stop_at).bind(12, now);
  insert.run();
}

// A trial that is there already must be the same one: its key is a hash, so anything else is a collision or a change of
// the protocol between two versions of the program, whose points must not be mixed.
std::int64_t existing_trial(Connection& db, const NewTrial& trial) {
  Statement find = db.prepare(
      "SELECT t.id, t.recipe_json, p.json FROM trials t JOIN protocols p ON p.id = t.protocol WHERE t.trial_key = ?1");
  find.bind(1, trial.trial_key);
  if (!find.step()) return 0;
  const std::int64_t id = find.integer(0);
  if (find.text(1) != trial.recipe_json) {
    throw StoreError(StoreErrorKind::conflict,
                     fmt::format("trial {} is stored with another recipe; use another --db file", trial.trial_key),
                     {id});
  }
  if (find.text(2) != trial.protocol_json) {
    throw StoreError(
        StoreErrorKind::conflict,
        fmt::format("trial {} was measured under another protocol (another version of hylas): {}; its points "
                    "cannot be mixed with new ones, use another --db file",
                    trial.trial_key, first_difference(find.text(2), trial.protocol_json)),
        {id});
  }
  return id;
}

}  // namespace

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;

Store Store::open(const std::filesystem::path& file, Access access, const OpenOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->connection = open_connection(file, access, options);
  return Store(std::move(impl));
}

const std::filesystem::path& Store::file() const {
  return impl_->db().file();
}
int Store::schema_version() {
  return newest_schema;
}

std::int64_t Store::ensure_study(const std::string& name, const std::string& space_json, const std::string& space_text,
                                 bool extend) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  db.prepare(
        "INSERT INTO studies(name, space_json, space_text, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
      .bind(1, name)
      .bind(2, space_json)
      .bind(3, space_text)
      .bind(4, utc_now())
      .run();
  const std::int64_t id = id_where(db, "SELECT id FROM studies WHERE name = ?1", name, "study");
  std::string stored;
  {
    Statement find = db.prepare("SELECT space_json FROM studies WHERE id = ?1");
    find.bind(1, id);
    if (find.step()) stored = find.text(0);
  }
  if (stored != space_json) {
    if (!extend) {
      throw StoreError(
          StoreErrorKind::changed,
          fmt::format("the space of study \"{}\" in {} has changed: {}; give --extend to add the new trials to the "
                      "study, or another study name or --db file",
                      name, db.file().string(), first_difference(stored, space_json)));
    }
    db.prepare("UPDATE studies SET space_json = ?2, space_text = ?3 WHERE id = ?1")
        .bind(1, id)
        .bind(2, space_json)
        .bind(3, space_text)
        .run();
  }
  transaction.commit();
  return id;
}

void Store::add_designs(std::span<const Design> designs) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  for (const Design& design : designs) {
    Statement insert = db.prepare(
        "INSERT INTO designs(design_id, canonical, layout, shape_json, parameters_total, parameters_non_embedding,"
        " flops_forward, flops_train, cache_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        " ON CONFLICT(design_id) DO NOTHING");
    insert.bind(1, design.design_id).bind(2, design.canonical).bind(3, design.layout).bind(4, design.shape_json);
    insert.bind(5, design.parameters_total).bind(6, design.parameters_non_embedding).bind(7, design.flops_forward);
    insert.bind(8, design.flops_train).bind(9, design.cache_bytes);
    insert.run();
  }
  transaction.commit();
}

std::vector<std::int64_t> Store::add_trials(std::int64_t study, std::span<const NewTrial> trials) {
  Connection& db = impl_->db();
  const std::string now = utc_now();
  std::vector<std::int64_t> ids;
  ids.reserve(trials.size());
  Transaction transaction(db);
  std::int64_t ordinal = 0;
  {
    Statement last = db.prepare("SELECT coalesce(max(ordinal), 0) FROM study_trials WHERE study = ?1");
    last.bind(1, study);
    if (last.step()) ordinal = last.integer(0);
  }
  for (const NewTrial& trial : trials) {
    std::int64_t id = existing_trial(db, trial);
    if (id == 0) {
      insert_trial(db, trial, now);
      id = id_where(db, "SELECT id FROM trials WHERE trial_key = ?1", trial.trial_key, "trial");
    }
    db.prepare("INSERT INTO study_trials(study, trial, ordinal) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")
        .bind(1, study)
        .bind(2, id)
        .bind(3, ++ordinal)
        .run();
    ids.push_back(id);
  }
  transaction.commit();
  return ids;
}

std::int64_t Store::begin_run(const std::string& program_version, const std::string& machine,
                              const std::string& device) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  db.prepare("INSERT INTO runs(program_version, machine, device, started_at) VALUES (?1, ?2, ?3, ?4)")
      .bind(1, program_version)
      .bind(2, machine)
      .bind(3, device)
      .bind(4, utc_now())
      .run();
  const std::int64_t id = db.last_id();
  transaction.commit();
  impl_->run = id;
  return id;
}

std::int64_t Store::add_fit(std::int64_t study, const std::string& kind, const std::string& json,
                            const std::string& program_version) {
  Connection& db = impl_->db();
  Transaction transaction(db);
  db.prepare("INSERT INTO fits(study, kind, json, program_version, created_at) VALUES (?1, ?2, ?3, ?4, ?5)")
      .bind(1, study)
      .bind(2, kind)
      .bind(3, json)
      .bind(4, program_version)
      .bind(5, utc_now())
      .run();
  const std::int64_t id = db.last_id();
  transaction.commit();
  return id;
}

}  // namespace hylas::db
