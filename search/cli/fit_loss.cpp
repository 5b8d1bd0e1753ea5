// hylas fit loss --input F: a loss law fitted to a table of runs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "fitting/loss.hpp"
#include "fitting/table.hpp"
#include "model/design/input_error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/fit.hpp"
#include "search/cli/fit_pairs.hpp"
#include "search/cli/store_options.hpp"
#include "search/study/loss_rows.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  fitting::LossOptions fit;
  std::string input, law = "chinchilla", intervals = "bootstrap", holdout, metric = "loss", predict_input;
  std::vector<std::string> columns, predict, fix, bound, set;
  bool perplexity = false, every_evaluation = false;
};

const fitting::LossLawText& law_text(const std::string& name) {
  const auto& laws = fitting::loss_laws();
  const auto found = std::ranges::find(laws, name, &fitting::LossLawText::name);
  if (found != laws.end()) return *found;
  std::vector<std::string> names;
  names.reserve(laws.size());
  for (const auto& law : laws) names.push_back(law.name);
  const auto guess = model::nearest(name, names);
  throw model::InputError(fmt::format("unknown loss law '{}'{}; known: {} (see hylas fit list)", name,
                                      guess.empty() ? "" : ", did you mean '" + guess + "'?", fmt::join(names, ", ")));
}

void read_options(Options& options) {
  using fitting::LossIntervals;
  options.fit.threads = options.common.threads;
  options.fit.intervals = options.intervals == "none"         ? LossIntervals::none
                          : options.intervals == "parametric" ? LossIntervals::parametric
                          : options.intervals == "sandwich"   ? LossIntervals::sandwich
                                                              : LossIntervals::bootstrap;
  for (const auto& [name, value] : parse_pairs("--fix", options.fix, {}))
    options.fit.fixed[name] = parse_number("--fix " + name, value);
  for (const auto& [name, value] : parse_pairs("--set", options.set, {}))
    options.fit.settings[name] = parse_number("--set " + name, value);
  for (const auto& [name, value] : parse_pairs("--bound", options.bound, {})) {
    const auto colon = value.find(':');
    if (colon == std::string::npos) throw model::InputError("--bound takes NAME=LOW:HIGH, not '" + value + "'");
    options.fit.bounds[name] = {parse_number("--bound " + name, value.substr(0, colon)),
                                parse_number("--bound " + name, value.substr(colon + 1))};
  }
}

search::LossRows read_rows(const Options& options, const fitting::LossLawText& law) {
  const bool table = !options.input.empty();
  if (table == !options.store.file.empty()) {
    throw model::InputError(table ? "--db and --input are both given: the rows come from one of them"
                                  : "rows come from a store (--db F) or from a table (--input F); give one of them");
  }
  std::vector<std::string> roles = {"loss", "run", "weight"};
  for (const auto& column : law.columns) roles.push_back(column.name);
  search::LossRows rows;
  if (table) {
    rows = search::loss_rows_of_table(fitting::Table::read(options.input), law,
                                      parse_pairs("--columns", options.columns, roles));
  } else {
    if (!options.columns.empty()) throw model::InputError("--columns names columns of a table: it needs --input");
    rows = search::loss_rows_of_study(options.store.open(db::Access::read), options.store.study, options.metric,
                                      options.every_evaluation);
  }
  if (options.perplexity) search::take_logarithm(rows);
  return rows;
}

fitting::LossPrediction predict(const fitting::LossFit& fit, const fitting::LossLawText& law,
                                const std::vector<std::string>& items) {
  if (law.whole_runs) {
    throw model::InputError(
        fmt::format("--predict gives one row, and law {} needs a run's whole schedule: give its rows "
                    "with --predict-input",
                    law.name));
  }
  std::vector<std::string> known;
  for (const auto& column : law.columns) known.push_back(column.name);
  fitting::LossData row;
  for (const auto& [name, value] : parse_pairs("--predict", items, known)) {
    row.columns[name] = {parse_number("--predict " + name, value)};
  }
  for (const auto& column : law.columns) {
    const bool given = row.has(column.name);
    if (column.required && !given)
      throw model::InputError(fmt::format("--predict needs {}=... ({})", column.name, column.meaning));
    if (given && column.positive && row.at(column.name)[0] <= 0)
      throw model::InputError(fmt::format("--predict {}: it must be positive", column.name));
  }
  return fitting::predict_loss(fit, row).front();
}

struct Report {
  nlohmann::ordered_json json;
  std::string text;
};

nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

std::string interval_text(double low, double high) {
  return std::isfinite(low) ? fmt::format(" ({:.5f} to {:.5f})", low, high) : "";
}

nlohmann::ordered_json prediction_json(const fitting::LossFit& fit, const fitting::LossPrediction& p) {
  return {{"loss", p.loss},
          {fmt::format("ci{:g}", 100 * fit.fit.level), {number(p.ci_low), number(p.ci_high)}},
          {"warnings", p.warnings}};
}

void add_hold_out(Report& report, const fitting::LossFit& fit, const fitting::LossData& data, const std::string& rule) {
  const auto held = fitting::hold_out(fit, data);
  report.json["holdout"] = {
      {"rule", rule}, {"rows", held.rows}, {"rmse_log", number(held.rmse_log)}, {"coverage", number(held.coverage)}};
  report.text +=
      fmt::format("hold-out {}: {} rows, root mean square error of ln loss {:.5f}", rule, held.rows, held.rmse_log);
  if (std::isfinite(held.coverage)) {
    report.text += fmt::format("; {:.0f}% lie inside their {:g}% intervals", 100 * held.coverage, 100 * fit.fit.level);
  }
  report.text += "\n";
}

