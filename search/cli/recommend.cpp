// hylas recommend --db F --flops C --context T: which design to train for a budget, with intervals and reasons.
#include <memory>

#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/store_options.hpp"
#include "search/space/space.hpp"
#include "search/study/best_recipe.hpp"
#include "search/study/emergence_fit.hpp"
#include "search/study/study_advice.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  StoreOptions store;
  search::Request request;
  std::string space;
  double cache_limit = 0;
  double memory_limit = 0;
};

std::vector<search::Candidate> candidates_of(const Options& options, const search::StudyRuns& runs) {
  if (options.space.empty()) return search::study_candidates(runs, options.request.context);
  std::vector<search::Candidate> candidates;
  for (const auto& design : search::load_space(options.space).designs) {
    auto shape = design.shape;
    if (options.request.context > 0) shape.context = options.request.context;
    candidates.push_back({model::Design::make(design.layout_text(), shape), ""});
  }
  return candidates;
}

int run(Options options) {
  auto& request = options.request;
  if (options.cache_limit > 0) request.cache_limit = options.cache_limit;
  if (options.memory_limit > 0) request.memory_limit = options.memory_limit;
  const auto store = options.store.open(db::Access::read);
  const auto runs = search::load_emergence_runs(store, options.store.study);
  search::EmergenceFitOptions fit_options;
  fit_options.threads = options.common.threads;
  const auto fit = search::fit_emergence(search::emergence_data(runs), fit_options);
  const auto advice = search::advise(store, runs, fit, candidates_of(options, runs), request, options.common.threads);
  print(options.common.json ? search::to_json(advice) : search::to_text(advice));
  return exit_ok;
}

}  // namespace

void add_recommend(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(
      program, program.app, "recommend", "a design for a compute budget, with intervals and reasons",
      "hylas recommend --db demo.db --flops 3e11 --context 64", options->common, [options] { return run(*options); });
  options->store.add_to(*command);
  auto& request = options->request;
  command->add_option("--flops", request.flops, "training FLOPs to spend on one model")->required()->check(positive());
  command->add_option("--context", request.context, "context the model must work at (default: that of the study)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  command->add_option("--space", options->space, "candidates from a space file (default: the designs of the study)");
  command->add_option("--eps", request.eps, "accepted chance that the ability has not emerged by the end")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 0.999));
  command->add_option("--cache-bytes", options->cache_limit, "limit on keys, values and states of one sequence")
      ->check(positive());
  command->add_option("--memory-bytes", options->memory_limit, "limit on weights and the caches of --sequences")
      ->check(positive());
  command->add_option("--sequences", request.sequences, "sequences served at once, for --memory-bytes")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--bytes-per-weight", request.bytes_per_weight, "for --memory-bytes")
      ->capture_default_str()
      ->check(positive());
  command->add_option("--draws", request.draws, "parameter draws behind win rates and regret")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--seed", request.seed, "of the draws")->capture_default_str();
}

}  // namespace hylas::cli
