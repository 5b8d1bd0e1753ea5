// Layout: the ordered list of layers of a proxy, its text grammar and its canonical form.
//
//   layout    = group { blank group }
//   group     = layer [ "*" count ] | "(" layout ")" [ "*" count ]
//   layer     = mixer { "/" attribute }
//   mixer     = "full" | "swa:" window | "gdn" | "mamba2" | "lightning"
//   attribute = "nope" | "sink"
//
// `(swa:128 full/nope)*5` is ten layers, alternating, without position encoding on the full ones. A window of W lets a
// query see W keys, itself included (the convention of Hugging Face and cuDNN; flash-attention calls this W - 1).
// Limits: count 1..1024, window 1..2^31-1, 1024 layers (checked before expanding), nesting 16.
// Errors: parse_layout throws InputError with line and column, what was expected, and the nearest valid name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/design/input_error.hpp"

namespace hylas::model {

enum class Mixer : std::uint8_t { full, swa, gdn, mamba2, lightning };

[[nodiscard]] std::string_view name_of(Mixer mixer);  // "full", "swa", "gdn", ...
[[nodiscard]] constexpr bool is_attention(Mixer m) {
  return m == Mixer::full || m == Mixer::swa;
}

struct Layer {
  Mixer mixer = Mixer::full;
  std::int32_t window = 0;  // keys a query sees; swa only, else 0
  bool rope = true;         // false: NoPE. Recurrent mixers have no position encoding and are always false here
  bool sink = false;        // one learned logit a head in the softmax denominator; attention only
  bool operator==(const Layer&) const = default;
};

struct Layout {
  std::vector<Layer> layers;
  bool operator==(const Layout&) const = default;
};

[[nodiscard]] Layout parse_layout(std::string_view text);
// What training sees at this context: windows >= context become full.
[[nodiscard]] Layout normalise(Layout layout, std::int64_t context);
// One layer as text, e.g. "swa:128/nope/sink"; recurrent mixers never print nope.
[[nodiscard]] std::string to_string(const Layer& layer);
// The canonical text of a normalised layout: least period p, maximal runs inside it (DESIGN "Layout grammar").
[[nodiscard]] std::string canonical_text(const Layout& layout);

}  // namespace hylas::model