void add_predictions(Report& report, const fitting::LossFit& fit, const fitting::LossLawText& law,
                     const Options& options) {
  if (!options.predict.empty()) {
    const auto p = predict(fit, law, options.predict);
    report.json["prediction"] = prediction_json(fit, p);
    report.text += fmt::format("predicted {} {:.5f}{}\n", options.perplexity ? "ln perplexity" : "loss", p.loss,
                               interval_text(p.ci_low, p.ci_high));
    for (const auto& warning : p.warnings) report.text += "warning: " + warning + "\n";
  }
  if (options.predict_input.empty()) return;
  std::vector<std::string> roles = {"run"};
  for (const auto& column : law.columns) roles.push_back(column.name);
  std::map<std::string, std::string> columns;
  for (const auto& [role, name] : parse_pairs("--columns", options.columns, {})) {
    if (std::ranges::find(roles, role) != roles.end()) columns[role] = name;
  }
  const auto table = fitting::Table::read(options.predict_input);
  const auto predictions = fitting::predict_loss(fit, search::columns_of_table(table, law, columns));
  report.json["predictions"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    const auto& p = predictions[i];
    report.json["predictions"].push_back(prediction_json(fit, p));
    report.json["predictions"].back()["line"] = table.line_of(i);
    report.text +=
        fmt::format("line {}: predicted loss {:.5f}{}\n", table.line_of(i), p.loss, interval_text(p.ci_low, p.ci_high));
    for (const auto& warning : p.warnings) report.text += "warning: " + warning + "\n";
  }
}

int run(Options options) {
  read_options(options);
  const auto& law = law_text(options.law);
  const auto rows = read_rows(options, law);
  std::vector<bool> mask;
  if (!options.holdout.empty()) mask = search::held_out(rows, options.holdout);
  const auto fit = fitting::fit_loss(
      options.law, mask.empty() ? rows.data : fitting::rows_where(rows.data, mask, false), options.fit);
  Report report{nlohmann::ordered_json::parse(fitting::to_json(fit.fit)), fitting::to_text(fit.fit)};
  report.json["perplexity"] = options.perplexity;  // true: every loss here is its logarithm
  report.json["residual"] = {{"loss", fit.residual}, {"delta", fit.delta}, {"scale", fit.scale}};
  if (!mask.empty()) add_hold_out(report, fit, fitting::rows_where(rows.data, mask, true), options.holdout);
  add_predictions(report, fit, law, options);
  print(options.common.json ? report.json.dump(2) : report.text);
  return exit_ok;
}

}  // namespace

void add_fit_loss(Program& program, CLI::App& parent) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, parent, "loss", "loss as a function of parameters, tokens and more, by a law of `fit list`",
                  "hylas fit loss --input runs.csv --law chinchilla --columns N=params,D=tokens,loss=val_loss",
                  options->common, [options] { return run(*options); });
  command->add_option("--input", options->input, "a table: .csv, .tsv or .jsonl");
  options->store.add_to(*command);
  command->get_option("--db")->required(false);
  command->add_option("--metric", options->metric, "of a study: what the loss is")->capture_default_str();
  command->add_flag("--every-evaluation", options->every_evaluation,
                    "of a study: all evaluations of a run, not only its last");
  command->add_flag("--perplexity", options->perplexity, "the loss is a perplexity: fit its logarithm");
  command->add_option("--law", options->law, "a name of `hylas fit list`")->capture_default_str();
  command
      ->add_option("--columns", options->columns, "N=a,D=b,loss=c, and run=d (what the bootstrap resamples), weight=e")
      ->delimiter(',');
  command->add_option("--residual", options->fit.residual, "loss on ln residuals: huber, l1 or squares")
      ->capture_default_str()
      ->check(CLI::IsMember({"huber", "l1", "squares"}));
  command->add_option("--delta", options->fit.delta, "of the Huber loss on ln loss")->capture_default_str();
  command
      ->add_option("--intervals", options->intervals, "bootstrap (of points, or of runs), parametric, sandwich, none")
      ->capture_default_str()
      ->check(CLI::IsMember({"bootstrap", "parametric", "sandwich", "none"}));
  command->add_option("--bootstrap", options->fit.bootstrap, "replicates; 0: no intervals")->capture_default_str();
  command->add_option("--level", options->fit.level, "of the intervals")
      ->capture_default_str()
      ->check(CLI::Range(0.5, 0.999));
  command->add_option("--seed", options->fit.seed, "of the bootstrap")->capture_default_str();
  command->add_option("--starts", options->fit.starts, "of the solver")->capture_default_str();
  command->add_option("--fix", options->fix, "NAME=VALUE: parameters held at a value")->delimiter(',');
  command->add_option("--bound", options->bound, "NAME=LOW:HIGH: parameters kept inside")->delimiter(',');
  command->add_option("--set", options->set, "NAME=VALUE: settings of the law")->delimiter(',');
  command->add_option("--holdout", options->holdout, "largest:N or COLUMN=VALUE: rows to predict instead of fit");
  command->add_option("--predict", options->predict, "N=...,D=...: the loss expected there")->delimiter(',');
  command->add_option("--predict-input", options->predict_input,
                      "a table with the law's columns: the loss expected in every row");
}

}  // namespace hylas::cli
