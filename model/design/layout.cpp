// The canonical form of a layout, and a layer as text. The parser is layout_parser.cpp.
#include "model/design/layout.hpp"

#include <fmt/format.h>

#include <cassert>
#include <cstddef>

namespace hylas::model {
namespace {

// The least divisor p of n with layers[i] == layers[i mod p] for all i.
std::size_t least_period(const std::vector<Layer>& layers) {
  const std::size_t n = layers.size();
  for (std::size_t p = 1; p < n; ++p) {
    if (n % p != 0) continue;
    bool repeats = true;
    for (std::size_t i = p; repeats && i < n; ++i) repeats = layers[i] == layers[i - p];
    if (repeats) return p;
  }
  return n;
}

// The maximal runs of layers[0, count) as `layer*k`, separated by one blank.
std::string runs_text(const std::vector<Layer>& layers, std::size_t count) {
  std::string text;
  for (std::size_t begin = 0; begin < count;) {
    std::size_t end = begin + 1;
    while (end < count && layers[end] == layers[begin]) ++end;
    if (begin > 0) text += ' ';
    text += to_string(layers[begin]);
    if (end - begin > 1) text += fmt::format("*{}", end - begin);
    begin = end;
  }
  return text;
}

}  // namespace

std::string_view name_of(Mixer mixer) {
  switch (mixer) {
    case Mixer::full: return "full";
    case Mixer::swa: return "swa";
    case Mixer::gdn: return "gdn";
    case Mixer::mamba2: return "mamba2";
    case Mixer::lightning: return "lightning";
  }
  assert(false && "no such mixer");
  return "";
}

Layout normalise(Layout layout, std::int64_t context) {
  for (Layer& layer : layout.layers) {
    if (layer.mixer == Mixer::swa && layer.window >= context) {
      layer.mixer = Mixer::full;
      layer.window = 0;
    }
    if (!is_attention(layer.mixer)) layer.rope = false;
  }
  return layout;
}

std::string to_string(const Layer& layer) {
  std::string text(name_of(layer.mixer));
  if (layer.mixer == Mixer::swa) text += fmt::format(":{}", layer.window);
  if (is_attention(layer.mixer) && !layer.rope) text += "/nope";
  if (layer.sink) text += "/sink";
  return text;
}

std::string canonical_text(const Layout& layout) {
  const std::size_t n = layout.layers.size();
  if (n == 0) return "";
  const std::size_t p = least_period(layout.layers);
  const std::string runs = runs_text(layout.layers, p == 1 ? n : p);
  return p == 1 || p == n ? runs : fmt::format("({})*{}", runs, n / p);
}

}  // namespace hylas::model
