// Shape: everything about a design's size that is not its layout.
//
// Units: counts of features, heads, tokens. Errors: validate() throws InputError naming the field.
#pragma once

#include <cstdint>
#include <string>

#include "model/design/input_error.hpp"

namespace hylas::model {

struct Shape {
  std::int64_t d_model = 64;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;   // a divisor of heads
  std::int64_t head_dim = 64;  // even
  std::int64_t ffn = 192;      // width of the SwiGLU block; 0: no feed-forward block
  std::int64_t vocab = 128;
  std::int64_t context = 128;  // T, tokens
  bool tied = true;            // the head is the embedding
  double rope_theta = 10000.0;
  bool operator==(const Shape&) const = default;

  [[nodiscard]] std::int64_t q_width() const { return heads * head_dim; }
  [[nodiscard]] std::int64_t kv_width() const { return kv_heads * head_dim; }
  [[nodiscard]] std::int64_t qkv_width() const { return q_width() + 2 * kv_width(); }
};

void validate(const Shape& shape);

}  // namespace hylas::model
