// read_space_file(): one function a section of the file.
#include "search/space/space_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "model/data/task.hpp"

namespace hylas::search {
namespace {

constexpr std::int64_t kMostSeeds = 10'000;
constexpr std::size_t kMostLearningRates = 1000;
constexpr std::size_t kMostShapes = 1000;

using Given = std::map<std::string, model::TaskValue>;

// What one [[variant]] changes.
struct Variant {
  std::optional<TomlReader> reader;  // absent: the file as it is
  std::optional<std::int64_t> context, batch, steps;
};

const model::TaskType& task_type_of(const TomlReader& reader, const std::string& name) {
  const model::TaskType* type = nullptr;
  reader.placed_at(reader.place_of("name"), "task.name: ", [&] { type = &model::task_type(name); });
  return *type;
}

// The parameters of a [task] table, or of a variant's.
void read_parameters(const TomlReader& parent, const model::TaskType& type, Given& given) {
  std::vector<std::string> known = {"name"};
  for (const model::TaskParameter& parameter : type.parameters) known.emplace_back(parameter.name);
  const TomlReader reader = parent.table("task", known);
  for (const model::TaskParameter& parameter : type.parameters) {
    if (!reader.has(parameter.name)) continue;
    model::TaskValue value = parameter.default_value;
    std::visit([&](auto& v) { reader.optional(parameter.name, v); }, value);
    given[parameter.name] = value;
  }
}

// [task] name = "..." and the task's own parameters; a variant's come on top.
model::TaskSpec read_task(const TomlReader& root, const Variant& variant) {
  const TomlReader open = root.open_table("task");
  std::string name = "recall";
  open.optional("name", name);
  Given given;
  if (!variant.reader || !variant.reader->open_table("task").has("name")) {
    read_parameters(root, task_type_of(open, name), given);
    if (variant.reader) read_parameters(*variant.reader, task_type_of(open, name), given);
  } else {  // another task: nothing of [task] holds
    const TomlReader own = variant.reader->open_table("task");
    own.optional("name", name);
    read_parameters(*variant.reader, task_type_of(own, name), given);
  }
  const TomlReader& where = variant.reader ? *variant.reader : root;
  return where.placed("", [&] { return model::completed(model::task_spec(name, given)); });
}

model::Shape read_shape(const TomlReader& reader, const model::TaskSpec& task, const Variant& variant) {
  model::Shape shape;
  reader.required("d_model", shape.d_model, "d_model = 64");
  reader.required("heads", shape.heads, "heads = 2");
  reader.required("ffn", shape.ffn, "ffn = 192");
  if (variant.context) {
    shape.context = *variant.context;
  } else {
    reader.required("context", shape.context, "context = 64");
  }
  shape.kv_heads = shape.heads;
  reader.optional("kv_heads", shape.kv_heads);
  if (!reader.has("head_dim") && shape.heads > 0 && shape.d_model % shape.heads != 0) {
    reader.fail(reader.place_of("heads"),
                fmt::format("heads must divide d_model ({} / {}), or head_dim be given", shape.d_model, shape.heads));
  }
  if (shape.heads > 0) shape.head_dim = shape.d_model / shape.heads;
  reader.optional("head_dim", shape.head_dim);
  if (!reader.has("vocab")) {
    // What the task cannot make at this context is refused here, naming its parameter.
    shape.vocab = reader.placed("", [&] { return model::make_task(task, shape.context)->vocab(); });
  }
  reader.optional("vocab", shape.vocab);
  reader.optional("tied", shape.tied);
  reader.optional("rope_theta", shape.rope_theta);
  reader.placed("shape: ", [&] { model::validate(shape); });
  return shape;
}

std::vector<model::Shape> read_shapes(const TomlReader& root, const model::TaskSpec& task, const Variant& variant) {
  std::vector<model::Shape> shapes;
  for (const TomlReader& reader : root.tables(
           "shape", {"d_model", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context", "tied", "rope_theta"})) {
    shapes.push_back(read_shape(reader, task, variant));
  }
  if (shapes.empty()) root.fail({}, "[shape] is missing: the size of the designs (d_model, heads, ffn, context)");
  if (shapes.size() > kMostShapes) root.fail(root.place_of("shape"), fmt::format("over {} shapes", kMostShapes));
  return shapes;
}

void read_layouts(const TomlReader& root, SpaceFile& file) {
  const TomlReader reader = root.table("space", {"patterns", "arrangement"});
  reader.optional("patterns", file.patterns);
  for (const TomlReader& entry : reader.tables("arrangement", {"layers", "count", "place", "among"})) {
    Arrangement a;
    a.where = entry.place_of("");
    entry.required("layers", a.layers, "layers = 6");
    entry.required("count", a.count, "count = 2");
    entry.required("place", a.place, "place = \"full\"");
    entry.required("among", a.among, "among = \"swa:8\"");
    if (a.layers < 1 || a.layers > 1024)
      entry.fail(entry.place_of("layers"), "space.arrangement.layers must be from 1 to 1024");
    if (a.count < 0 || a.count > a.layers) {
      entry.fail(entry.place_of("count"),
                 fmt::format("space.arrangement.count must be from 0 to its {} layers", a.layers));
    }
    file.arrangements.push_back(std::move(a));
  }
  if (file.patterns.empty() && file.arrangements.empty()) {
    root.fail(reader.place_of(""), "[space] yields no layout; write for example: patterns = [\"(swa:8 full)*2\"]");
  }
}

std::vector<Axis> read_axes(const TomlReader& root) {
  std::vector<Axis> axes;
  const TomlReader reader = root.open_table("axes");  // its keys are the names of holes
  for (const PlacedText& key : reader.keys()) {
    if (!is_hole_name(key.text)) {
      reader.fail(key.place,
                  "axes: a name is letters, digits, _ and -, first a letter or _; not " + in_quotes(key.text));
    }
    Axis axis{key, {}};
    reader.optional(key.text.c_str(), axis.values);
    axes.push_back(std::move(axis));
  }
  return axes;
}

Filter read_filter(const TomlReader& root) {
  Filter filter;
  const std::vector<std::pair<const char*, Range*>> ranges = {{"parameters", &filter.parameters},
                                                              {"flops_per_token", &filter.flops_per_token},
                                                              {"cache_bytes", &filter.cache_bytes},
                                                              {"full_fraction", &filter.full_fraction}};
  std::vector<std::string> known;
  for (const auto& [name, range] : ranges) {
    known.push_back(fmt::format("min_{}", name));
    known.push_back(fmt::format("max_{}", name));
  }
  const TomlReader reader = root.table("filter", known);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const auto& [name, range] = ranges[i];
    reader.optional(known[2 * i].c_str(), range->least);
    reader.optional(known[2 * i + 1].c_str(), range->most);
    if (!(range->least <= range->most)) {
      reader.fail(reader.place_of(known[2 * i]),
                  fmt::format("filter.min_{} must be a number at most max_{}", name, name));
    }
  }
  return filter;
}

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

void read_recipe(const TomlReader& root, SpaceFile& file) {
  const TomlReader reader =
      root.table("recipe", {"steps", "tokens", "batch", "learning_rate", "weight_decay", "clip", "beta1", "beta2",
                            "eps", "embed_std", "seeds", "data_seeds", "precision", "schedule", "eval"});
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
}

// [tuning]: the recipe's axes with other learning rates and seeds.
std::optional<RecipeAxes> read_tuning(const TomlReader& root, const SpaceFile& file) {
  if (!root.has("tuning")) return std::nullopt;
  const TomlReader reader = root.table("tuning", {"learning_rates", "seeds"});
  for (const char* other : {"variant", "strategy"}) {
    if (root.has(other)) root.fail(root.place_of(other), fmt::format("[tuning] does not go with [{}]", other));
  }
  if (file.recipe_axes.weight_decays.size() > 1) {
    root.fail(root.place_of("recipe.weight_decay"), "[tuning] takes one weight decay");
  }
  RecipeAxes axes = file.recipe_axes;
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
  return axes;
}

model::Capability read_capability(const TomlReader& root, const model::TaskSpec& task, const model::Shape& shape) {
  const TomlReader reader = root.table("capability", {"metric", "threshold", "stop_at"});
  model::Capability capability;
  if (!model::make_task(task, shape.context)->metrics().distance) capability.metric = "accuracy";
  reader.optional("metric", capability.metric);
  reader.optional("threshold", capability.threshold);
  reader.optional("stop_at", capability.stop_at);
  return capability;
}

Strategy read_strategy(const TomlReader& root) {
  const TomlReader reader = root.table("strategy", {"kind", "trials", "seed"});
  std::string kind = "grid";
  reader.optional("kind", kind);
  Strategy strategy;
  if (kind == "grid") {
    for (const char* key : {"trials", "seed"}) {
      if (reader.has(key))
        reader.fail(reader.place_of(key), fmt::format("strategy.{} belongs to kind = \"random\"; grid runs all", key));
    }
    return strategy;
  }
  if (kind != "random") {
    reader.fail(reader.place_of("kind"), fmt::format("strategy.kind must be grid or random, not {}{}", in_quotes(kind),
                                                     did_you_mean(kind, {"grid", "random"})));
  }
  strategy.kind = StrategyKind::random;
  reader.required("trials", strategy.trials, "trials = 20");
  if (strategy.trials < 1) reader.fail(reader.place_of("trials"), "strategy.trials must be 1 or more");
  std::int64_t seed = 1;
  reader.optional("seed", seed);
  if (seed < 0) reader.fail(reader.place_of("seed"), "strategy.seed must be 0 or more");
  strategy.seed = static_cast<std::uint64_t>(seed);
  return strategy;
}

}  // namespace

bool is_hole_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto other = [](char c) { return (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || other(c); });
}

std::vector<std::string> root_keys() {
  return {"study", "shape",  "space",  "axes",       "match",    "filter",
          "task",  "recipe", "tuning", "capability", "strategy", "variant"};
}

namespace {

SpaceFile read_space_file(const TomlReader& root, const std::optional<model::TaskSpec>& task, const Variant& variant) {
  SpaceFile file;
  const TomlReader study = root.table("study", {"name"});
  study.required("name", file.study, "[study] name = \"my-study\"");
  if (file.study.empty()) study.fail(study.place_of("name"), "study.name must not be empty");
  file.recipe.task = task ? *task : read_task(root, variant);
  file.shapes = read_shapes(root, file.recipe.task, variant);
  read_layouts(root, file);
  file.axes = read_axes(root);
  file.match = read_match(root);
  file.filter = read_filter(root);
  read_recipe(root, file);
  file.tuning = read_tuning(root, file);
  if (variant.batch) file.recipe.batch = *variant.batch;
  if (variant.steps) file.recipe.steps = *variant.steps, file.tokens = 0;
  file.recipe.capability = read_capability(root, file.recipe.task, file.shapes.front());
  file.strategy = read_strategy(root);
  return file;
}

}  // namespace

std::vector<SpaceFile> read_space_files(const TomlReader& root, const std::optional<model::TaskSpec>& task) {
  const std::vector<TomlReader> readers = root.tables("variant", {"task", "context", "batch", "steps"});
  if (readers.empty()) return {read_space_file(root, task, {})};
  if (std::size(readers) > kMostShapes)
    root.fail(root.place_of("variant"), fmt::format("over {} variants", kMostShapes));
  std::vector<SpaceFile> files;
  for (const TomlReader& reader : readers) {
    Variant variant{.reader = reader, .context = {}, .batch = {}, .steps = {}};
    const auto whole = [&](const char* key, std::optional<std::int64_t>& value) {
      if (reader.has(key)) reader.optional(key, value.emplace());
    };
    whole("context", variant.context), whole("batch", variant.batch), whole("steps", variant.steps);
    if (task && reader.has("task"))
      reader.fail(reader.place_of("task"), "a variant cannot change the task given beside the file");
    files.push_back(read_space_file(root, task, variant));
  }
  return files;
}

}  // namespace hylas::search
