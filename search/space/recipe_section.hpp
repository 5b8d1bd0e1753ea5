// How runs are trained, as a space file says it: its sections [recipe] and [tuning].
#pragma once

#include <optional>

#include "search/space/space_file.hpp"

namespace hylas::search {

// Fills file.recipe, recipe_axes and tokens.
void read_recipe(const TomlReader& root, SpaceFile& file);
// [tuning]. After read_recipe(), and after the capability was read.
[[nodiscard]] std::optional<Tuning> read_tuning(const TomlReader& root, const SpaceFile& file);

}  // namespace hylas::search
