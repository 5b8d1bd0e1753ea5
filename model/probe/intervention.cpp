// Interventions on a trained model (see intervention.hpp).
#include "model/probe/intervention.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "model/data/draws.hpp"

namespace hylas::model {

std::int64_t attention_layers(const Layout& layout) {
  return std::count_if(layout.layers.begin(), layout.layers.end(),
                       [](const Layer& l) { return is_attention(l.mixer); });
}

Intervention intact(const Design& design) {
  return {.layout = design.layout,
          .first_keys = std::vector<std::int32_t>(design.layout.layers.size(), 0),
          .head_on = std::vector<std::int32_t>(
              static_cast<std::size_t>(attention_layers(design.layout) * design.shape.heads), 1)};
}

Intervention cut_full_layers(const Design& design, std::int32_t window, std::int32_t first_keys) {
  Intervention cut = intact(design);
  for (std::size_t i = 0; i < cut.layout.layers.size(); ++i) {
    Layer& layer = cut.layout.layers[i];
    if (layer.mixer != Mixer::full) continue;
    layer.mixer = Mixer::swa;
    layer.window = window;
    cut.first_keys[i] = first_keys;
  }
  return cut;
}

Intervention cut_window_layers(const Design& design, std::int32_t window) {
  Intervention cut = intact(design);
  for (Layer& layer : cut.layout.layers) {
    if (layer.mixer == Mixer::swa) layer.window = std::min(layer.window, window);
  }
  return cut;
}

Intervention without_heads(const Design& design, std::span<const int> heads) {
  Intervention off = intact(design);
  for (const int head : heads) {
    assert(head >= 0 && head < std::ssize(off.head_on));
    off.head_on[static_cast<std::size_t>(head)] = 0;
  }
  return off;
}

std::vector<int> top_heads(std::span<const double> scores, std::int64_t count) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](int head) {
    const double score = scores[static_cast<std::size_t>(head)];
    return std::isnan(score) ? -INFINITY : score;
  };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return value(a) > value(b); });
  order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
  return order;
}

std::vector<std::vector<int>> random_heads(std::int64_t heads, std::int64_t count, std::int64_t draws,
                                           std::uint64_t seed, std::span<const int> excluded) {
  std::vector<int> pool;
  for (int head = 0; head < heads; ++head) {
    if (std::find(excluded.begin(), excluded.end(), head) == excluded.end()) pool.push_back(head);
  }
  std::vector<std::vector<int>> sets;
  if (std::ssize(pool) < count) return sets;
  for (std::int64_t i = 0; i < draws; ++i) {
    Draws random(task_tag("ablate"), seed, static_cast<std::uint64_t>(i), false);
    std::vector<int> left = pool;
    for (std::int64_t k = 0; k < count; ++k) {  // Fisher-Yates, as far as needed
      const auto rest = static_cast<std::uint32_t>(std::ssize(left) - k);
      std::swap(left[static_cast<std::size_t>(k)], left[static_cast<std::size_t>(k + random.below(rest))]);
    }
    left.resize(static_cast<std::size_t>(count));
    std::sort(left.begin(), left.end());
    sets.push_back(std::move(left));
  }
  return sets;
}

}  // namespace hylas::model
