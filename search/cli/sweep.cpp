// hylas sweep SPACE.toml --db F: trains the trials of a space; run it again to resume.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "model/data/task.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/cli/sweep_text.hpp"
#include "search/run/controller.hpp"
#include "search/run/devices.hpp"
#include "search/run/interrupt.hpp"
#include "search/run/throughput.hpp"
#include "search/space/space.hpp"
#include "search/study/plan_text.hpp"
#include "search/study/tuned_sweep.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  search::SweepOptions sweep;
  std::string space;
  std::string corpus;
  std::string db;
  std::string progress;
  double gpu_memory = 0;  // GiB
  bool dry_run = false;
  bool measure = false;
  search::MeasureOptions measuring;
  bool profile = false;
  bool no_final_checkpoints = false;
};

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

int dry_run(const Options& options, const search::Space& space) {
  const auto say = [&options](const auto& plan, const char* end) {
    print(options.common.json ? search::plan_json(plan).dump(2) : search::plan_text(plan) + end);
    return exit_ok;
  };
  if (options.measure)
    return say(search::measure_plan(space, options.sweep, options.measuring), "Nothing was stored.\n");
  return say(search::plan_study(space), "Nothing was trained.\n");
}

int run(Options options) {
  std::optional<model::TaskSpec> task;
  if (!options.corpus.empty()) task = model::completed(model::task_spec("text", {{"corpus", options.corpus}}));
  const auto space = search::load_space(options.space, task);
  auto& sweep = options.sweep;
  // Before the store is made: designs that this program can describe but not train, devices that are not there.
  sweep.devices = search::worker_devices(sweep.device);
  for (const auto& trial : space.trials) search::check_trainable_on(trial, sweep.device, sweep.devices.front());
  sweep.gpu_bytes = static_cast<std::size_t>(options.gpu_memory * (std::size_t{1} << 30));
  sweep.threads = options.common.threads;
  if (options.dry_run) return dry_run(options, space);
  if (options.db.empty()) throw model::InputError("hylas sweep needs --db FILE: where the results go (or --dry-run)");
  sweep.space_text = read_text(options.space);
  sweep.keep_final_checkpoint = !options.no_final_checkpoints;
  sweep.program_version = HYLAS_VERSION;
  sweep.progress = options.progress == "jsonl"  ? search::Progress::jsonl
                   : options.progress == "none" ? search::Progress::none
                                                : search::default_progress();
  auto store = StoreOptions{options.db, ""}.open(db::Access::create);
  const search::InterruptGuard guard;
  sweep.interrupt = search::InterruptGuard::flag();
  if (space.tuning) {
    const auto tuned = search::run_tuned_sweep(space, store, sweep);
    print(options.common.json ? sweep_json(tuned).dump(2) : sweep_text(tuned, space, options.db));
    const auto& last = tuned.reached_study ? tuned.study : tuned.tuning;
    if (options.profile) std::fputs(last.profile.text().c_str(), stderr);
    return std::max(tuned.tuning.exit_code(), last.exit_code());
  }
  const auto summary = search::run_sweep(space, store, sweep);
  print(options.common.json ? sweep_json(summary).dump(2) : sweep_text(summary, options.db));
  if (options.profile) std::fputs(summary.profile.text().c_str(), stderr);
  return summary.exit_code();
}

}  // namespace

void add_sweep(Program& program) {
  auto options = std::make_shared<Options>();
  options->sweep.device = "auto";
  auto* command = add_command(program, program.app, "sweep", "trains the trials of a space; run it again to resume",
                              "hylas sweep search/space/examples/demo.toml --db demo.db", options->common,
                              [options] { return run(*options); });
  command->add_option("space", options->space, "a space file (see: hylas init)")->required();
  command->add_option("--db", options->db, "the results store, made if it does not exist");
  command->add_option("--corpus", options->corpus,
                      "train on the bytes of this file (or the tokens of a .bin file) instead of the space's [task]");
  auto* dry_run = command->add_flag("--dry-run", options->dry_run, "say what would be trained, and stop");
  auto* measure = command->add_flag("--measure", options->measure,
                                    "with --dry-run: train each kind of cohort for a moment and say how long the sweep "
                                    "will take here; stores nothing");
  measure->needs(dry_run);
  command->add_option("--measure-seconds", options->measuring.seconds, "with --measure: how long, a kind of cohort")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 3600.0))
      ->needs(measure);
  command->add_flag("--extend", options->sweep.extend,
                    "let the space of an existing study change (not one that [findings] registers)");
  command->add_flag("--retry-failed", options->sweep.retry_failed, "run failed trials again from their beginning");
  command->add_flag("--profile", options->profile, "print where the time went, on stderr");
  command->add_option("--progress", options->progress, "jsonl: one object a line on stderr after each commit; none")
      ->check(CLI::IsMember({"jsonl", "none", "text"}));
  command
      ->add_option("--device", options->sweep.device, "auto (all GPUs, else the CPU), cpu, cuda (all GPUs) or cuda:N")
      ->capture_default_str();
  command->add_option("--gpu-memory", options->gpu_memory, "GiB to use of each GPU (default: nearly all that is free)")
      ->check(CLI::Range(0.001, 1e6));
  command->add_option("--max-cohort", options->sweep.max_cohort, "trials in lockstep at most (0: what memory allows)")
      ->check(CLI::Range(0, 4096));
  command->add_option("--checkpoint-seconds", options->sweep.checkpoint_seconds, "time between checkpoints")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  auto* drop = command->add_flag("--no-final-checkpoints", options->no_final_checkpoints,
                                 "drop a trial's weights once it has ended");
  command
      ->add_flag("--keep-checkpoints", options->sweep.keep_checkpoints,
                 "keep the weights of every evaluation for `hylas probe`; give it again when resuming")
      ->excludes(drop);
}

}  // namespace hylas::cli
