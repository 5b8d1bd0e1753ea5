// hylas bench train: whole training steps of a cohort of proxies, timed. Registers `hylas bench` and all below it.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "model/cohort.hpp"
#include "model/design/cost.hpp"
#include "search/cli/bench_fit.hpp"
#include "search/cli/bench_kernels.hpp"
#include "search/cli/bench_recurrence.hpp"
#include "search/cli/bench_sizes.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/run/throughput.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string size = "cpu64";
  std::string layout;
  std::string device = "cpu";
  std::string precision;  // empty: bf16 on a GPU, fp32 on the CPU
  std::int64_t trials = 1;
  double seconds = 3;
};

std::vector<model::TrialSpec> make_trials(const BenchSize& size, const Options& options) {
  const auto shape = size.shape();
  const auto layout = options.layout.empty() ? size.layout() : options.layout;
  model::Recipe recipe;
  recipe.task = model::recall_task(size.vocab / 2, size.vocab / 2);
  recipe.batch = size.batch;
  recipe.steps = 1'000'000;
  recipe.learning_rate = 1e-3;
  const bool gpu = model::device_of(options.device).kind == kernels::DeviceKind::cuda;
  recipe.precision = !options.precision.empty() ? options.precision : gpu ? "bf16" : "fp32";
  std::vector<model::TrialSpec> trials;
  for (std::int64_t p = 0; p < options.trials; ++p) {
    recipe.seed = recipe.data_seed = p + 1;
    trials.push_back({model::Design::make(layout, shape), recipe});
  }
  return trials;
}

struct Result {
  double ms_per_step = 0;  // of the whole cohort: the median over samples
  std::int64_t steps = 0;  // in all samples
  double tokens_per_second = 0;
  double gflops = 0;
  std::size_t peak_bytes = 0;
};

constexpr std::size_t least_samples = 5;

Result measure(const std::vector<model::TrialSpec>& trials, const Options& options) {
  model::Cohort cohort(trials, {.threads = options.common.threads, .device = options.device});
  std::fprintf(stderr, "%s\n", cohort.plan_text().c_str());
  const auto timing = search::time_steps(cohort, options.seconds, least_samples);
  Result result;
  result.steps = timing.steps;
  result.ms_per_step = timing.seconds * 1e3;
  const auto tokens = static_cast<double>(cohort.tokens_per_step()) * static_cast<double>(trials.size());
  result.tokens_per_second = tokens / timing.seconds;
  result.gflops = result.tokens_per_second * model::cost_of(trials.front().design).flops_train * 1e-9;
  result.peak_bytes = cohort.peak_bytes();
  return result;
}

int run_train(const Options& options) {
  const auto trials = make_trials(find_bench_size(options.size), options);
  const auto result = measure(trials, options);
  const auto layout = trials.front().design.layout_text();
  if (options.common.json) {
    print(nlohmann::ordered_json{{"size", options.size},
                                 {"layout", layout},
                                 {"trials", options.trials},
                                 {"device", options.device},
                                 {"precision", trials.front().recipe.precision},
                                 {"tokens_per_second", result.tokens_per_second},
                                 {"ms_per_step", result.ms_per_step},
                                 {"steps", result.steps},
                                 {"gflops", result.gflops},
                                 {"peak_bytes", result.peak_bytes}}
              .dump(2));
  } else {
    print(fmt::format("{} {} x {} on {}: {:.0f} tokens/s, {:.2f} ms a step ({} steps), {:.1f} GFLOP/s, {:.1f} MiB\n",
                      options.size, options.trials, layout, options.device, result.tokens_per_second,
                      result.ms_per_step, result.steps, result.gflops,
                      static_cast<double>(result.peak_bytes) / (1 << 20)));
  }
  return exit_ok;
}

}  // namespace

void add_bench(Program& program) {
  auto* bench = program.app.add_subcommand("bench", "speed on this machine");
  bench->require_subcommand(1);
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, *bench, "train", "whole training steps of a cohort of proxies",
                              "hylas bench train --size cpu64 --trials 2 --json", options->common,
                              [options] { return run_train(*options); });
  command->add_option("--size", options->size, "cpu64, cpu128, cpu256, tiny, small, mid or big")->capture_default_str();
  command->add_option("--layout", options->layout, "default: (swa:8 full)*k, or (swa:128*3 full/nope)*k from tiny on");
  command->add_option("--trials", options->trials, "trials in the cohort")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  command->add_option("--precision", options->precision, "fp32 or bf16 (default: bf16 on a GPU, fp32 on the CPU)")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--seconds", options->seconds, "how long to measure")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  add_bench_kernels(program, *bench);
  add_bench_recurrence(program, *bench);
  add_bench_fit(program, *bench);
}

}  // namespace hylas::cli
