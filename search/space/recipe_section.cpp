// See recipe_section.hpp.
#include "search/space/recipe_section.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace hylas::search {
namespace {

constexpr std::int64_t kMostSeeds = 10'000;
constexpr std::size_t kMostLearningRates = 1000;

template <class T>
void refuse_repeats(const TomlReader& reader, const char* key, const std::vector<T>& values) {
  std::set<T> seen;
  for (const T& value : values) {  // NaN, unequal to itself, is refused with the recipe
    if (value == value && !seen.insert(value).second)
      reader.fail(reader.place_of(key), fmt::format("recipe.{} holds {} twice", key, value));
  }
}

// seeds = 3 means 1, 2, 3; seeds = [7, 11] means those.
std::vector<std::int64_t> read_seeds(const TomlReader& reader, const char* key) {
  std::vector<std::int64_t> seeds;
  if (reader.is_list(key)) {
    reader.optional(key, seeds);
  } else {
    std::int64_t count = 1;
    reader.optional(key, count);
    if (count < 1 || count > kMostSeeds) {
      reader.fail(reader.place_of(key),
                  fmt::format("recipe.{} must be a number of seeds from 1 to {}, or a list of them", key, kMostSeeds));
    }
    for (std::int64_t seed = 1; seed <= count; ++seed) seeds.push_back(seed);
  }
  refuse_repeats(reader, key, seeds);
  if (*std::min_element(seeds.begin(), seeds.end()) < 0) {
    reader.fail(reader.place_of(key), fmt::format("recipe.{} must be 0 or more", key));
  }
  return seeds;
}

// steps = 2000, or tokens = 2_000_000 (also 2e6).
void read_length(const TomlReader& reader, SpaceFile& file) {
  if (reader.has("steps") && reader.has("tokens")) {
    reader.fail(reader.place_of("tokens"), "recipe has both steps and tokens; keep one");
  }
  if (!reader.has("tokens")) {
    reader.required("steps", file.recipe.steps, "steps = 2000");
    return;
  }
  double tokens = 0;
  reader.optional("tokens", tokens);
  if (!(tokens >= 1 && tokens <= 1e15) || tokens != std::floor(tokens)) {
    reader.fail(reader.place_of("tokens"), "recipe.tokens must be a whole number from 1 to 1e15");
  }
  file.tokens = static_cast<std::int64_t>(tokens);
}

void read_schedule(const TomlReader& recipe_reader, model::Schedule& schedule) {
  const TomlReader reader = recipe_reader.table("schedule", {"kind", "warmup_steps", "decay_fraction", "final_ratio"});
  const std::vector<std::string> kinds = {"constant", "cosine", "wsd"};  // in the order of ScheduleKind
  std::string kind = kinds[0];
  reader.optional("kind", kind);
  const auto found = std::find(kinds.begin(), kinds.end(), kind);
  if (found == kinds.end()) {
    reader.fail(reader.place_of("kind"), fmt::format("recipe.schedule.kind must be constant, cosine or wsd, not {}{}",
                                                     in_quotes(kind), did_you_mean(kind, kinds)));
  }
  schedule.kind = static_cast<model::ScheduleKind>(found - kinds.begin());
  reader.optional("warmup_steps", schedule.warmup_steps);
  reader.optional("decay_fraction", schedule.decay_fraction);
  reader.optional("final_ratio", schedule.final_ratio);
}

// steps and stop_at of [tuning].
void read_tuning_length(const TomlReader& reader, const SpaceFile& file, Tuning& tuning) {
  if (reader.has("steps")) {
    std::int64_t& steps = tuning.steps.emplace();
    reader.optional("steps", steps);
    if (file.tokens > 0) {
      reader.fail(reader.place_of("steps"),
                  "tuning.steps beside recipe.tokens: give recipe.steps, or leave tuning.steps out");
    }
    if (steps < 1) reader.fail(reader.place_of("steps"), "tuning.steps must be a whole number of 1 or more");
    if (steps <= file.recipe.schedule.warmup_steps) {
      reader.fail(reader.place_of("steps"),
                  fmt::format("tuning.steps is {}: the runs would end within the {} steps of warm-up "
                              "(recipe.schedule.warmup_steps), before they reach the learning rate they are to judge",
                              steps, file.recipe.schedule.warmup_steps));
    }
  }
  if (reader.has("stop_at")) {
    double& stop_at = tuning.stop_at.emplace();
    reader.optional("stop_at", stop_at);
    if (!(stop_at >= file.recipe.capability.threshold)) {
      reader.fail(reader.place_of("stop_at"),
                  fmt::format("tuning.stop_at must be at least capability.threshold, {} (over 1: never stops)",
                              file.recipe.capability.threshold));
    }
  }
}

}  // namespace

