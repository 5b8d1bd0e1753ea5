// Design: canonical text and id, and the hash behind all ids.
#include "model/design/design.hpp"
#include "model/design/recurrent_sizes.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace hylas::model {
namespace {

// Mamba-2 splits its inner width of 2 d_model into heads of 64 (MATHS 2).
void check_mamba2(const Layout& layout, const Shape& shape) {
  for (const Layer& layer : layout.layers) {
    if (layer.mixer == Mixer::mamba2 && shape.d_model % kMamba2Multiple != 0) {
      throw InputError(
          fmt::format("mamba2 needs d_model to be a multiple of 32 (its inner width 2 d_model is split into "
                      "heads of 64), not {}",
                      shape.d_model));
    }
  }
}

}  // namespace

Design Design::make(std::string_view layout_text, const Shape& shape) {
  validate(shape);
  Design design{normalise(parse_layout(layout_text), shape.context), shape};
  check_mamba2(design.layout, shape);
  return design;
}

std::string Design::layout_text() const {
  return canonical_text(layout);
}

std::string Design::canonical() const {
  return fmt::format(
      "{} | d_model={} heads={} kv_heads={} head_dim={} ffn={} vocab={} context={} tied={} rope_theta={}",
      layout_text(), shape.d_model, shape.heads, shape.kv_heads, shape.head_dim, shape.ffn, shape.vocab, shape.context,
      shape.tied, shape.rope_theta);
}

std::string Design::id() const {
  return hash_hex(canonical());
}

std::string hash_hex(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325ULL;  // FNV-1a, 64 bits
  for (const char c : text) {
    h ^= static_cast<unsigned char>(c);
    h *= 0x100000001b3ULL;
  }
  h ^= h >> 33;  // the final mix of MurmurHash3, so that near texts differ in every digit
  h *= 0xff51afd7ed558ccdULL;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53ULL;
  h ^= h >> 33;
  return fmt::format("{:016x}", h);
}

}  // namespace hylas::model
