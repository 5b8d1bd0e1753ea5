// hylas fit emergence: the law of when a capability emerges, from a study's runs or from a table.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "fitting/table.hpp"
#include "model/design/input_error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/fit.hpp"
#include "search/cli/fit_pairs.hpp"
#include "search/cli/store_options.hpp"
#include "search/study/best_recipe.hpp"
#include "search/study/emergence_compare.hpp"
#include "search/study/emergence_fit.hpp"
#include "search/study/emergence_predict.hpp"
#include "search/study/emergence_report.hpp"
#include "search/study/emergence_table.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  std::string input;
  std::vector<std::string> columns;
  search::EmergenceFitOptions fit;
  std::string metric;
  std::optional<double> threshold;
  std::vector<std::string> predict, against;
  std::string holdout, svg;
  int simulations = 199;
  std::uint64_t seed = 1;
  bool no_store = false, no_cure = false, asymptote = false;
};

void check(const Options& options) {
  const bool table = !options.input.empty();
  if (table == !options.store.file.empty()) {
    throw model::InputError(table ? "--db and --input are both given: the runs come from one of them"
                                  : "runs come from a store (--db F) or from a table (--input F); give one of them");
  }
  if (!table && !options.columns.empty())
    throw model::InputError("--columns names columns of a table: it needs --input");
  if (table && !options.store.study.empty()) throw model::InputError("--study is a study of a store: it needs --db");
}

std::vector<std::vector<std::string>> sets_to_compare(const Options& options) {
  std::vector<std::vector<std::string>> sets;
  for (const auto& text : options.against) {
    sets.push_back(text == "none" ? std::vector<std::string>() : split_pairs(text));
  }
  return sets;
}

search::EmergenceData read_table(const Options& options) {
  const auto table = fitting::Table::read(options.input);
  auto roles = search::emergence_roles();
  search::EmergenceTableOptions asked;
  auto terms = options.fit.terms;
  terms.insert(terms.end(), options.fit.cure_terms.begin(), options.fit.cure_terms.end());
  for (const auto& set : sets_to_compare(options)) terms.insert(terms.end(), set.begin(), set.end());
  if (options.fit.terms.empty()) terms.insert(terms.end(), {"gdn", "mamba2", "lightning"});  // as hylas export has them
  asked.columns = parse_pairs("--columns", options.columns, roles);
  asked.indicators = search::indicator_columns(table, terms);
  asked.sizes = search::size_roles(table, terms);
  asked.metric = options.metric;
  asked.threshold = options.threshold;
  asked.counts = options.fit.law == "F1" || options.asymptote;
  return search::read_emergence_table(table, asked);
}

std::vector<std::map<std::string, double>> designs_to_predict(const Options& options,
                                                              const search::EmergenceData& data) {
  std::vector<std::map<std::string, double>> designs;
  for (const auto& text : options.predict) {
    std::map<std::string, double> design;
    for (const auto& [name, value] : parse_pairs("--predict", split_pairs(text), search::predictable(data))) {
      design[name] = parse_number("--predict " + name, value);
    }
    designs.push_back(std::move(design));
  }
  return designs;
}

struct Report {
  nlohmann::ordered_json json;
  std::string text;
};

Report report_on(const Options& options, const search::EmergenceData& data) {
  const auto designs = designs_to_predict(options, data);
  std::optional<fitting::HoldOutRule> rule;
  if (!options.holdout.empty()) rule = search::hold_out_rule(data, options.holdout);
  const auto analysis = search::analyse_emergence(data, options.fit);
  Report report{search::emergence_json(data, analysis), search::emergence_text(data, analysis)};
  if (!designs.empty()) {
    const auto predictions = search::predict_designs(data, analysis.fit, designs, options.common.threads);
    report.json["predictions"] = search::predictions_json(predictions);
    report.text += "\n" + search::predictions_text(predictions, options.fit.level);
  }
  if (rule) {
    const auto held_out = search::hold_out(data, options.fit, *rule);
    report.json["holdout"] = nlohmann::ordered_json::parse(fitting::to_json(held_out));
    report.json["holdout"]["rule"] = options.holdout;
    report.text += "\nhold-out " + options.holdout + "\n" + fitting::to_text(held_out);
  }
  if (!options.against.empty()) {
    const fitting::CompareOptions compare{options.simulations, options.seed, options.common.threads};
    const auto comparison = search::compare_terms(data, options.fit, analysis.fit, sets_to_compare(options), compare);
    report.json["comparison"] = search::comparison_json(comparison);
    report.text += "\n" + search::comparison_text(comparison);
  }
  if (options.asymptote) {
    const auto test = search::common_asymptote(data, options.fit, options.simulations, options.seed);
    report.json["asymptote"] = nlohmann::ordered_json::parse(fitting::to_json(test));
    report.text += "\n" + fitting::to_text(test);
  }
  return report;
}

