// hylas results --db F: what every design of a study came to, at the best of the learning rates tried.
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/report/table.hpp"
#include "search/study/results_table.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  std::vector<std::string> metrics;
  bool csv = false;
};

std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : "none";
}

std::string range_text(const search::ResultRow::Value& value) {
  if (value.runs < 2) return number(value.mean);
  return fmt::format("{} ({} .. {})", number(value.mean), number(value.least), number(value.most));
}

search::Table as_table(const search::ResultsTable& results) {
  search::Table table;
  if (!results.rows.empty()) {
    for (const auto& [name, value] : results.rows.front().varying)
      table.columns.push_back({name, search::Align::right});
  }
  table.columns.insert(table.columns.end(), {{"layout"},
                                             {"learning rate", search::Align::right},
                                             {"weight decay", search::Align::right},
                                             {"best of", search::Align::right},
                                             {"seeds", search::Align::right},
                                             {"tokens", search::Align::right}});
  for (const std::string& metric : results.metrics) table.columns.push_back({metric, search::Align::right});
  for (const search::ResultRow& row : results.rows) {
    std::vector<std::string> cells;
    for (const auto& [name, value] : row.varying) cells.push_back(value);
    cells.insert(cells.end(), {row.layout, fmt::format("{:g}", row.learning_rate),
                               fmt::format("{:g}", row.weight_decay), fmt::format("{}", row.competitors),
                               fmt::format("{}", row.seeds), fmt::format("{:.3g}", static_cast<double>(row.tokens))});
    for (const auto& value : row.values) cells.push_back(range_text(value));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

nlohmann::ordered_json as_json(const search::ResultsTable& results) {
  using Json = nlohmann::ordered_json;
  Json rows = Json::array();
  const auto finite = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  for (const search::ResultRow& row : results.rows) {
    Json entry = {{"layout", row.layout},
                  {"design_id", row.design_id},
                  {"learning_rate", row.learning_rate},
                  {"weight_decay", row.weight_decay},
                  {"best_of", row.competitors},
                  {"seeds", row.seeds},
                  {"finished", row.finished},
                  {"tokens", row.tokens}};
    for (const auto& [name, value] : row.varying) entry["setting"][name] = value;
    for (const auto& value : row.values) {
      entry["values"][value.metric] = {{"mean", finite(value.mean)},
                                       {"least", finite(value.least)},
                                       {"most", finite(value.most)},
                                       {"runs", value.runs}};
    }
    rows.push_back(entry);
  }
  return {{"study", results.study}, {"metrics", results.metrics}, {"rows", rows}};
}

int run(const Options& options) {
  const auto store = options.store.open(db::Access::read);
  const auto results = search::results_table(store, options.store.study, options.metrics);
  if (options.common.json) {
    print(as_json(results).dump(2));
  } else {
    print(options.csv ? search::csv_table(as_table(results)) : search::text_table(as_table(results)));
  }
  return exit_ok;
}

}  // namespace

void add_results(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, program.app, "results", "what every design came to, at its best learning rate",
                  "hylas results --db mqar.db --metric accuracy", options->common, [options] { return run(*options); });
  options->store.add_to(*command);
  command->add_option("--metric", options->metrics,
                      "metrics to show (default: the study's capability); the first one chooses learning rates");
  command->add_flag("--csv", options->csv, "as CSV");
}

}  // namespace hylas::cli
