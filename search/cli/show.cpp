// hylas show TRIAL --db F: one trial, its design, recipe and curve. hylas show task NAME: one sequence of a task.
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/show_task.hpp"
#include "search/cli/store_options.hpp"
#include "search/report/plot.hpp"
#include "search/report/table.hpp"
#include "search/run/emergence.hpp"
#include "search/study/emergence_report.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  std::vector<std::string> what;  // a trial's key, or "task" and a name
  ShowTask task;
};

search::Emergence d50_of(const db::Trial& trial, const std::vector<db::Point>& points) {
  std::vector<search::CapabilityPoint> curve;
  for (const auto& point : points) {
    if (point.metric == trial.capability_metric) curve.push_back({point.tokens, point.value});
  }
  return search::emergence_of(curve, trial.capability_threshold);
}

std::string as_json(const db::Trial& trial, const std::vector<db::Point>& points) {
  using Json = nlohmann::ordered_json;
  auto list = Json::array();
  for (const auto& p : points) {
    list.push_back({{"step", p.step},
                    {"tokens", p.tokens},
                    {"metric", p.metric},
                    {"value", std::isfinite(p.value) ? Json(p.value) : Json(nullptr)},
                    {"count", p.count}});
  }
  const auto d50 = d50_of(trial, points);
  return Json{{"trial_key", trial.trial_key},
              {"design_id", trial.design_id},
              {"layout", trial.layout},
              {"state", db::to_string(trial.state)},
              {"message", trial.message},
              {"seed", trial.seed},
              {"step", trial.step},
              {"steps", trial.steps},
              {"wall_seconds", trial.wall_seconds},
              {"recipe", Json::parse(trial.recipe_json)},
              {"protocol", Json::parse(trial.protocol_json)},
              {"d50", {{"lower", d50.lower}, {"upper", d50.emerged ? Json(d50.upper) : Json(nullptr)}}},
              {"points", list}}
      .dump(2);
}

bool is_head(const db::Point& point) {
  return point.metric.starts_with("head/");
}

// Rows are evaluations, columns metrics; those of single heads are left to --json and hylas probe.
std::string curve_table(std::vector<db::Point> points) {
  const auto heads = std::erase_if(points, is_head);
  std::map<std::string, std::size_t> columns;
  search::Table table;
  table.columns = {{"step", search::Align::right}, {"tokens", search::Align::right}};
  for (const auto& p : points) {
    if (columns.emplace(p.metric, columns.size() + 2).second) table.columns.push_back({p.metric, search::Align::right});
  }
  std::map<std::int64_t, std::size_t> rows;
  for (const auto& p : points) {
    const auto [row, fresh] = rows.emplace(p.step, table.rows.size());
    if (fresh) {
      table.rows.emplace_back(table.columns.size());
      table.rows.back()[0] = std::to_string(p.step);
      table.rows.back()[1] = std::to_string(p.tokens);
    }
    table.rows[row->second][columns.at(p.metric)] = fmt::format("{:.4f}", p.value);
  }
  return search::text_table(table) +
         (heads > 0 ? "\nscores of attention heads are stored too: see --json, or hylas probe\n" : "");
}

std::string as_text(const db::Trial& trial, const std::vector<db::Point>& points) {
  auto text = fmt::format("trial   {}\nlayout  {} (design {})\nstate   {} at step {} of {}, {:.1f} s\nseed    {}\n",
                          trial.trial_key, search::printable(trial.layout), trial.design_id, db::to_string(trial.state),
                          trial.step, trial.steps, trial.wall_seconds, trial.seed);
  if (!trial.message.empty()) text += "message " + search::printable(trial.message) + "\n";
  text += fmt::format("D50     {} tokens ({} at {})\nrecipe  {}\n\n",
                      search::d50_text(search::as_crossing(d50_of(trial, points))), trial.capability_metric,
                      trial.capability_threshold, trial.recipe_json);
  return text + curve_table(points);
}

int run(Options options) {
  if (options.what.front() == "task") {
    if (options.what.size() != 2)
      throw model::InputError("hylas show task needs the name of a task; hylas tasks lists them");
    options.task.name = options.what[1];
    print(show_task(options.task, options.common.json));
    return exit_ok;
  }
  if (options.what.size() != 1) throw model::InputError("hylas show takes one trial; hylas show task NAME a task");
  if (options.store.file.empty()) throw model::InputError("hylas show TRIAL needs --db FILE: the store it is in");
  const auto store = options.store.open(db::Access::read);
  const auto trial = find_trial(store, options.what.front());
  const auto points = store.points(trial.id);
  print(options.common.json ? as_json(trial, points) : as_text(trial, points));
  return exit_ok;
}

}  // namespace

void add_show(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, program.app, "show", "one trial (design, recipe, curve), or one sequence of a task",
                  "hylas show 3f2a --db demo.db; hylas show task mqar --context 64 --set pairs=4", options->common,
                  [options] { return run(*options); });
  command->add_option("what", options->what, "the first digits of a trial's key, or: task NAME")
      ->required()
      ->expected(1, 2);
  options->store.add_to(*command);
  command->get_option("--db")->required(false);  // a task needs none
  command->add_option("--context", options->task.context, "task: tokens of the sequence (default: the task's own)")
      ->check(CLI::PositiveNumber);
  command->add_option("--set", options->task.set, "task: parameter=value, as often as needed");
  command->add_option("--index", options->task.index, "task: which sequence")->check(CLI::NonNegativeNumber);
  command->add_option("--data-seed", options->task.data_seed, "task: whose training sequences")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--eval", options->task.eval, "task: an evaluation sequence");
  command->add_flag("--reach", options->task.reach, "task: how many of its answers sliding windows reach")
      ->excludes("--index", "--data-seed", "--eval");  // it counts over evaluation sequences
}

}  // namespace hylas::cli
