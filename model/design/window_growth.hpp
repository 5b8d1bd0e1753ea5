// WindowGrowth: sliding windows that are small at first. Part of a recipe (model/recipe.hpp).
//
//   updates 1 .. steps        every sliding-window layer of window W sees min(W, start) keys
//   updates steps + 1 ..      W, as the design says
//
// An evaluation sees the windows of the last update made, one at step 0 those of the first update; so an evaluation at
// step `steps` still sees the small ones. Full and recurrent layers never change, nor do windows as wide as the
// training context, which are full layers (canonical form). Costs, probes and exports of a design take its own windows.
// Units: keys (the query's own included), updates. Errors: validate() throws InputError naming the field as a space
// file writes it. Thread-safety: pure functions.
#pragma once

#include <cstdint>

#include "model/design/layout.hpp"

namespace hylas::model {

struct WindowGrowth {
  std::int64_t start = 0;  // keys; 0, with steps 0: the design's windows from the first update on
  std::int64_t steps = 0;  // updates
  bool operator==(const WindowGrowth&) const = default;

  [[nodiscard]] bool on() const { return start != 0 || steps != 0; }
};

// recipe_steps: the updates of the whole run.
void validate(const WindowGrowth& growth, std::int64_t recipe_steps);
// What update number `update` (from 1) trains, and what evaluations see at this step.
[[nodiscard]] Layout layout_at(Layout layout, const WindowGrowth& growth, std::int64_t update);
// The last step that runs from `step` can reach with the windows of update step + 1, at most `end`.
[[nodiscard]] std::int64_t same_windows_until(const WindowGrowth& growth, std::int64_t step, std::int64_t end);

}  // namespace hylas::model
