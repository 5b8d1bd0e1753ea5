// hylas fit loss --input F: a loss law fitted to a table of runs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "fitting/loss.hpp"
#include "fitting/table.hpp"
#include "model/design/input_error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/fit.hpp"
#include "search/cli/fit_pairs.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  fitting::LossOptions fit;
  std::string input, law = "chinchilla", intervals = "bootstrap", holdout;
  std::vector<std::string> columns, predict, fix, bound, set;
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

std::string column_of(const Pairs& columns, const std::string& role) {
  const auto found = columns.find(role);
  return found == columns.end() ? role : found->second;
}

// The law's columns, the loss (or the logarithm of a perplexity), runs and weights.
fitting::LossData read_data(const fitting::Table& table, const fitting::LossLawText& law, const Pairs& columns) {
  fitting::LossData data;
  for (const auto& column : law.columns) {
    const auto name = column_of(columns, column.name);
    if (!column.required && columns.count(column.name) == 0 && !table.has(name)) continue;
    data.columns[column.name] = table.numbers(name, column.positive);
  }
  if (columns.count("perplexity") != 0) {
    const auto name = columns.at("perplexity");
    data.loss = table.numbers(name, true);
    for (std::size_t i = 0; i < data.loss.size(); ++i) {
      if (data.loss[i] <= 1) {
        throw model::InputError(fmt::format("line {}, column '{}': a perplexity must be above 1 ({})", table.line_of(i),
                                            name, data.loss[i]));
      }
      data.loss[i] = std::log(data.loss[i]);
    }
  } else {
    data.loss = table.numbers(column_of(columns, "loss"), true);
  }
  if (columns.count("weight") != 0) data.weight = table.numbers(columns.at("weight"));
  if (columns.count("run") != 0 ||
      (law.columns.end() != std::ranges::find(law.columns, "run", &fitting::LossColumnText::name)))
    data.run = table.texts(column_of(columns, "run"));
  return data;
}

// True for the rows that are held out: `largest:N` (the rows with the largest N), or COLUMN=VALUE.
std::vector<bool> held_out(const fitting::Table& table, const Pairs& columns, const std::string& rule) {
  std::vector<bool> mask(table.rows(), false);
  if (rule.rfind("largest:", 0) == 0) {
    const auto values = table.numbers(column_of(columns, rule.substr(8)));
    const auto largest = *std::max_element(values.begin(), values.end());
    std::transform(values.begin(), values.end(), mask.begin(), [&](double v) { return v == largest; });
  } else if (const auto equal = rule.find('='); equal != std::string::npos) {
    const auto values = table.texts(column_of(columns, rule.substr(0, equal)));
    const auto wanted = rule.substr(equal + 1);
    std::transform(values.begin(), values.end(), mask.begin(), [&](const auto& v) { return v == wanted; });
  } else {
    throw model::InputError("--holdout takes largest:N or COLUMN=VALUE, not '" + rule + "'");
  }
  const auto count = std::count(mask.begin(), mask.end(), true);
  if (count == 0) throw model::InputError("--holdout " + rule + " holds out no row");
  if (count == static_cast<std::ptrdiff_t>(mask.size()))
    throw model::InputError("--holdout " + rule + " leaves no row");
  return mask;
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

fitting::LossPrediction predict(const fitting::LossFit& fit, const fitting::LossLawText& law,
                                const std::vector<std::string>& items) {
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

std::string interval_text(double low, double high) {
  return std::isfinite(low) ? fmt::format(" ({:.5f} to {:.5f})", low, high) : "";
}

nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

int run(Options options) {
  read_options(options);
  const auto& law = law_text(options.law);
  std::vector<std::string> roles = {"loss", "perplexity", "run", "weight"};
  for (const auto& column : law.columns) roles.push_back(column.name);
  const auto columns = parse_pairs("--columns", options.columns, roles);
  const auto table = fitting::Table::read(options.input);
  const auto data = read_data(table, law, columns);
  std::vector<bool> mask;
  if (!options.holdout.empty()) mask = held_out(table, columns, options.holdout);
  const auto training = mask.empty() ? data : fitting::rows_where(data, mask, false);
  const auto fit = fitting::fit_loss(options.law, training, options.fit);
  auto json = nlohmann::ordered_json::parse(fitting::to_json(fit.fit));
  json["residual"] = {{"loss", fit.residual}, {"delta", fit.delta}, {"scale", fit.scale}};
  auto text = fitting::to_text(fit.fit);
  if (!mask.empty()) {
    const auto held = fitting::hold_out(fit, fitting::rows_where(data, mask, true));
    json["holdout"] = {{"rule", options.holdout},
                       {"rows", held.rows},
                       {"rmse_log", number(held.rmse_log)},
                       {"coverage", number(held.coverage)}};
    text += fmt::format("hold-out {}: {} rows, root mean square error of ln loss {:.5f}", options.holdout, held.rows,
                        held.rmse_log);
    if (std::isfinite(held.coverage)) {
      text += fmt::format("; {:.0f}% lie inside their {:g}% intervals", 100 * held.coverage, 100 * fit.fit.level);
    }
    text += "\n";
  }
  if (!options.predict.empty()) {
    const auto p = predict(fit, law, options.predict);
    json["prediction"] = {{"loss", p.loss},
                          {fmt::format("ci{:g}", 100 * fit.fit.level), {number(p.ci_low), number(p.ci_high)}},
                          {"warnings", p.warnings}};
    text += fmt::format("predicted loss {:.5f}{}\n", p.loss, interval_text(p.ci_low, p.ci_high));
    for (const auto& warning : p.warnings) text += "warning: " + warning + "\n";
  }
  print(options.common.json ? json.dump(2) : text);
  return exit_ok;
}

}  // namespace

void add_fit_loss(Program& program, CLI::App& parent) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, parent, "loss", "loss as a function of parameters, tokens and more, by a law of `fit list`",
                  "hylas fit loss --input runs.csv --law chinchilla --columns N=params,D=tokens,loss=val_loss",
                  options->common, [options] { return run(*options); });
  command->add_option("--input", options->input, "a table: .csv, .tsv or .jsonl")->required();
  command->add_option("--law", options->law, "a name of `hylas fit list`")->capture_default_str();
  command
      ->add_option("--columns", options->columns,
                   "N=a,D=b,loss=c, and run=d (what the bootstrap resamples), weight=e; perplexity=c instead of loss "
                   "fits its logarithm")
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
}

}  // namespace hylas::cli
