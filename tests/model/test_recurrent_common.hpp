// The shape that tests of recurrent mixers use.
#pragma once

#include "model/design/shape.hpp"

namespace hylas::tests {

// d_model a multiple of 32, for mamba2; T no multiple of a chunk.
inline model::Shape small_shape(std::int64_t context = 20) {
  return {.d_model = 32,
          .heads = 3,
          .kv_heads = 1,
          .head_dim = 8,
          .ffn = 24,
          .vocab = 19,
          .context = context,
          .tied = true,
          .rope_theta = 10000.0};
}

}  // namespace hylas::tests
