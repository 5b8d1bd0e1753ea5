// hylas export: a study's points as CSV or JSON.
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "search/advise/recommend.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/report/table.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  std::string format = "csv";
  std::string metric;
  std::string output;
};

struct Row {
  const db::Trial* trial;
  const db::Point* point;
};

using CovariateCells = std::map<std::string, std::vector<std::string>>;  // by design id

// What `hylas fit emergence --input` takes the laws' covariates from.
CovariateCells covariate_cells(const std::vector<db::Design>& designs, std::vector<std::string>& names) {
  CovariateCells cells;
  for (const auto& record : designs) {
    const auto x = search::law_covariates(search::read_design(record));
    auto& row = cells[record.design_id];
    names = {"N", "window", "full_fraction", "nope", "sink"};
    for (const double value : {x.parameters, x.window, x.full_fraction, x.nope, x.sink}) {
      row.push_back(fmt::format("{}", value));
    }
    for (const auto& [name, value] : x.indicators) {
      names.push_back(name);
      row.push_back(fmt::format("{}", value));
    }
  }
  return cells;
}

std::string as_csv(const std::vector<Row>& rows, const std::vector<db::Design>& designs) {
  search::Table table;
  std::vector<std::string> names;
  const auto cells = covariate_cells(designs, names);
  table.columns = {{"trial_key"}, {"design_id"}, {"layout"}, {"seed"},  {"state"},
                   {"step"},      {"tokens"},    {"metric"}, {"value"}, {"count"}};
  for (const auto& name : names) table.columns.push_back({name});
  for (const auto& [trial, point] : rows) {
    table.rows.push_back({trial->trial_key, trial->design_id, trial->layout, std::to_string(trial->seed),
                          std::string(db::to_string(trial->state)), std::to_string(point->step),
                          std::to_string(point->tokens), point->metric, fmt::format("{}", point->value),
                          std::to_string(point->count)});
    const auto& covariates = cells.at(trial->design_id);
    table.rows.back().insert(table.rows.back().end(), covariates.begin(), covariates.end());
  }
  return search::csv_table(table);
}

std::string as_json(const db::Study& study, const std::vector<Row>& rows) {
  using Json = nlohmann::ordered_json;
  Json trials = Json::array();
  std::map<std::string, std::size_t> index;
  for (const auto& [trial, point] : rows) {
    const auto [entry, fresh] = index.emplace(trial->trial_key, trials.size());
    if (fresh) {
      trials.push_back({{"trial_key", trial->trial_key},
                        {"design_id", trial->design_id},
                        {"layout", trial->layout},
                        {"seed", trial->seed},
                        {"state", db::to_string(trial->state)},
                        {"recipe", Json::parse(trial->recipe_json)},
                        {"points", Json::array()}});
    }
    trials[entry->second]["points"].push_back(
        {{"step", point->step},
         {"tokens", point->tokens},
         {"metric", point->metric},
         {"value", std::isfinite(point->value) ? Json(point->value) : Json(nullptr)},
         {"count", point->count}});
  }
  return Json{{"study", study.name}, {"trials", trials}}.dump(2) + "\n";
}

int run(const Options& options) {
  const auto store = options.store.open(db::Access::read);
  const auto study = search::choose_study(store, options.store.study);
  const auto trials = store.trials(study.id);
  const auto points = store.study_points(study.id, options.metric);
  if (points.empty() && !options.metric.empty()) search::no_such_metric(store, study, options.metric);
  std::map<std::int64_t, const db::Trial*> by_id;
  for (const auto& trial : trials) by_id[trial.id] = &trial;
  std::vector<Row> rows;
  rows.reserve(points.size());
  for (const auto& point : points) rows.push_back({by_id.at(point.trial), &point});
  const bool json = options.common.json || options.format == "json";
  const auto text = json ? as_json(study, rows) : as_csv(rows, store.designs(study.id));
  options.output.empty() ? print(text) : write_file(options.output, text);
  return exit_ok;
}

}  // namespace

void add_export(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, program.app, "export", "a study's points as CSV or JSON",
                              "hylas export --db demo.db --format csv -o points.csv", options->common,
                              [options] { return run(*options); });
  options->store.add_to(*command);
  command->add_option("--format", options->format, "csv or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"csv", "json"}));
  command->add_option("--metric", options->metric, "only this metric");
  command->add_option("-o,--output", options->output, "a file (default: stdout)");
}

}  // namespace hylas::cli
