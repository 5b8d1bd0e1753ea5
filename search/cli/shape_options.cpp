// See shape_options.hpp.
#include "search/cli/shape_options.hpp"

namespace hylas::cli {

void ShapeOptions::add_to(CLI::App& command) {
  command.add_option("--d-model", shape.d_model, "width of the residual stream")->capture_default_str();
  command.add_option("--heads", shape.heads, "query heads")->capture_default_str();
  command.add_option("--kv-heads", shape.kv_heads, "key/value heads (default: heads)");
  command.add_option("--head-dim", shape.head_dim, "width of a head (default: d-model / heads)");
  command.add_option("--ffn", shape.ffn, "width of the SwiGLU block; 0: none")->capture_default_str();
  command.add_option("--vocab", shape.vocab, "vocabulary")->capture_default_str();
  command.add_option("--context", shape.context, "context length, tokens")->capture_default_str();
  command.add_option("--rope-theta", shape.rope_theta, "base of the rotary encoding")->capture_default_str();
  command.add_flag("--untied", untied, "a head of its own instead of the embedding");
}

model::Shape ShapeOptions::resolve() const {
  model::Shape resolved = shape;
  resolved.tied = !untied;
  if (resolved.kv_heads == 0) resolved.kv_heads = resolved.heads;
  if (resolved.head_dim == 0) {
    if (resolved.heads < 1 || resolved.d_model % resolved.heads != 0) {
      throw model::InputError("--d-model " + std::to_string(resolved.d_model) + " is not a multiple of --heads " +
                              std::to_string(resolved.heads) + "; give --head-dim, or a multiple");
    }
    resolved.head_dim = resolved.d_model / resolved.heads;
  }
  model::validate(resolved);
  return resolved;
}

}  // namespace hylas::cli
