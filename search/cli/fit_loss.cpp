// hylas fit loss --input F: a loss law fitted to a table of runs.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "fitting/loss.hpp"
#include "fitting/table.hpp"
#include "model/design/input_error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/fit.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  fitting::LossOptions fit;
  std::string input, law = "chinchilla", holdout;
  std::vector<std::string> columns, predict;
};

using Pairs = std::map<std::string, std::string>;

// "N=params" -> {N, params}; keys must be among `known`.
Pairs parse_pairs(const std::string& flag, const std::vector<std::string>& items,
                  const std::vector<std::string>& known) {
  Pairs pairs;
  for (const auto& item : items) {
    const auto equal = item.find('=');
    const auto key = item.substr(0, equal);
    if (equal == std::string::npos || equal + 1 == item.size()) {
      throw model::InputError(fmt::format("{} takes NAME=VALUE, not '{}'", flag, item));
    }
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw model::InputError(fmt::format("{}: '{}' is none of {}", flag, key, fmt::join(known, ", ")));
    }
    if (!pairs.emplace(key, item.substr(equal + 1)).second) {
      throw model::InputError(fmt::format("{} names {} twice", flag, key));
    }
  }
  return pairs;
}

std::string role(const Pairs& columns, const std::string& name) {
  const auto found = columns.find(name);
  return found == columns.end() ? name : found->second;
}

double number(const std::string& flag, const std::string& text) {
  std::size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end == 0 || end != text.size()) throw model::InputError(fmt::format("{}: '{}' is not a number", flag, text));
  return value;
}

// True for the rows that are held out: `largest:N` (the rows with the largest N), or COLUMN=VALUE.
std::vector<bool> held_out(const fitting::Table& table, const Pairs& columns, const std::string& rule) {
  std::vector<bool> mask(table.rows(), false);
  if (rule.rfind("largest:", 0) == 0) {
    const auto values = table.numbers(role(columns, rule.substr(8)));
    const auto largest = *std::max_element(values.begin(), values.end());
    std::transform(values.begin(), values.end(), mask.begin(), [&](double v) { return v == largest; });
  } else if (const auto equal = rule.find('='); equal != std::string::npos) {
    const auto values = table.texts(role(columns, rule.substr(0, equal)));
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

int run(Options options) {
  options.fit.threads = options.common.threads;
  const auto columns = parse_pairs("--columns", options.columns, {"N", "D", "loss", "run"});
  const auto table = fitting::Table::read(options.input);
  fitting::LossData data{table.numbers(role(columns, "N"), true),
                         table.numbers(role(columns, "D"), true),
                         table.numbers(role(columns, "loss"), true),
                         {}};
  if (columns.count("run") != 0) data.run = table.texts(columns.at("run"));
  std::vector<bool> mask;
  if (!options.holdout.empty()) mask = held_out(table, columns, options.holdout);
  const auto training = mask.empty() ? data : fitting::rows_where(data, mask, false);
  const auto fit = fitting::fit_loss(options.law, training, options.fit);
  auto json = nlohmann::ordered_json::parse(fitting::to_json(fit.fit));
  auto text = fitting::to_text(fit.fit);
  if (!mask.empty()) {
    const auto test = fitting::rows_where(data, mask, true);
    const auto error = fitting::rmse_log(fit, test);
    json["holdout"] = {{"rule", options.holdout}, {"rows", test.n.size()}, {"rmse_log", error}};
    text += fmt::format("hold-out {}: {} rows, root mean square error of ln loss {:.5f}\n", options.holdout,
                        test.n.size(), error);
  }
  if (!options.predict.empty()) {
    const auto at = parse_pairs("--predict", options.predict, {"N", "D"});
    if (at.size() != 2) throw model::InputError("--predict takes N=...,D=...");
    const auto p = fitting::predict_loss(fit, number("--predict N", at.at("N")), number("--predict D", at.at("D")));
    json["prediction"] = {{"loss", p.loss}, {"ci_low", p.ci_low}, {"ci_high", p.ci_high}, {"warnings", p.warnings}};
    text += fmt::format("predicted loss {:.5f} ({:.5f} to {:.5f})\n", p.loss, p.ci_low, p.ci_high);
    for (const auto& warning : p.warnings) text += "warning: " + warning + "\n";
  }
  print(options.common.json ? json.dump(2) : text);
  return exit_ok;
}

}  // namespace

void add_fit_loss(Program& program, CLI::App& parent) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, parent, "loss", "loss as a function of parameters N and tokens D",
                  "hylas fit loss --input runs.csv --law chinchilla --columns N=params,D=tokens,loss=val_loss",
                  options->common, [options] { return run(*options); });
  command->add_option("--input", options->input, "a table: .csv, .tsv or .jsonl")->required();
  command->add_option("--law", options->law, "chinchilla")
      ->capture_default_str()
      ->check(CLI::IsMember(fitting::loss_laws()));
  command->add_option("--columns", options->columns, "N=a,D=b,loss=c and, for the bootstrap, run=d")->delimiter(',');
  command->add_option("--delta", options->fit.delta, "of the Huber loss on ln loss")->capture_default_str();
  command->add_option("--bootstrap", options->fit.bootstrap, "replicates; 0: no intervals")->capture_default_str();
  command->add_option("--seed", options->fit.seed, "of the bootstrap")->capture_default_str();
  command->add_option("--holdout", options->holdout, "largest:N or COLUMN=VALUE: rows to predict instead of fit");
  command->add_option("--predict", options->predict, "N=...,D=...: the loss expected there")->delimiter(',');
}

}  // namespace hylas::cli
