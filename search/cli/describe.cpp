// hylas describe LAYOUT: what a design is and costs, without training it.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "model/design/cost.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/shape_options.hpp"
#include "search/report/design_json.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  ShapeOptions shape;
  std::string layout;
};

std::string as_text(const model::Design& design, const model::Cost& cost) {
  const auto& s = design.shape;
  std::string text = fmt::format("layout           {}\ndesign id        {}\n", design.layout_text(), design.id());
  text +=
      fmt::format("shape            d_model {}, {} heads of {}, {} kv heads, ffn {}, vocab {}, context {}, {} head\n",
                  s.d_model, s.heads, s.head_dim, s.kv_heads, s.ffn, s.vocab, s.context, s.tied ? "tied" : "untied");
  text += fmt::format("layers           {}\n", design.depth());
  text += fmt::format("parameters       {} in all, {} non-embedding\n", cost.parameters_total,
                      cost.parameters_non_embedding);
  text += fmt::format("FLOPs per token  {:.4g} forward, {:.4g} in training\n", cost.flops_forward, cost.flops_train);
  text += fmt::format("cache            {} bytes a sequence of {} tokens (bf16)\n", cost.cache_bytes, s.context);
  return text;
}

int run(const Options& options) {
  const auto design = model::Design::make(options.layout, options.shape.resolve());
  const auto cost = model::cost_of(design);
  print(options.common.json ? search::design_json(design, cost).dump(2) : as_text(design, cost));
  return exit_ok;
}

}  // namespace

void add_describe(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, program.app, "describe", "canonical form, id, parameters, FLOPs, cache of a layout",
                  "hylas describe '(swa:128 full/nope)*5' --d-model 384 --heads 6 --kv-heads 2 --json", options->common,
                  [options] { return run(*options); });
  command->add_option("layout", options->layout, "e.g. '(swa:128 full/nope)*5'")->required();
  options->shape.add_to(*command);
}

}  // namespace hylas::cli
