// Which windows an update sees (see window_growth.hpp).
#include "model/design/window_growth.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace hylas::model {

void validate(const WindowGrowth& growth, std::int64_t recipe_steps) {
  if (!growth.on()) return;
  if (growth.start < 1) {
    throw InputError(fmt::format(
        "recipe.window_growth.start must be 1 or more, not {}; leave the section out for windows that do not grow",
        growth.start));
  }
  if (growth.steps < 1 || growth.steps >= recipe_steps) {
    throw InputError(fmt::format(
        "recipe.window_growth.steps must be 1 or more and under the recipe's steps ({}), not {}; leave the section out "
        "for windows that do not grow",
        recipe_steps, growth.steps));
  }
}

Layout layout_at(Layout layout, const WindowGrowth& growth, std::int64_t update) {
  if (!growth.on() || update > growth.steps) return layout;
  for (Layer& layer : layout.layers) {
    if (layer.mixer != Mixer::swa) continue;
    layer.window = static_cast<std::int32_t>(std::min<std::int64_t>(layer.window, growth.start));
  }
  return layout;
}

std::int64_t same_windows_until(const WindowGrowth& growth, std::int64_t step, std::int64_t end) {
  return step < growth.steps ? std::min(end, growth.steps) : end;
}

}  // namespace hylas::model
