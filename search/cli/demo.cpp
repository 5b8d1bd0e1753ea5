// hylas demo: the whole chain at toy size on the CPU: sweep, D50 table, law, curves, recommendation.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "model/design/cost.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/cli/sweep_text.hpp"
#include "search/run/controller.hpp"
#include "search/run/devices.hpp"
#include "search/run/interrupt.hpp"
#include "search/space/embedded.hpp"
#include "search/space/space.hpp"
#include "search/study/best_recipe.hpp"
#include "search/study/emergence_fit.hpp"
#include "search/study/emergence_report.hpp"
#include "search/study/study_advice.hpp"

namespace hylas::cli {
namespace {

constexpr auto db_file = "demo.db";
constexpr auto svg_file = "demo-curves.svg";
// What the recommendation is asked for: half a million tokens of the dearest design of the demo.
constexpr double budget_tokens = 5e5;

struct Options {
  CommonOptions common;
  std::string device = "cpu";
};

search::SweepSummary sweep(const search::Space& space, db::Store& store, const Options& asked) {
  search::SweepOptions options;
  options.space_text = search::demo_space;
  options.threads = asked.common.threads;
  options.devices = search::worker_devices(asked.device);
  options.program_version = HYLAS_VERSION;
  options.progress = search::default_progress();
  const search::InterruptGuard guard;
  options.interrupt = search::InterruptGuard::flag();
  return search::run_sweep(space, store, options);
}

search::Request budget_for(const search::Space& space) {
  search::Request request;
  for (const auto& design : space.designs) {
    request.flops = std::max(request.flops, budget_tokens * model::cost_of(design).flops_train);
    request.context = design.shape.context;
  }
  return request;
}

std::string as_text(const search::SweepSummary& summary, const search::EmergenceData& data,
                    const search::EmergenceAnalysis& analysis, const search::Request& request,
                    const search::Advice& advice) {
  std::string text = fmt::format("{} trials, {} tokens trained in {:.1f} s\n\n", data.runs.size() + data.left_out,
                                 search::short_number(static_cast<double>(summary.tokens)), summary.seconds);
  text += search::emergence_text(data, analysis) + "\n" + search::terminal_plot(search::curves_plot(data)) + "\n";
  text += search::to_text(advice);
  text += fmt::format("\nThe curves are in {}, every number is in {}. Next:\n", svg_file, db_file);
  text += fmt::format("  hylas recommend --db {} --flops {:.3g} --context {}   with another budget\n", db_file,
                      request.flops / 4, request.context);
  text += "  hylas init space.toml                                      a search of your own\n";
  return text;
}

std::string as_json(const search::SweepSummary& summary, const search::EmergenceData& data,
                    const search::EmergenceAnalysis& analysis, const search::Advice& advice) {
  return nlohmann::ordered_json{{"sweep", sweep_json(summary)},
                                {"fit", search::emergence_json(data, analysis)},
                                {"advice", nlohmann::ordered_json::parse(search::to_json(advice))},
                                {"files", {db_file, svg_file}}}
      .dump(2);
}

int run(const Options& options) {
  (void)search::worker_devices(options.device);  // one that is not there ends it before anything is said or written
  const auto space = search::parse_space(search::demo_space, "demo.toml (built in)");
  std::fprintf(stderr,
               "hylas demo: %zu designs x %zu seeds of a tiny hybrid, into ./%s; stop and rerun it as you like\n",
               space.designs.size(), space.trials.size() / space.designs.size(), db_file);
  auto store = StoreOptions{db_file, ""}.open(db::Access::create);
  const auto summary = sweep(space, store, options);
  if (summary.exit_code() == exit_interrupted) {
    print(options.common.json ? sweep_json(summary).dump(2) : sweep_text(summary, db_file));
    return exit_interrupted;
  }
  const auto runs = search::load_emergence_runs(store, space.study);
  const auto data = search::emergence_data(runs);
  search::EmergenceFitOptions fit_options;
  fit_options.threads = options.common.threads;
  const auto analysis = search::analyse_emergence(data, fit_options);
  store.add_fit(runs.study.id, "emergence", search::emergence_json(data, analysis).dump(), HYLAS_VERSION);
  write_file(svg_file, search::svg_plot(search::curves_plot(data)));
  const auto request = budget_for(space);
  const auto advice = search::advise(store, runs, analysis.fit, search::study_candidates(runs, request.context),
                                     request, options.common.threads);
  print(options.common.json ? as_json(summary, data, analysis, advice)
                            : as_text(summary, data, analysis, request, advice));
  return summary.exit_code();
}

}  // namespace

void add_demo(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, program.app, "demo", "the whole chain at toy size on the CPU, in minutes; writes ./demo.db",
                  "hylas demo", options->common, [options] { return run(*options); });
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N; toys of this size suit the CPU")
      ->capture_default_str();
}

}  // namespace hylas::cli