int run(Options options) {
  check(options);
  options.fit.threads = options.common.threads;
  options.fit.cure = !options.no_cure;
  std::optional<db::Store> store;
  search::EmergenceData data;
  std::int64_t study = 0;
  if (options.input.empty()) {
    store = options.store.open(options.no_store ? db::Access::read : db::Access::write);
    const auto runs = search::load_emergence_runs(*store, options.store.study, options.metric, options.threshold);
    study = runs.study.id;
    data = search::emergence_data(runs);
  } else {
    data = read_table(options);
  }
  const auto report = report_on(options, data);
  if (!options.svg.empty()) write_file(options.svg, search::svg_plot(search::curves_plot(data)));
  if (store && !options.no_store) store->add_fit(study, "emergence", report.json.dump(), HYLAS_VERSION);
  print(options.common.json ? report.json.dump(2) : report.text);
  return exit_ok;
}

void add_source_options(CLI::App& command, Options& options) {
  options.store.add_to(command);
  command.get_option("--db")->required(false);
  command.add_option("--input", options.input, "a table instead: .csv, .tsv or .jsonl, one row an evaluation of a run");
  command
      .add_option("--columns", options.columns,
                  "of the table: seed=a,tokens=b,value=c and design, count, N, window, full_fraction, nope, sink, "
                  "depth, width, metric")
      ->delimiter(',');
  command.add_option("--metric", options.metric, "default: the capability that was swept for, or the table's only one");
  command.add_option("--threshold", options.threshold,
                     "of --metric, defines D50; default: what was swept for, else 0.5");
}

void add_law_options(CLI::App& command, Options& options) {
  command.add_option("--law", options.fit.law, "F3 (times to emergence) or F1 (whole curves)")->capture_default_str();
  command
      .add_option("--terms", options.fit.terms,
                  "columns of ln D50, e.g. ln_window,nope, or none (default: all that vary, save ln_depth, ln_width, "
                  "nope*no_swa, nope*ln_window^2 and ln_window*ln_N); also columns of the table")
      ->delimiter(',');
  command.add_option("--cure-terms", options.fit.cure_terms, "columns of the chance that a run ever emerges (F3)")
      ->delimiter(',');
  command.add_flag("--no-cure", options.no_cure, "every run emerges sooner or later (F3)");
  command.add_option("--level", options.fit.level, "of the intervals")
      ->capture_default_str()
      ->check(CLI::Range(0.5, 0.999));
  command.add_flag("--sandwich", options.fit.sandwich,
                   "quick intervals from the covariance instead of profiles: too narrow with few runs");
  command.add_option("--profile", options.fit.profile, "parameters to give intervals (default: all)")->delimiter(',');
}

void add_check_options(CLI::App& command, Options& options) {
  command.add_option("--predict", options.predict, "N=...,window=...: D50 of a design that was not run; repeatable")
      ->allow_extra_args(false);
  command.add_option(
      "--holdout", options.holdout,
      "largest:N, design, design=NAME, window or window=W: runs to predict instead of fit, beside the fit");
  command
      .add_option("--against", options.against,
                  "other terms, e.g. ln_N,nope or none: likelihood ratio, AIC and BIC; repeatable")
      ->allow_extra_args(false);
  command.add_flag("--asymptote", options.asymptote,
                   "test whether the curves of all designs end on one plateau (as F1; needs counts)");
  command.add_option("--seed", options.seed, "of the simulations")->capture_default_str();
  command.add_option("--simulations", options.simulations, "of the parametric bootstraps of --against and --asymptote")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
}

}  // namespace

void add_fit_emergence(Program& program, CLI::App& parent) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, parent, "emergence", "when a capability emerges: window slope, NoPE shift, D50",
                              "hylas fit emergence --db demo.db --law F3 --svg curves.svg\n"
                              "  hylas fit emergence --input runs.csv --columns design=name,value=accuracy "
                              "--predict N=1e9,window=64,nope=0",
                              options->common, [options] { return run(*options); });
  add_source_options(*command, *options);
  add_law_options(*command, *options);
  add_check_options(*command, *options);
  command->add_option("--svg", options->svg, "also write the curves as an SVG file");
  command->add_flag("--no-store", options->no_store, "do not keep the fit in the store");
}

}  // namespace hylas::cli
