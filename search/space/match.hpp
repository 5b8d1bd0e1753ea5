// Match: [match] of a space file makes designs comparable: every design gets the feed-forward width, or its sliding
// windows the size, at which it has as many parameters, training FLOPs or cache bytes as a design of reference.
//
//   quantity   parameters (without embeddings), flops_per_token (training) or cache_bytes (at the context)
//   by         ffn: the width of the SwiGLU block; window: one size for all sliding windows of the design
//   to         the layout of reference, in the shape as written; absent: the space's first design of that shape
//   within     the largest relative difference to it, 0.005: then no two designs differ by more than about 1%
//
// Of the widths that are within, the nearest multiple of the largest power of two up to 64 is chosen, so that products
// keep round sizes. Errors: InputError naming the design and the nearest that could be had. Thread-safety: pure.
#pragma once

#include <optional>
#include <string>

#include "model/design/design.hpp"
#include "search/space/toml_reader.hpp"

namespace hylas::search {

enum class MatchQuantity : std::uint8_t { parameters, flops_per_token, cache_bytes };
enum class MatchBy : std::uint8_t { ffn, window };

struct Match {
  MatchQuantity quantity = MatchQuantity::parameters;
  MatchBy by = MatchBy::ffn;
  std::string to;  // empty: the first design
  double within = 0.005;
};

// Absent where the file has no [match].
[[nodiscard]] std::optional<Match> read_match(const TomlReader& root);
[[nodiscard]] double quantity_of(const Match& match, const model::Design& design);
// `design` with the width or windows that bring its quantity to `target`; as it is where it is already within.
[[nodiscard]] model::Design matched(const Match& match, const model::Design& design, double target);

}  // namespace hylas::search
