// read_space_file(): one function a section of the file.
#include "search/space/space_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "model/data/task.hpp"
#include "search/space/recipe_section.hpp"

namespace hylas::search {
namespace {

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
  return {"study",  "shape",  "space",      "axes",     "match",   "filter",  "task",
          "recipe", "tuning", "capability", "strategy", "variant", "findings"};
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
  file.recipe.capability = read_capability(root, file.recipe.task, file.shapes.front());
  file.tuning = read_tuning(root, file);
  if (variant.batch) file.recipe.batch = *variant.batch;
  if (variant.steps) file.recipe.steps = *variant.steps, file.tokens = 0;
  file.strategy = read_strategy(root);
  file.registration = read_registration(root);
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
