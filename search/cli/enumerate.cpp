// hylas enumerate SPACE.toml: the designs a space yields, with their costs, before any compute is spent.
#include <fmt/format.h>

#include <memory>

#include "model/design/cost.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/report/design_json.hpp"
#include "search/report/table.hpp"
#include "search/space/space.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string space;
};

double train_flops(const search::Space& space) {
  double flops = 0;
  for (const auto& trial : space.trials) {
    const auto tokens = static_cast<double>(trial.recipe.steps * trial.recipe.batch * trial.design.shape.context);
    flops += tokens * model::cost_of(trial.design).flops_train;
  }
  return flops;
}

std::string as_json(const search::Space& space) {
  auto designs = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < space.designs.size(); ++i) {
    designs.push_back(search::design_json(space.designs[i], model::cost_of(space.designs[i])));
    if (!space.differences.empty()) designs.back()["match_difference"] = space.differences[i];
  }
  return nlohmann::ordered_json{{"study", space.study},
                                {"candidates", space.counts.candidates},
                                {"duplicates", space.counts.duplicates},
                                {"filtered", space.counts.filtered},
                                {"trials", space.trials.size()},
                                {"flops", train_flops(space)},
                                {"tuning_trials", space.tuning ? space.tuning->trials.size() : 0},
                                {"designs", designs}}
      .dump(2);
}

std::string as_text(const search::Space& space) {
  search::Table table;
  const auto right = search::Align::right;
  table.columns = {{"design"},     {"layout"},   {"d", right},           {"layers", right},
                   {"ffn", right}, {"N", right}, {"FLOPs/token", right}, {"cache bytes", right}};
  const bool matches = !space.differences.empty();
  if (matches) table.columns.push_back({"off", right});
  for (std::size_t i = 0; i < space.designs.size(); ++i) {
    const auto& design = space.designs[i];
    const auto cost = model::cost_of(design);
    table.rows.push_back({design.id(), design.layout_text(), std::to_string(design.shape.d_model),
                          std::to_string(design.depth()), std::to_string(design.shape.ffn),
                          std::to_string(cost.parameters_non_embedding), fmt::format("{:.4g}", cost.flops_train),
                          std::to_string(cost.cache_bytes)});
    if (matches) table.rows.back().push_back(fmt::format("{:+.2f}%", 100 * space.differences[i]));
  }
  return search::text_table(table) +
         fmt::format(
             "\n{} designs ({} candidates, {} duplicates, {} filtered out), {} trials, {:.3g} FLOPs at most{}\n",
             space.designs.size(), space.counts.candidates, space.counts.duplicates, space.counts.filtered,
             space.trials.size(), train_flops(space),
             space.tuning ? fmt::format("\nbefore them {} trials that tune learning rates, {:.3g} FLOPs",
                                        space.tuning->trials.size(), train_flops(*space.tuning))
                          : "");
}

int run(const Options& options) {
  const auto space = search::load_space(options.space);
  print(options.common.json ? as_json(space) : as_text(space));
  return exit_ok;
}

}  // namespace

void add_enumerate(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, program.app, "enumerate", "the designs a space file yields, with their costs",
                              "hylas enumerate search/space/examples/demo.toml", options->common,
                              [options] { return run(*options); });
  command->add_option("space", options->space, "a space file (see: hylas init)")->required();
}

}  // namespace hylas::cli
