// Settings of a study, tuned and summed up (see results_table.hpp).
#include "search/study/results_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "search/study/study_runs.hpp"

namespace hylas::search {
namespace {

using nlohmann::json;

// Every field of a design's shape and of a recipe, but what is tuned, seeded, or follows from the rest.
std::map<std::string, std::string> fields_of(const db::Trial& trial, const model::Design& design) {
  std::map<std::string, std::string> fields;
  const json recipe = json::parse(trial.recipe_json);
  for (const auto& [name, value] : recipe.items()) {
    if (name == "seed" || name == "data_seed" || name == "learning_rate" || name == "weight_decay") continue;
    if (!value.is_object()) {
      fields[name] = value.dump();
      continue;
    }
    for (const auto& [inner, inner_value] : value.items()) {
      fields[name + "." + inner] = inner_value.is_string() ? inner_value.get<std::string>() : inner_value.dump();
    }
  }
  const model::Shape& s = design.shape;
  const std::pair<const char*, std::int64_t> shape[] = {{"context", s.context}, {"d_model", s.d_model},
                                                        {"heads", s.heads},     {"kv_heads", s.kv_heads},
                                                        {"ffn", s.ffn},         {"vocab", s.vocab}};
  for (const auto& [name, value] : shape) fields[name] = fmt::format("{}", value);
  return fields;
}

struct Setting {
  double learning_rate = 0, weight_decay = 0;
  std::vector<const db::Trial*> trials;
};

struct Group {
  const model::Design* design = nullptr;
  std::map<std::string, std::string> fields;
  std::map<std::pair<double, double>, Setting> settings;  // by learning rate and weight decay
};

bool smaller_is_better(const std::string& metric) {
  return !metric.starts_with("accuracy") && metric.find("/accuracy") == std::string::npos;
}

using LastValues = std::map<std::pair<std::int64_t, std::string>, const db::Point*>;

ResultRow::Value summed(const Setting& setting, const std::string& metric, const LastValues& last) {
  ResultRow::Value value{.metric = metric,
                         .least = std::numeric_limits<double>::infinity(),
                         .most = -std::numeric_limits<double>::infinity()};
  double sum = 0;
  for (const db::Trial* trial : setting.trials) {
    const auto found = last.find({trial->id, metric});
    const bool ended_badly = trial->state == db::TrialState::diverged || trial->state == db::TrialState::failed;
    if (found == last.end() || ended_badly || !std::isfinite(found->second->value)) continue;
    sum += found->second->value;
    value.least = std::min(value.least, found->second->value);
    value.most = std::max(value.most, found->second->value);
    ++value.runs;
  }
  value.mean = value.runs > 0 ? sum / static_cast<double>(value.runs) : std::nan("");
  if (value.runs == 0) value.least = value.most = value.mean;
  return value;
}

// Whether a is better than b: more of its runs ended well, then by the mean.
bool better(const ResultRow::Value& a, std::size_t a_trials, const ResultRow::Value& b, std::size_t b_trials) {
  const auto lost_a = static_cast<std::int64_t>(a_trials) - a.runs,
             lost_b = static_cast<std::int64_t>(b_trials) - b.runs;
  if (lost_a != lost_b) return lost_a < lost_b;
  return smaller_is_better(a.metric) ? a.mean < b.mean : a.mean > b.mean;
}

ResultRow row_of(const Group& group, const std::vector<std::string>& metrics, const LastValues& last) {
  const Setting* best = nullptr;
  ResultRow::Value best_value;
  for (const auto& [rates, setting] : group.settings) {
    const ResultRow::Value value = summed(setting, metrics.front(), last);
    if (best == nullptr || better(value, setting.trials.size(), best_value, best->trials.size())) {
      best = &setting, best_value = value;
    }
  }
  ResultRow row{.layout = group.design->layout_text(),
                .design_id = group.design->id(),
                .varying = {},
                .learning_rate = best->learning_rate,
                .weight_decay = best->weight_decay,
                .competitors = std::ssize(group.settings),
                .seeds = std::ssize(best->trials),
                .values = {}};
  for (const db::Trial* trial : best->trials) {
    row.finished += trial->state == db::TrialState::done || trial->state == db::TrialState::stopped ? 1 : 0;
    for (const std::string& metric : metrics) {
      const auto found = last.find({trial->id, metric});
      if (found != last.end()) row.tokens = std::max(row.tokens, found->second->tokens);
    }
  }
  for (const std::string& metric : metrics) row.values.push_back(summed(*best, metric, last));
  return row;
}

}  // namespace

ResultsTable results_table(const db::Store& store, const std::string& name, const std::vector<std::string>& asked) {
  const db::Study study = choose_study(store, name);
  const std::vector<db::Trial> trials = store.trials(study.id);
  std::map<std::string, model::Design> designs;
  for (const db::Design& record : store.designs(study.id)) designs.emplace(record.design_id, read_design(record));

  ResultsTable table{.study = study.name, .metrics = asked, .rows = {}};
  if (table.metrics.empty() && !trials.empty()) table.metrics = {trials.front().capability_metric};
  std::vector<std::vector<db::Point>> points;  // of each metric
  LastValues last;
  for (const std::string& metric : table.metrics) {
    points.push_back(store.study_points(study.id, metric));
    if (points.back().empty()) no_such_metric(store, study, metric);
  }
  for (const auto& list : points) {
    for (const db::Point& point : list) {
      const db::Point*& latest = last[{point.trial, point.metric}];
      if (latest == nullptr || point.step > latest->step) latest = &point;
    }
  }

  std::vector<Group> groups;
  std::map<std::string, std::size_t> group_of;
  for (const db::Trial& trial : trials) {
    const model::Design& design = designs.at(trial.design_id);
    auto fields = fields_of(trial, design);
    const auto [at, fresh] = group_of.emplace(trial.design_id + json(fields).dump(), groups.size());
    if (fresh) groups.push_back({.design = &design, .fields = std::move(fields), .settings = {}});
    const json recipe = json::parse(trial.recipe_json);
    const std::pair<double, double> rates = {recipe.at("learning_rate"), recipe.at("weight_decay")};
    Setting& setting = groups[at->second].settings[rates];
    setting.learning_rate = rates.first, setting.weight_decay = rates.second;
    setting.trials.push_back(&trial);
  }

  // A column for what differs between those that have it (a task's parameters are its own).
  std::map<std::string, std::set<std::string>> values_of;
  for (const Group& group : groups) {
    for (const auto& [field, value] : group.fields) values_of[field].insert(value);
  }
  std::vector<std::string> varying;
  for (const auto& [field, values] : values_of) {
    const bool follows = field == "steps" || field == "batch" || field == "heads" || field == "kv_heads";
    if (values.size() > 1 && !follows) varying.push_back(field);
  }
  for (const Group& group : groups) {
    ResultRow row = row_of(group, table.metrics, last);
    for (const std::string& field : varying) {
      const auto found = group.fields.find(field);
      row.varying.emplace_back(field, found == group.fields.end() ? "" : found->second);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace hylas::search
