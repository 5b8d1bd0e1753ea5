// parse_space(): candidates become designs, designs and recipes become trials.
#include "search/space/space.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <unordered_set>

#include "model/design/cost.hpp"
#include "search/space/candidates.hpp"
#include "search/space/space_file.hpp"
#include "search/space/toml_reader.hpp"

namespace hylas::search {
namespace {

using model::Design;
using model::Recipe;

constexpr std::int64_t kMostTrials = 100'000;

bool passes(const Filter& filter, const Design& design) {
  const model::Cost cost = model::cost_of(design);
  return filter.parameters.holds(static_cast<double>(cost.parameters_non_embedding)) &&
         filter.flops_per_token.holds(cost.flops_train) &&
         filter.cache_bytes.holds(static_cast<double>(cost.cache_bytes)) &&
         filter.full_fraction.holds(model::covariates_of(design).full_fraction);
}

// What [match] brings all designs of a shape to: the quantity of its layout `to`, or of the first design.
double target_of(const SpaceFile& file, const TomlReader& root, const Design& first) {
  if (file.match->to.empty()) return quantity_of(*file.match, first);
  return root.placed_at(root.place_of("match.to"), "match.to: ", [&] {
    return quantity_of(*file.match, Design::make(file.match->to, first.shape));
  });
}

void enumerate_designs(const SpaceFile& file, const TomlReader& root, Space& space) {
  std::unordered_set<std::string> seen;
  std::int64_t layers = 0;
  for (const model::Shape& shape : file.shapes) {
    std::optional<double> target;  // of [match], in this shape
    for_each_candidate(file, root, [&](const Candidate& candidate) {
      Design design =
          root.placed_at(candidate.where, fmt::format("{} as {}: ", candidate.source, in_quotes(candidate.layout)),
                         [&] { return Design::make(candidate.layout, shape); });
      layers += design.depth();
      if (layers > kMostLayers) {
        root.fail(candidate.where,
                  fmt::format("the study is larger than {} layers over all candidates; use fewer", kMostLayers));
      }
      if (file.match) {
        if (!target) target = target_of(file, root, design);
        design = root.placed_at(candidate.where, fmt::format("{}: ", design.layout_text()),
                                [&] { return matched(*file.match, design, *target); });
      }
      ++space.counts.candidates;
      if (!seen.insert(design.id()).second) {
        ++space.counts.duplicates;
      } else if (!passes(file.filter, design)) {
        ++space.counts.filtered;
      } else {
        if (file.match) space.differences.push_back(quantity_of(*file.match, design) / *target - 1);
        space.designs.push_back(std::move(design));
      }
    });
  }
  if (space.designs.empty()) {
    root.fail(root.place_of("filter"),
              fmt::format("no design is left: [filter] drops all {} of them", space.counts.filtered));
  }
}

// Learning rates as written, each with every weight decay.
std::vector<std::pair<double, double>> rates_of(const RecipeAxes& axes) {
  std::vector<std::pair<double, double>> rates;
  for (const double learning_rate : axes.learning_rates) {
    for (const double weight_decay : axes.weight_decays) rates.emplace_back(learning_rate, weight_decay);
  }
  return rates;
}

std::vector<Recipe> enumerate_recipes(const SpaceFile& file) {
  std::vector<Recipe> recipes;
  Recipe recipe = file.recipe;
  for (const auto& [learning_rate, weight_decay] : rates_of(file.recipe_axes)) {
    recipe.learning_rate = learning_rate;
    recipe.weight_decay = weight_decay;
    for (const std::int64_t seed : file.recipe_axes.seeds) {
      recipe.seed = seed;
      const std::vector<std::int64_t> own = {seed};
      for (const std::int64_t data_seed : file.recipe_axes.data_seeds.empty() ? own : file.recipe_axes.data_seeds) {
        recipe.data_seed = data_seed;
        recipes.push_back(recipe);
      }
    }
  }
  return recipes;
}

// What a recipe becomes for one design: tokens are rounded up to whole steps.
Recipe fitted(Recipe recipe, std::int64_t tokens, const Design& design) {
  if (tokens > 0) {
    const std::int64_t step = recipe.batch * design.shape.context;
    recipe.steps = tokens / step + (tokens % step == 0 ? 0 : 1);
  }
  return recipe;
}

std::int64_t count_recipes(const SpaceFile& file) {
  const RecipeAxes& axes = file.recipe_axes;
  return std::ssize(axes.learning_rates) * std::ssize(axes.weight_decays) * std::ssize(axes.seeds) *
         std::max<std::int64_t>(1, std::ssize(axes.data_seeds));
}

// All values of recipes with all shapes, so that a bad one is found before anything is trained.
void check_recipes(const SpaceFile& file, const TomlReader& root, const std::vector<Recipe>& recipes) {
  if (file.recipe.batch < 1 || file.recipe.batch > 1 << 20) {  // before tokens are divided by it
    root.fail(root.place_of("recipe.batch"), "recipe.batch must be from 1 to 2^20");
  }
  const auto check = [&](const Recipe& recipe, const model::Shape& shape) {
    root.placed(
        "",
        [&] {
          model::validate(fitted(recipe, file.tokens, {{}, shape}), shape);
        },
        "shape");
  };
  for (const model::Shape& shape : file.shapes) check(recipes[0], shape);
  // Recipes differ in these and in seeds, which were checked when they were read.
  for (const auto& [learning_rate, weight_decay] : rates_of(file.recipe_axes)) {
    Recipe recipe = recipes[0];
    recipe.learning_rate = learning_rate;
    recipe.weight_decay = weight_decay;
    check(recipe, file.shapes[0]);
  }
}

void enumerate_trials(const TomlReader& root, Space& space) {
  const std::int64_t designs = std::ssize(space.designs), recipes = std::ssize(space.recipes);
  const std::int64_t total = designs * recipes;
  const bool random = space.strategy.kind == StrategyKind::random;
  if (total > kMostTrials) {
    root.fail(root.place_of("recipe"),
              fmt::format("{} designs x {} recipes are {} trials; the limit is {}: use fewer seeds, "
                          "learning rates or designs",
                          designs, recipes, total, kMostTrials));
  }
  if (random && space.strategy.trials > total) {
    root.fail(root.place_of("strategy.trials"),
              fmt::format("strategy.trials is {}, but {} designs x {} recipes are {} trials", space.strategy.trials,
                          designs, recipes, total));
  }
  std::int64_t layers = 0;
  for (const std::size_t index : choose_trials(space.strategy, static_cast<std::size_t>(total))) {
    const Design& design = space.designs[index / static_cast<std::size_t>(recipes)];
    layers += design.depth();
    if (layers > kMostLayers) {
      root.fail(root.place_of("recipe"),
                fmt::format("the study is larger than {} layers over all trials; use fewer", kMostLayers));
    }
    const Recipe& recipe = space.recipes[index % static_cast<std::size_t>(recipes)];
    space.trials.push_back({design, fitted(recipe, space.tokens, design)});
  }
}

}  // namespace

std::vector<Recipe> Space::recipes_of(const Design& design) const {
  std::vector<Recipe> result;
  for (const Recipe& recipe : recipes) result.push_back(fitted(recipe, tokens, design));
  return result;
}

std::string Space::canonical_json() const {
  using nlohmann::json;
  json root = {{"study", study}, {"tokens", tokens}, {"designs", json::array()}, {"recipes", json::array()}};
  for (const Design& design : designs) root["designs"].push_back(design.canonical());
  for (const Recipe& recipe : recipes) root["recipes"].push_back(json::parse(recipe.canonical_json()));
  if (!variants.empty()) {
    root["variants"] = json::array();
    for (const Recipe& recipe : variants) root["variants"].push_back(json::parse(recipe.canonical_json()));
  }
  root["strategy"] = {{"kind", strategy.kind == StrategyKind::grid ? "grid" : "random"}};
  if (tuning) root["tuning"] = json::parse(tuning->canonical_json());
  if (registration) root["findings"] = to_json(*registration);
  if (strategy.kind == StrategyKind::random) {
    root["strategy"]["trials"] = strategy.trials;
    root["strategy"]["seed"] = strategy.seed;
  }
  return root.dump();
}

namespace {

Space space_of(const SpaceFile& file, const TomlReader& root) {
  Space space;
  space.study = file.study;
  space.strategy = file.strategy;
  space.tokens = file.tokens;
  space.registration = file.registration;
  if (count_recipes(file) > kMostTrials) {
    root.fail(root.place_of("recipe"), fmt::format("over {} recipes; use fewer seeds or learning rates", kMostTrials));
  }
  space.recipes = enumerate_recipes(file);
  check_recipes(file, root, space.recipes);
  enumerate_designs(file, root, space);
  for (Recipe& recipe : space.recipes) recipe = fitted(recipe, file.tokens, space.designs[0]);
  enumerate_trials(root, space);
  return space;
}

// Designs of both, each once; trials one after the other.
void append(Space& space, Space&& more, const TomlReader& root) {
  std::unordered_set<std::string> seen;
  for (const Design& design : space.designs) seen.insert(design.id());
  for (std::size_t i = 0; i < more.designs.size(); ++i) {
    if (!seen.insert(more.designs[i].id()).second) continue;
    space.designs.push_back(std::move(more.designs[i]));
    if (!more.differences.empty()) space.differences.push_back(more.differences[i]);
  }
  space.counts.candidates += more.counts.candidates;
  space.counts.duplicates += more.counts.duplicates;
  space.counts.filtered += more.counts.filtered;
  space.trials.insert(space.trials.end(), std::make_move_iterator(more.trials.begin()),
                      std::make_move_iterator(more.trials.end()));
  if (std::ssize(space.trials) > kMostTrials) {
    root.fail(root.place_of("variant"), fmt::format("the variants make over {} trials", kMostTrials));
  }
}

}  // namespace

namespace {

// The space of [tuning]: the study's, which was checked, with the rates, seeds, steps and stop_at given there.
Space tuning_of(const SpaceFile& study, const TomlReader& root) {
  SpaceFile file = study;
  file.study += "-tuning";
  file.registration.reset();
  file.recipe_axes = study.tuning->axes;
  if (study.tuning->stop_at) file.recipe.capability.stop_at = *study.tuning->stop_at;
  if (study.tuning->steps) {
    file.recipe.steps = *study.tuning->steps;
    for (const model::Shape& shape : file.shapes) {
      root.placed_at(root.place_of("tuning.steps"), "tuning.steps: ", [&] { model::validate(file.recipe, shape); });
    }
  }
  return space_of(file, root);
}

}  // namespace

Space parse_space(std::string_view toml_text, const std::string& file_name,
                  const std::optional<model::TaskSpec>& task) {
  const toml::table table = parse_toml(toml_text, file_name);
  const TomlReader root(table, "", file_name, root_keys());
  const std::vector<SpaceFile> files = read_space_files(root, task);
  Space space = space_of(files[0], root);
  if (files[0].tuning) space.tuning = std::make_shared<const Space>(tuning_of(files[0], root));
  if (files.size() > 1) space.variants.push_back(space.recipes[0]);
  for (std::size_t i = 1; i < files.size(); ++i) {
    Space more = space_of(files[i], root);
    space.variants.push_back(more.recipes[0]);
    append(space, std::move(more), root);
  }
  std::unordered_set<std::string> keys;
  for (const model::TrialSpec& trial : space.trials) {
    if (!space.variants.empty() && !keys.insert(model::trial_key(trial.design, trial.recipe)).second) {
      root.fail(root.place_of("variant"), "two variants make the same trial: " + trial.design.layout_text());
    }
  }
  return space;
}

Space load_space(const std::filesystem::path& path, const std::optional<model::TaskSpec>& task) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw model::InputError(path.string() + " is a folder, not a space file");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    throw model::InputError(fmt::format("cannot read the space file {}: {}; `hylas init` prints one to start from",
                                        path.string(), std::generic_category().message(errno)));
  }
  std::ostringstream text;
  text << stream.rdbuf();
  if (stream.bad()) throw model::InputError("cannot read the space file " + path.string());
  return parse_space(text.str(), path.string(), task);
}

}  // namespace hylas::search
