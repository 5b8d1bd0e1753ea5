// Space: a study as a person writes it (a TOML file), and the designs and trials it stands for.
//
// A space holds layout patterns with `{name}` holes, axes that fill the holes, arrangements ("every way to place
// `count` layers `place` among `layers`"), one or more shapes, filters, a recipe and a strategy; search/space/examples/
// shows all of it; [match] (match.hpp) gives all designs one size. Parsing trains nothing and writes nothing.
//
// [tuning] names learning rates and seeds of their own, and steps and stop_at where these are to differ too: a second
// space, the study NAME-tuning, whose runs choose each design's learning rate before the study's own are trained
// (search/study/tuned_sweep.hpp).
//
// [findings] says what the study is to decide (registration.hpp) and is part of what it is.
//
// A [[variant]] is the whole space again with other parameters of the task, another task, context, batch or steps;
// their trials follow one another. Order is deterministic: shapes as written; inside a shape patterns as written, then
// arrangements; holes count like an odometer in the order in which they first appear in the pattern, the last one
// fastest. A design that was seen before (by id, so after canonicalisation) is dropped and counted. Recipes: learning
// rates as written, then weight decays, seeds fastest. Errors: InputError with file, line, column, what was expected
// and the nearest valid name (exit code 2). Limits: 16 MB of text, 100,000 candidate designs, 100,000 trials.
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/cohort.hpp"  // TrialSpec
#include "model/design/design.hpp"
#include "model/recipe.hpp"
#include "search/space/registration.hpp"

namespace hylas::search {

enum class StrategyKind : std::uint8_t { grid, random };

struct Strategy {
  StrategyKind kind = StrategyKind::grid;
  std::int64_t trials = 0;  // random: how many to draw without replacement; grid: 0, all
  std::uint64_t seed = 1;   // random only
  bool operator==(const Strategy&) const = default;
};

struct SpaceCounts {
  std::int64_t candidates = 0;  // layouts x shapes before anything was dropped
  std::int64_t duplicates = 0;  // candidates equal to an earlier design once canonical
  std::int64_t filtered = 0;    // designs outside [filter]
};

struct Space {
  std::string study;                    // [study] name
  std::vector<model::Design> designs;   // no two with one id
  std::vector<double> differences;      // [match]: each design's quantity / the reference's - 1; empty without
  std::vector<model::Recipe> recipes;   // those of designs[0]: see recipes_of(); of the first variant
  std::vector<model::Recipe> variants;  // the first recipe of each [[variant]]; empty where there are none
  Strategy strategy;
  SpaceCounts counts;
  std::vector<model::TrialSpec> trials;  // what to run: designs x recipes, or the strategy's draw from them, in order

  std::shared_ptr<const Space> tuning;       // [tuning]: what is trained first; null without
  std::optional<Registration> registration;  // [findings]: what the study is to decide

  // A study's recipes for one design. With recipe.tokens the number of steps follows from the design's context.
  [[nodiscard]] std::vector<model::Recipe> recipes_of(const model::Design& design) const;
  // What the study is, whatever its file looks like: designs, recipes, strategy. Two files with equal texts are one
  // study.
  [[nodiscard]] std::string canonical_json() const;

  std::int64_t tokens = 0;  // recipe.tokens; 0 where the recipe gives steps
};

// `file` stands in messages as "file:line:column: ...". `task`, where it is given, takes the place of [task].
[[nodiscard]] Space parse_space(std::string_view toml_text, const std::string& file = "space",
                                const std::optional<model::TaskSpec>& task = std::nullopt);
[[nodiscard]] Space load_space(const std::filesystem::path& path,
                               const std::optional<model::TaskSpec>& task = std::nullopt);

// The strategy's choice among `total` trials as indices: all in order (grid), or `strategy.trials` distinct ones
// (random; the same on every machine: own bounded draw from std::mt19937_64, no library distribution).
[[nodiscard]] std::vector<std::size_t> choose_trials(const Strategy& strategy, std::size_t total);

}  // namespace hylas::search
