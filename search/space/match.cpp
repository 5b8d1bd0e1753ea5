// Designs of equal size (see match.hpp).
#include "search/space/match.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "model/design/cost.hpp"

namespace hylas::search {
namespace {

using model::Design;
using model::Layer;
using model::Mixer;

constexpr std::int64_t kMostWidth = std::int64_t{1} << 24;
constexpr std::array kQuantities = {"parameters", "flops_per_token", "cache_bytes"};
constexpr std::array kWidths = {"ffn", "window"};

template <class Enum, std::size_t n>
void read_name(const TomlReader& reader, const char* key, const std::array<const char*, n>& names, Enum& value) {
  std::string text = names[static_cast<std::size_t>(value)];
  reader.optional(key, text);
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) {
    const std::vector<std::string> known(names.begin(), names.end());
    reader.fail(reader.place_of(key), fmt::format("match.{} must be one of {}, not {}{}", key, fmt::join(names, ", "),
                                                  in_quotes(text), did_you_mean(text, known)));
  }
  value = static_cast<Enum>(found - names.begin());
}

bool has_windows(const Design& design) {
  return std::any_of(design.layout.layers.begin(), design.layout.layers.end(),
                     [](const Layer& layer) { return layer.mixer == Mixer::swa; });
}

Design with_width(const Match& match, const Design& design, std::int64_t width) {
  Design changed = design;
  if (match.by == MatchBy::ffn) {
    changed.shape.ffn = width;
  } else {
    for (Layer& layer : changed.layout.layers) {
      if (layer.mixer == Mixer::swa) layer.window = static_cast<std::int32_t>(width);
    }
  }
  return changed;
}

double difference(double value, double target) {
  return std::abs(value - target) / target;
}

// The largest width in [least, most] whose quantity is at most the target (it grows with the width); least where none
// is.
std::int64_t widest_below(const Match& match, const Design& design, double target, std::int64_t least,
                          std::int64_t most) {
  while (least < most) {
    const std::int64_t middle = least + (most - least + 1) / 2;
    if (quantity_of(match, with_width(match, design, middle)) <= target) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return least;
}

}  // namespace

std::optional<Match> read_match(const TomlReader& root) {
  if (!root.has("match")) return std::nullopt;
  const TomlReader reader = root.table("match", {"quantity", "by", "to", "within"});
  Match match;
  read_name(reader, "quantity", kQuantities, match.quantity);
  if (match.quantity == MatchQuantity::cache_bytes) match.by = MatchBy::window;  // what the cache depends on
  read_name(reader, "by", kWidths, match.by);
  if (match.quantity == MatchQuantity::cache_bytes && match.by == MatchBy::ffn) {
    reader.fail(reader.place_of("by"), "match.by must be window for cache_bytes: feed-forward blocks keep no cache");
  }
  if (match.quantity == MatchQuantity::parameters && match.by == MatchBy::window) {
    reader.fail(reader.place_of("by"), "match.by must be ffn for parameters: windows have none");
  }
  reader.optional("to", match.to);
  reader.optional("within", match.within);
  if (!(match.within > 0 && match.within < 1)) {
    reader.fail(reader.place_of("within"), "match.within must be between 0 and 1, for example 0.01");
  }
  return match;
}

double quantity_of(const Match& match, const Design& design) {
  const model::Cost cost = model::cost_of(design);
  switch (match.quantity) {
    case MatchQuantity::parameters: return static_cast<double>(cost.parameters_non_embedding);
    case MatchQuantity::flops_per_token: return cost.flops_train;
    case MatchQuantity::cache_bytes: return static_cast<double>(cost.cache_bytes);
  }
  return 0;
}

Design matched(const Match& match, const Design& design, double target) {
  const auto off = [&](const Design& d) { return difference(quantity_of(match, d), target); };
  if (off(design) < match.within) return design;
  Design nearest = design;
  // A window as long as the context would be another mixer, and a feed-forward block where there is none another model.
  const bool free = match.by == MatchBy::ffn ? design.shape.ffn > 0 : has_windows(design);
  if (free) {
    const std::int64_t most =
        match.by == MatchBy::ffn ? kMostWidth : std::max<std::int64_t>(1, design.shape.context - 1);
    const std::int64_t exact = widest_below(match, design, target, 1, most);
    for (std::int64_t multiple = 64; multiple >= 1; multiple /= 2) {
      const std::int64_t below = exact / multiple * multiple;
      for (const std::int64_t width : {below, below + multiple}) {
        if (width < 1 || width > most) continue;
        const Design changed = with_width(match, design, width);
        if (off(changed) < off(nearest)) nearest = changed;
      }
      if (off(nearest) < match.within) return nearest;
    }
  }
  throw model::InputError(
      fmt::format("match: no {} brings its {} to {:.6g} within {:g}; the nearest is {:.6g}, {:.2f}% off{}",
                  kWidths[static_cast<std::size_t>(match.by)], kQuantities[static_cast<std::size_t>(match.quantity)],
                  target, match.within, quantity_of(match, nearest), 100 * off(nearest),
                  free                       ? ""
                  : match.by == MatchBy::ffn ? " (it has no feed-forward block)"
                                             : " (it has no sliding window)"));
}

}  // namespace hylas::search