void read_recipe(const TomlReader& root, SpaceFile& file) {
  const TomlReader reader = root.table(
      "recipe", {"steps", "tokens", "batch", "learning_rate", "weight_decay", "clip", "beta1", "beta2", "eps",
                 "embed_std", "seeds", "data_seeds", "precision", "schedule", "eval", "window_growth"});
  model::Recipe& r = file.recipe;
  read_length(reader, file);
  reader.optional("batch", r.batch);
  if (root.has("tuning") && reader.has("learning_rate")) {
    reader.fail(reader.place_of("learning_rate"),
                "recipe.learning_rate beside [tuning], which chooses it for each design: leave it out");
  }
  if (reader.is_list("learning_rate")) {
    reader.optional("learning_rate", file.recipe_axes.learning_rates);
  } else {
    reader.optional("learning_rate", r.learning_rate);
    file.recipe_axes.learning_rates = {r.learning_rate};
  }
  refuse_repeats(reader, "learning_rate", file.recipe_axes.learning_rates);
  if (file.recipe_axes.learning_rates.size() > kMostLearningRates) {
    reader.fail(reader.place_of("learning_rate"),
                fmt::format("recipe.learning_rate holds over {}", kMostLearningRates));
  }
  if (reader.is_list("weight_decay")) {
    reader.optional("weight_decay", file.recipe_axes.weight_decays);
    r.weight_decay = file.recipe_axes.weight_decays[0];
  } else {
    reader.optional("weight_decay", r.weight_decay);
    file.recipe_axes.weight_decays = {r.weight_decay};
  }
  refuse_repeats(reader, "weight_decay", file.recipe_axes.weight_decays);
  if (file.recipe_axes.weight_decays.size() > kMostLearningRates) {
    reader.fail(reader.place_of("weight_decay"), fmt::format("recipe.weight_decay holds over {}", kMostLearningRates));
  }
  reader.optional("clip", r.clip);
  reader.optional("beta1", r.beta1);
  reader.optional("beta2", r.beta2);
  reader.optional("eps", r.eps);
  reader.optional("embed_std", r.embed_std);
  reader.optional("precision", r.precision);
  file.recipe_axes.seeds = read_seeds(reader, "seeds");
  if (reader.has("data_seeds")) file.recipe_axes.data_seeds = read_seeds(reader, "data_seeds");
  read_schedule(reader, r.schedule);
  const TomlReader eval = reader.table("eval", {"sequences", "growth", "min_steps", "lengths", "probe_sequences"});
  eval.optional("sequences", r.eval.sequences);
  eval.optional("growth", r.eval.growth);
  eval.optional("min_steps", r.eval.min_steps);
  eval.optional("lengths", r.eval.lengths);
  eval.optional("probe_sequences", r.eval.probe_sequences);
  const TomlReader growth = reader.table("window_growth", {"start", "steps"});
  growth.optional("start", r.window_growth.start);
  growth.optional("steps", r.window_growth.steps);
}

std::optional<Tuning> read_tuning(const TomlReader& root, const SpaceFile& file) {
  if (!root.has("tuning")) return std::nullopt;
  const TomlReader reader = root.table("tuning", {"learning_rates", "seeds", "steps", "stop_at"});
  for (const char* other : {"variant", "strategy"}) {
    if (root.has(other)) root.fail(root.place_of(other), fmt::format("[tuning] does not go with [{}]", other));
  }
  if (file.recipe_axes.weight_decays.size() > 1) {
    root.fail(root.place_of("recipe.weight_decay"), "[tuning] takes one weight decay");
  }
  Tuning tuning{.axes = file.recipe_axes, .steps = {}, .stop_at = {}};
  RecipeAxes& axes = tuning.axes;
  reader.required("learning_rates", axes.learning_rates, "learning_rates = [1e-3, 2e-3, 4e-3]");
  refuse_repeats(reader, "learning_rates", axes.learning_rates);
  if (axes.learning_rates.size() < 2 || axes.learning_rates.size() > kMostLearningRates) {
    reader.fail(reader.place_of("learning_rates"),
                fmt::format("tuning.learning_rates must hold 2 to {} rates", kMostLearningRates));
  }
  axes.seeds.clear();
  reader.required("seeds", axes.seeds, "seeds = [101, 102]");
  refuse_repeats(reader, "seeds", axes.seeds);
  for (const std::int64_t seed : axes.seeds) {
    if (seed < 0 || std::ssize(axes.seeds) > kMostSeeds) {
      reader.fail(reader.place_of("seeds"), fmt::format("tuning.seeds must be 1 to {} seeds of 0 or more", kMostSeeds));
    }
    if (std::find(file.recipe_axes.seeds.begin(), file.recipe_axes.seeds.end(), seed) != file.recipe_axes.seeds.end()) {
      reader.fail(reader.place_of("seeds"),
                  fmt::format("tuning.seeds and recipe.seeds share {}: what tunes must not judge", seed));
    }
  }
  if (axes.seeds.empty()) reader.fail(reader.place_of("seeds"), "tuning.seeds must not be empty");
  read_tuning_length(reader, file, tuning);
  return tuning;
}

}  // namespace hylas::search
