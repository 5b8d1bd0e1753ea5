// Design: a layout with a shape, in canonical form. Two designs that train the same model have the same id.
#pragma once

#include <string>
#include <string_view>

#include "model/design/layout.hpp"
#include "model/design/shape.hpp"

namespace hylas::model {

struct Design {
  Layout layout;  // normalised for shape.context
  Shape shape;

  // Parses, validates and normalises. Throws InputError.
  [[nodiscard]] static Design make(std::string_view layout_text, const Shape& shape);

  [[nodiscard]] std::string layout_text() const;  // canonical_text(layout)
  [[nodiscard]] std::string canonical() const;    // layout text and every field of the shape: what the id hashes
  [[nodiscard]] std::string id() const;           // 16 hex digits
  [[nodiscard]] int depth() const { return static_cast<int>(layout.layers.size()); }
};

// A stable 64-bit hash (FNV-1a with a final mix) as 16 hex digits; ids of designs, trials and cohorts are made with it.
[[nodiscard]] std::string hash_hex(std::string_view text);

}  // namespace hylas::model
