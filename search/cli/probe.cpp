// hylas probe --db F --trial KEY...: probes of mechanism on stored checkpoints.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "model/design/layout.hpp"
#include "model/probe/intervention.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/study/probe_text.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  std::vector<std::string> trials;
  bool all = false;
  std::string by = "answer";
  search::ProbeOptions probe;
};

// --all: the study's trials that have ended, left a checkpoint, and have heads.
std::vector<db::Trial> chosen_trials(const Options& options, const db::Store& store) {
  if (options.all == !options.trials.empty()) {
    throw model::InputError(
        "hylas probe needs either --trial KEY (the first digits do; several are allowed) or --all; hylas export lists "
        "the trials");
  }
  std::vector<db::Trial> trials;
  for (const std::string& prefix : options.trials) trials.push_back(find_trial(store, prefix));
  if (!options.all) return trials;
  const db::Study study = search::choose_study(store, options.store.study);
  std::size_t without = 0, headless = 0;
  for (db::Trial& trial : store.trials(study.id)) {
    if (trial.state != db::TrialState::done && trial.state != db::TrialState::stopped) continue;
    if (model::attention_layers(model::parse_layout(trial.layout)) == 0) {
      ++headless;
    } else if (trial.checkpoint) {
      trials.push_back(std::move(trial));
    } else {
      ++without;
    }
  }
  if (trials.empty()) {
    throw model::InputError(
        fmt::format("study '{}' has no trial to probe: {} have no attention layer, {} ended without a checkpoint; "
                    "sweep those into a "
                    "fresh store without --no-final-checkpoints",
                    study.name, headless, without));
  }
  if (headless > 0) std::fprintf(stderr, "hylas: %zu trials without an attention layer are left out\n", headless);
  if (without > 0) std::fprintf(stderr, "hylas: %zu trials without a checkpoint are left out\n", without);
  return trials;
}

int run(Options options) {
  const auto store = options.store.open(db::Access::read);
  options.probe.engine.threads = options.common.threads;
  options.probe.by_copy = options.by == "copy";
  (void)model::device_of(options.probe.engine.device);  // a device that is not there, before any work
  std::vector<search::TrialProbe> probes;
  auto json = nlohmann::ordered_json::array();
  for (const db::Trial& trial : chosen_trials(options, store)) {
    probes.push_back(search::probe_trial(store, trial, options.probe));
    const std::string warning = probes.back().warning();
    if (!warning.empty()) std::fprintf(stderr, "hylas: %s\n", warning.c_str());
    if (options.common.json) {
      json.push_back(search::probe_json(probes.back()));
    } else if (!options.all) {
      print(search::probe_text(probes.back()) + "\n");
    }
  }
  if (options.common.json) {
    print(nlohmann::ordered_json{{"trials", json}}.dump(2));
  } else if (probes.size() > 1 || options.all) {
    print(search::probe_results(probes));
  }
  return exit_ok;
}

}  // namespace

void add_probe(Program& program) {
  auto options = std::make_shared<Options>();
  options->probe.engine.device = "auto";
  auto* command = add_command(
      program, program.app, "probe", "what the attention heads of trained trials do: scores, cuts, ablation",
      "hylas probe --db demo.db --trial 3f2a", options->common, [options] { return run(*options); });
  options->store.add_to(*command);
  command->add_option("--trial", options->trials, "the first digits of its key; several trials make a table");
  command->add_flag("--all", options->all, "all trials of the study that have ended: a table");
  command
      ->add_option("--device", options->probe.engine.device, "auto (the first GPU, else the CPU), cpu, cuda or cuda:N")
      ->capture_default_str();
  command
      ->add_option("--sequences", options->probe.sequences,
                   "evaluation sequences to use (default: as many as the trial's recipe)")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--draws", options->probe.draws, "draws of random heads")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->add_option("--seed", options->probe.seed, "of the random draws")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--by", options->by, "what makes a head a top one: answer (attention mass) or copy (copy score)")
      ->capture_default_str()
      ->check(CLI::IsMember({"answer", "copy"}));
  command
      ->add_option("--cut-window", options->probe.cut_window,
                   "keys that cut full layers see (default: the largest swa window, or context/8)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  command->add_option("--first-keys", options->probe.first_keys, "and of the sequence's beginning")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
}

}  // namespace hylas::cli
