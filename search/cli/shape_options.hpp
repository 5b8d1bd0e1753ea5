// The shape of a design as command-line options, shared by the commands that take a layout.
#pragma once

#include <CLI/CLI.hpp>

#include "model/design/shape.hpp"

namespace hylas::cli {

struct ShapeOptions {
  model::Shape shape{.d_model = 384,
                     .heads = 6,
                     .kv_heads = 0,
                     .head_dim = 0,
                     .ffn = 960,
                     .vocab = 32768,
                     .context = 4096,
                     .tied = true,
                     .rope_theta = 10000.0};
  bool untied = false;

  void add_to(CLI::App& command);
  // The shape with the defaults filled in: kv heads = heads, head dim = d_model / heads.
  [[nodiscard]] model::Shape resolve() const;
};

}  // namespace hylas::cli
