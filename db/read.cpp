// Queries: studies, designs, trials, points, runs, fits.
#include <fmt/format.h>

#include <array>
#include <limits>
#include <utility>

#include "db/store_impl.hpp"

namespace hylas::db {
namespace {

constexpr std::array<std::pair<TrialState, std::string_view>, 6> state_names{{{TrialState::queued, "queued"},
                                                                              {TrialState::running, "running"},
                                                                              {TrialState::done, "done"},
                                                                              {TrialState::stopped, "stopped"},
                                                                              {TrialState::diverged, "diverged"},
                                                                              {TrialState::failed, "failed"}}};

double value_of(const Statement& row, int value_column, int class_column) {
  if (!row.is_null(value_column)) return row.real(value_column);
  const std::string value_class = row.text(class_column);
  if (value_class == "+inf") return std::numeric_limits<double>::infinity();
  if (value_class == "-inf") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}

constexpr std::string_view trial_columns =
    "SELECT t.id, t.trial_key, d.design_id, t.recipe_json, p.json, t.cohort_key, t.seed, t.steps, t.tokens_per_step,"
    " t.capability_metric, t.capability_threshold, t.capability_stop_at, t.state, t.step, t.message, t.wall_seconds,"
    " t.epoch, t.owner, t.started_at, t.finished_at, d.layout, c.step, c.evaluated, c.path, c.bytes"
    " FROM trials t JOIN designs d ON d.id = t.design JOIN protocols p ON p.id = t.protocol"
    " LEFT JOIN checkpoints c ON c.trial = t.id AND c.step = (SELECT max(step) FROM checkpoints WHERE trial = t.id)";

Trial read_trial(const Statement& row) {
  Trial trial;
  trial.id = row.integer(0);
  trial.trial_key = row.text(1);
  trial.design_id = row.text(2);
  trial.recipe_json = row.text(3);
  trial.protocol_json = row.text(4);
  trial.cohort_key = row.text(5);
  trial.seed = row.integer(6);
  trial.steps = row.integer(7);
  trial.tokens_per_step = row.integer(8);
  trial.capability_metric = row.text(9);
  trial.capability_threshold = row.real(10);
  trial.capability_stop_at = row.real(11);
  trial.state = trial_state(row.text(12));
  trial.step = row.integer(13);
  trial.message = row.text(14);
  trial.wall_seconds = row.real(15);
  trial.epoch = row.integer(16);
  trial.owner = row.text(17);
  trial.started_at = row.text(18);
  trial.finished_at = row.text(19);
  trial.layout = row.text(20);
  if (!row.is_null(21))
    trial.checkpoint = Checkpoint{row.integer(21), row.integer(22) != 0, row.text(23), row.integer(24)};
  return trial;
}

std::vector<Trial> read_trials(Statement& rows) {
  std::vector<Trial> trials;
  while (rows.step()) trials.push_back(read_trial(rows));
  return trials;
}

std::vector<Point> read_points(Statement& rows) {
  std::vector<Point> points;
  while (rows.step()) {
    points.push_back(
        {rows.integer(0), rows.integer(1), rows.integer(2), rows.text(3), value_of(rows, 4, 5), rows.integer(6)});
  }
  return points;
}

}  // namespace

std::string_view to_string(TrialState state) {
  for (const auto& [value, name] : state_names) {
    if (value == state) return name;
  }
  return "unknown";
}

TrialState trial_state(std::string_view name) {
  for (const auto& [value, text] : state_names) {
    if (text == name) return value;
  }
  throw StoreError(StoreErrorKind::corrupt, fmt::format("the store holds a trial in the unknown state \"{}\"", name));
}

std::vector<Study> Store::studies() const {
  Statement rows = impl_->db().prepare("SELECT id, name, space_json, space_text, created_at FROM studies ORDER BY id");
  std::vector<Study> studies;
  while (rows.step()) studies.push_back({rows.integer(0), rows.text(1), rows.text(2), rows.text(3), rows.text(4)});
  return studies;
}

Study Store::study(std::string_view name) const {
  std::string names;
  for (Study& study : studies()) {
    if (study.name == name) return std::move(study);
    names += (names.empty() ? "" : ", ") + study.name;
  }
  throw StoreError(StoreErrorKind::missing, fmt::format("{} has no study \"{}\"; it has: {}", file().string(), name,
                                                        names.empty() ? "none" : names));
}

std::vector<Design> Store::designs(std::int64_t study) const {
  Statement rows = impl_->db().prepare(
      "SELECT d.design_id, d.canonical, d.layout, d.shape_json, d.parameters_total, d.parameters_non_embedding,"
      " d.flops_forward, d.flops_train, d.cache_bytes FROM designs d JOIN trials t ON t.design = d.id"
      " JOIN study_trials m ON m.trial = t.id WHERE m.study = ?1 GROUP BY d.id ORDER BY min(m.ordinal)");
  rows.bind(1, study);
  std::vector<Design> designs;
  while (rows.step()) {
    designs.push_back({rows.text(0), rows.text(1), rows.text(2), rows.text(3), rows.integer(4), rows.integer(5),
                       rows.real(6), rows.real(7), rows.integer(8)});
  }
  return designs;
}

std::vector<Trial> Store::trials(std::int64_t study) const {
  Statement rows = impl_->db().prepare(std::string(trial_columns) +
                                       " JOIN study_trials m ON m.trial = t.id WHERE m.study = ?1 ORDER BY m.ordinal");
  rows.bind(1, study);
  return read_trials(rows);
}

std::vector<Trial> Store::find_trials(std::string_view key_prefix) const {
  Statement rows = impl_->db().prepare(
      std::string(trial_columns) +
      " WHERE substr(CAST(t.trial_key AS BLOB), 1, length(CAST(?1 AS BLOB))) = CAST(?1 AS BLOB) ORDER BY t.id");
  rows.bind(1, key_prefix);
  return read_trials(rows);
}

std::vector<Point> Store::points(std::int64_t trial, std::string_view metric) const {
  Statement rows = impl_->db().prepare(
      "SELECT p.trial, p.step, e.tokens, p.metric, p.value, p.value_class, p.count FROM points p"
      " JOIN evaluations e ON e.trial = p.trial AND e.step = p.step"
      " WHERE p.trial = ?1 AND (?2 = '' OR p.metric = ?2) ORDER BY p.trial, p.step, p.metric");
  rows.bind(1, trial).bind(2, metric);
  return read_points(rows);
}

std::vector<Point> Store::study_points(std::int64_t study, std::string_view metric) const {
  Statement rows = impl_->db().prepare(
      "SELECT p.trial, p.step, e.tokens, p.metric, p.value, p.value_class, p.count FROM study_trials m"
      " JOIN points p ON p.trial = m.trial JOIN evaluations e ON e.trial = p.trial AND e.step = p.step"
      " WHERE m.study = ?1 AND (?2 = '' OR p.metric = ?2) ORDER BY p.trial, p.step, p.metric");
  rows.bind(1, study).bind(2, metric);
  return read_points(rows);
}

std::vector<Run> Store::runs() const {
  Statement rows = impl_->db().prepare("SELECT id, program_version, machine, device, started_at FROM runs ORDER BY id");
  std::vector<Run> runs;
  while (rows.step()) runs.push_back({rows.integer(0), rows.text(1), rows.text(2), rows.text(3), rows.text(4)});
  return runs;
}

std::vector<Fit> Store::fits(std::int64_t study, std::string_view kind) const {
  Statement rows = impl_->db().prepare(
      "SELECT id, kind, json, program_version, created_at FROM fits WHERE study = ?1 AND (?2 = '' OR kind = ?2) ORDER "
      "BY id");
  rows.bind(1, study).bind(2, kind);
  std::vector<Fit> fits;
  while (rows.step()) fits.push_back({rows.integer(0), rows.text(1), rows.text(2), rows.text(3), rows.text(4)});
  return fits;
}

}  // namespace hylas::db
