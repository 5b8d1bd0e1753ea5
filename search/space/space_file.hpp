// SpaceFile: what a space file says, checked for keys, types and single values, before anything is combined.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/design/shape.hpp"
#include "model/recipe.hpp"
#include "search/space/match.hpp"
#include "search/space/registration.hpp"
#include "search/space/space.hpp"
#include "search/space/toml_reader.hpp"

namespace hylas::search {

// "every way to place `count` layers `place` among `layers`, the others being `among`".
struct Arrangement {
  Place where;
  std::int64_t layers = 0, count = 0;
  PlacedText place, among;  // one layer each; may hold holes
};

struct Axis {
  PlacedText name;
  std::vector<PlacedText> values;
};

struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  [[nodiscard]] bool holds(double value) const { return value >= least && value <= most; }
};

struct Filter {
  Range parameters, flops_per_token, cache_bytes, full_fraction;
};

// The recipe's axes: every combination is one recipe.
struct RecipeAxes {
  std::vector<double> learning_rates;
  std::vector<double> weight_decays;
  std::vector<std::int64_t> seeds;
  std::vector<std::int64_t> data_seeds;  // empty: each run's own seed
};

// [tuning]: the recipe's axes with other learning rates and seeds; what is not given is as in the study.
struct Tuning {
  RecipeAxes axes;
  std::optional<std::int64_t> steps;
  std::optional<double> stop_at;  // of the capability
};

struct SpaceFile {
  std::string study;
  std::vector<model::Shape> shapes;
  std::vector<PlacedText> patterns;
  std::vector<Arrangement> arrangements;
  std::vector<Axis> axes;
  Filter filter;
  std::optional<Match> match;
  model::Recipe recipe;  // what all runs share
  RecipeAxes recipe_axes;
  std::optional<Tuning> tuning;
  std::int64_t tokens = 0;  // 0: recipe.steps holds
  Strategy strategy;
  std::optional<Registration> registration;  // [findings]
};

// Reads the whole file: one SpaceFile, or one a [[variant]]. `root` reads parse_toml()'s table with the keys of
// root_keys(). `task`, where it is given, takes the place of [task].
[[nodiscard]] std::vector<SpaceFile> read_space_files(const TomlReader& root,
                                                      const std::optional<model::TaskSpec>& task);
[[nodiscard]] std::vector<std::string> root_keys();
// Letters, digits, _ and -, first a letter or _.
[[nodiscard]] bool is_hole_name(std::string_view name);

}  // namespace hylas::search
