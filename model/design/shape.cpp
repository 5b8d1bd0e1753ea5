// validate(Shape). The upper limits keep every count of cost.cpp inside 64 bits.
#include "model/design/shape.hpp"

#include <cmath>

namespace hylas::model {
namespace {

void in_range(const char* field, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most) {
    throw InputError(std::string(field) + " must be from " + std::to_string(least) + " to " + std::to_string(most) +
                     ", not " + std::to_string(value));
  }
}

}  // namespace

void validate(const Shape& shape) {
  in_range("d_model", shape.d_model, 1, 1 << 20);
  in_range("heads", shape.heads, 1, 1 << 12);
  in_range("kv_heads", shape.kv_heads, 1, 1 << 12);
  in_range("head_dim", shape.head_dim, 2, 1 << 12);
  in_range("ffn", shape.ffn, 0, 1 << 24);
  in_range("vocab", shape.vocab, 2, std::int64_t{1} << 31);
  in_range("context", shape.context, 1, 1 << 26);
  if (shape.heads % shape.kv_heads != 0) {
    throw InputError("kv_heads must divide heads: " + std::to_string(shape.heads) + " heads cannot share " +
                     std::to_string(shape.kv_heads) + " KV heads evenly");
  }
  if (shape.head_dim % 2 != 0) {
    throw InputError("head_dim must be even (RoPE turns pairs of features), not " + std::to_string(shape.head_dim));
  }
  if (!std::isfinite(shape.rope_theta) || shape.rope_theta <= 0) {
    throw InputError("rope_theta must be a positive number, not " + std::to_string(shape.rope_theta));
  }
}

}  // namespace hylas::model
