// hylas findings: the seed paper's statements, judged on proxies trained here.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/cli/sweep_text.hpp"
#include "search/findings/findings.hpp"
#include "search/run/devices.hpp"
#include "search/run/interrupt.hpp"
#include "search/run/throughput.hpp"
#include "search/study/plan_text.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string db, scale = "toy", device = "auto", spaces, out;
  std::vector<std::string> only;
  bool judge = false, plan = false;
};

void say(const std::string& text) {
  std::fprintf(stderr, "hylas: %s\n", text.c_str());
}

std::vector<search::Part> parts_of(Options& options) {
  if (!options.spaces.empty()) {
    options.scale = std::filesystem::weakly_canonical(options.spaces).filename().string();
    return search::parts_in(options.spaces, options.only);
  }
  // The toys of a CPU are smaller ones.
  if (options.scale == "toy" && !options.judge && search::worker_devices(options.device).front() == "cpu") {
    options.scale = "toy-cpu";
  }
  return search::built_in_parts(options.scale, options.only);
}

// Toys are over sooner than their speed is measured.
constexpr double kFlopsWorthMeasuring = 1e18;

struct Plan {
  std::string text;
  nlohmann::ordered_json json;
};

enum class Speed { counts, where_long, everywhere };

// What will be trained, before it is; by measured speed everywhere or where it will take long.
Plan plan_of(const std::vector<search::Part>& parts, const search::SweepOptions& sweep, Speed speed) {
  Plan plan{"", nlohmann::ordered_json::array()};
  const auto add = [&](const std::string& study, const auto& one) {
    plan.text += study + "\n" + search::plan_text(one) + "\n";
    auto json = search::plan_json(one);
    json["study"] = study;
    plan.json.push_back(std::move(json));
  };
  for (const search::Part& part : parts) {
    const auto counts = search::plan_study(part.space);
    const bool is_long = counts.flops >= kFlopsWorthMeasuring;
    if (speed == Speed::everywhere || (speed == Speed::where_long && is_long)) {
      add(part.space.study, search::measure_plan(part.space, sweep));
    } else {
      add(part.space.study, counts);
    }
  }
  return plan;
}

search::SweepOptions sweep_options(const Options& options, const std::vector<search::Part>& parts) {
  search::SweepOptions sweep;
  sweep.device = options.device;
  sweep.devices = search::worker_devices(options.device);
  sweep.threads = options.common.threads;
  sweep.program_version = HYLAS_VERSION;
  sweep.progress = search::default_progress();
  for (const search::Part& part : parts) {
    for (const auto& trial : part.space.trials) search::check_trainable_on(trial, sweep.device, sweep.devices.front());
  }
  return sweep;
}

int train(const Options& options, const std::vector<search::Part>& parts, search::SweepOptions sweep,
          db::Store& store) {
  const search::InterruptGuard guard;
  sweep.interrupt = search::InterruptGuard::flag();
  const auto training = search::train_parts(parts, store, sweep);
  if (training.last.interrupted) {
    print(options.common.json ? sweep_json(training.last).dump(2) : sweep_text(training.last, options.db));
  }
  return training.exit_code;
}

void write_report(const search::Findings& findings, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  write_file((folder / "findings.json").string(), search::findings_json(findings).dump(1) + "\n");
  write_file((folder / "findings.txt").string(), search::findings_text(findings));
  for (const auto& [name, plot] : search::findings_plots(findings)) {
    write_file((folder / name).string(), search::svg_plot(plot));
  }
  say(fmt::format("wrote findings.txt, findings.json and plots to {}", folder.string()));
}

int run(Options options) {
  const auto parts = parts_of(options);
  int code = exit_ok;
  if (options.plan) {
    const Plan plan = plan_of(parts, sweep_options(options, parts), Speed::everywhere);
    print(options.common.json ? plan.json.dump(2) : plan.text + "Nothing was stored.");
    return exit_ok;
  }
  if (options.db.empty()) throw model::InputError("hylas findings needs --db FILE: where the results go (or --plan)");
  if (!options.judge) {
    const auto sweep = sweep_options(options, parts);
    const bool resumed = std::filesystem::exists(options.db);  // then its speed was measured, and `status` knows more
    std::fputs(plan_of(parts, sweep, resumed ? Speed::counts : Speed::where_long).text.c_str(), stderr);
    auto store = StoreOptions{options.db, ""}.open(db::Access::create);
    code = train(options, parts, sweep, store);
    if (code == exit_interrupted) return code;
  }
  auto store = StoreOptions{options.db, ""}.open(db::Access::write);
  search::JudgeOptions judge;
  judge.threads = options.common.threads;
  judge.progress = say;
  const model::CohortOptions engine{.threads = options.common.threads,
                                    .device = search::worker_devices(options.device).front()};
  auto findings = search::judge_findings(parts, store, engine, HYLAS_VERSION, judge);
  findings.scale = options.scale;
  if (!options.out.empty()) write_report(findings, options.out);
  print(options.common.json ? search::findings_json(findings).dump(2) : search::findings_text(findings));
  return code;
}

}  // namespace

void add_findings(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, program.app, "findings",
                              "the seed paper's statements, judged on proxies trained here; run it again to resume",
                              "hylas findings --db findings.db\n  timeout -s INT 480 hylas findings --db findings.db "
                              "   # in pieces of eight minutes",
                              options->common, [options] { return run(*options); });
  command->add_option("--db", options->db, "the results store, made if it does not exist");
  command
      ->add_option("--scale", options->scale,
                   "how large: toy (minutes; on a CPU toy-cpu), small (a GPU's hours), S1 (the paper's, days)")
      ->capture_default_str()
      ->check(CLI::IsMember({"toy", "toy-cpu", "small", "S1"}));
  command->add_option("--device", options->device, "auto (all GPUs, else the CPU), cpu, cuda (all GPUs) or cuda:N")
      ->capture_default_str();
  command
      ->add_option("--only", options->only,
                   "parts to train and judge: core,recurrent,sizes,ratios,sinks,growth (core always is)")
      ->delimiter(',');
  command->add_option("--spaces", options->spaces,
                      "a folder of your own copies of the space files, instead of --scale");
  command->add_option("-o,--out", options->out, "a folder for the report: findings.txt, findings.json, plots as SVG");
  auto* judge = command->add_flag("--judge", options->judge, "train nothing: judge what the store holds");
  command->add_flag("--plan", options->plan, "measure the speed of training, say how long it will take, and stop")
      ->excludes(judge);
}

}  // namespace hylas::cli
