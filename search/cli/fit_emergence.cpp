// hylas fit emergence --db F: the law of when a capability emerges, from a study's runs.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/fit.hpp"
#include "search/cli/store_options.hpp"
#include "search/study/best_recipe.hpp"
#include "search/study/emergence_fit.hpp"
#include "search/study/emergence_report.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  search::EmergenceFitOptions fit;
  std::string metric;
  std::optional<double> threshold;
  std::string svg;
  bool no_store = false;
};

int run(Options options) {
  options.fit.threads = options.common.threads;
  auto store = options.store.open(options.no_store ? db::Access::read : db::Access::write);
  const auto runs = search::load_emergence_runs(store, options.store.study, options.metric, options.threshold);
  const auto data = search::emergence_data(runs);
  const auto analysis = search::analyse_emergence(data, options.fit);
  const auto json = search::emergence_json(data, analysis);
  if (!options.svg.empty()) write_file(options.svg, search::svg_plot(search::curves_plot(data)));
  if (!options.no_store) store.add_fit(runs.study.id, "emergence", json.dump(), HYLAS_VERSION);
  print(options.common.json ? json.dump(2) : search::emergence_text(data, analysis));
  return exit_ok;
}

}  // namespace

void add_fit_emergence(Program& program, CLI::App& parent) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, parent, "emergence", "when a capability emerges: window slope, NoPE shift, D50",
                              "hylas fit emergence --db demo.db --law F3 --svg curves.svg", options->common,
                              [options] { return run(*options); });
  options->store.add_to(*command);
  command->add_option("--law", options->fit.law, "F3 (times to emergence) or F1 (whole curves)")
      ->capture_default_str()
      ->check(CLI::IsMember({"F1", "F3"}));
  command->add_option("--metric", options->metric, "default: the capability that was swept for");
  command->add_option("--threshold", options->threshold,
                      "of --metric, defines D50; default: what was swept for, else 0.5");
  command->add_option("--terms", options->fit.terms, "columns of ln D50, e.g. ln_window,nope (default: all that vary)")
      ->delimiter(',');
  command->add_option("--level", options->fit.level, "of the intervals")
      ->capture_default_str()
      ->check(CLI::Range(0.5, 0.999));
  command->add_option("--svg", options->svg, "also write the curves as an SVG file");
  command->add_flag("--no-store", options->no_store, "do not keep the fit in the store");
}

}  // namespace hylas::cli
