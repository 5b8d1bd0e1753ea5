// Recipe: its canonical JSON and back, its checks, and the keys of trials, cohorts and protocols.
#include "model/recipe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "model/data/task.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/eval/head_queries.hpp"

namespace hylas::model {
namespace {

using nlohmann::json;

constexpr std::int64_t kMostEvaluations = 100'000;
const std::vector<std::string> kScheduleNames = {"constant", "cosine", "wsd"};  // in the order of ScheduleKind

// Calls f(section, name, field) for every field of a recipe; section "" is the top level. The one list of fields.
template <class AnyRecipe, class F>
void for_each_field(AnyRecipe& r, const F& f) {
  f("", "task", r.task);
  f("", "steps", r.steps);
  f("", "batch", r.batch);
  f("", "learning_rate", r.learning_rate);
  f("", "weight_decay", r.weight_decay);
  f("", "clip", r.clip);
  f("", "beta1", r.beta1);
  f("", "beta2", r.beta2);
  f("", "eps", r.eps);
  f("", "embed_std", r.embed_std);
  f("schedule", "kind", r.schedule.kind);
  f("schedule", "warmup_steps", r.schedule.warmup_steps);
  f("schedule", "decay_fraction", r.schedule.decay_fraction);
  f("schedule", "final_ratio", r.schedule.final_ratio);
  f("eval", "sequences", r.eval.sequences);
  f("eval", "growth", r.eval.growth);
  f("eval", "min_steps", r.eval.min_steps);
  f("eval", "lengths", r.eval.lengths);
  f("eval", "probe_sequences", r.eval.probe_sequences);
  f("capability", "metric", r.capability.metric);
  f("capability", "threshold", r.capability.threshold);
  f("capability", "stop_at", r.capability.stop_at);
  f("window_growth", "start", r.window_growth.start);
  f("window_growth", "steps", r.window_growth.steps);
  f("", "seed", r.seed);
  f("", "data_seed", r.data_seed);
  f("", "precision", r.precision);
}

// Fields that canonical JSON leaves out at their default: so keys of recipes without them stay what they were.
bool may_be_left_out(std::string_view section, std::string_view name) {
  return section == "window_growth" || (section == "eval" && (name == "lengths" || name == "probe_sequences"));
}
bool is_off(const std::vector<std::int64_t>& v) {
  return v.empty();
}
bool is_off(std::int64_t v) {
  return v == 0;
}
template <class Any>
bool is_off(const Any& /*v*/) {
  return false;
}

json to_json(std::int64_t v) {
  return v;
}
json to_json(double v) {
  return v + 0.0;
}  // -0 becomes 0
json to_json(const std::string& v) {
  return v;
}
json to_json(const TaskSpec& v) {
  return json::parse(task_json(v));
}
json to_json(const std::vector<std::int64_t>& v) {
  return v;
}
json to_json(ScheduleKind v) {
  return kScheduleNames[static_cast<std::size_t>(v)];
}

std::string did_you_mean(const std::string& meant) {
  return meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant);
}

std::string dotted(const std::string& section, const std::string& name) {
  return section.empty() ? name : section + "." + name;
}

[[noreturn]] void wrong_type(const std::string& name, const char* expected, const json& found) {
  std::string shown = found.dump(-1, ' ', true, json::error_handler_t::replace);
  if (shown.size() > 40) shown = shown.substr(0, 40) + "...";
  throw InputError(fmt::format("recipe: {} must be {}, not {}", name, expected, shown));
}

void from_json(const std::string& name, const json& j, std::int64_t& v) {
  const bool too_large = j.is_number_unsigned() && j.get<std::uint64_t>() > std::uint64_t{INT64_MAX};
  if (!j.is_number_integer() || too_large) wrong_type(name, "a whole number", j);
  v = j.get<std::int64_t>();
}
void from_json(const std::string& name, const json& j, double& v) {
  if (!j.is_number()) wrong_type(name, "a number", j);
  v = j.get<double>();
}
void from_json(const std::string& name, const json& j, std::string& v) {
  if (!j.is_string()) wrong_type(name, "a string", j);
  v = j.get<std::string>();
}
void from_json(const std::string& name, const json& j, ScheduleKind& v) {
  const auto found = j.is_string() ? std::find(kScheduleNames.begin(), kScheduleNames.end(), j.get<std::string>())
                                   : kScheduleNames.end();
  if (found == kScheduleNames.end()) wrong_type(name, "constant, cosine or wsd", j);
  v = static_cast<ScheduleKind>(found - kScheduleNames.begin());
}

void from_json(const std::string& name, const json& j, std::vector<std::int64_t>& v) {
  if (!j.is_array()) wrong_type(name, "a list of whole numbers", j);
  v.assign(j.size(), 0);
  for (std::size_t i = 0; i < j.size(); ++i) from_json(name, j[i], v[i]);
}
void from_json(const std::string& name, const json& j, TaskSpec& v) {
  if (!j.is_object() || !j.contains("name") || !j["name"].is_string()) {
    wrong_type(name, "an object with a \"name\"", j);
  }
  std::map<std::string, TaskValue> given;
  for (const auto& [key, value] : j.items()) {
    if (key == "name") continue;
    if (value.is_string()) {
      given[key] = value.get<std::string>();
    } else if (value.is_number_integer()) {
      std::int64_t whole = 0;
      from_json(dotted(name, key), value, whole);
      given[key] = whole;
    } else if (value.is_number()) {
      given[key] = value.get<double>();
    } else {
      wrong_type(dotted(name, key), "a number or a text", value);
    }
  }
  v = task_spec(j["name"].get<std::string>(), given);
}

// Keys of `given` that a recipe does not have are errors; `known` is a complete recipe.
void refuse_unknown_keys(const json& given, const json& known, const std::string& section) {
  std::vector<std::string> names;
  for (const auto& item : known.items()) names.push_back(item.key());
  for (const auto& item : given.items()) {
    const auto match = known.find(item.key());
    if (match == known.end()) {
      const std::string meant = nearest(item.key(), names);
      throw InputError(
          fmt::format("recipe: unknown key '{}'{}", dotted(section, item.key().substr(0, 40)), did_you_mean(meant)));
    }
    if (item.key() == "task") continue;  // its keys are the task's
    if (match->is_object() && item.value().is_object()) refuse_unknown_keys(item.value(), *match, item.key());
  }
}

void check(bool holds, const char* field, const char* expected, const std::string& found) {
  if (!holds) throw InputError(fmt::format("{} must be {}, not {}", field, expected, found));
}
void check(bool holds, const char* field, const char* expected, double found) {
  check(holds && std::isfinite(found), field, expected, fmt::format("{}", found));
}
void check(bool holds, const char* field, const char* expected, std::int64_t found) {
  check(holds, field, expected, fmt::format("{}", found));
}

// Makes the task, which checks its parameters.
std::unique_ptr<Task> validate_task(const TaskSpec& spec, const Shape& shape) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  check(shape.context <= kMost, "context", "at most 2^24", shape.context);
  std::unique_ptr<Task> task = make_task(spec, shape.context);
  task->check_vocab(shape.vocab);
  return task;
}

// Sequences that repeat would count twice.
void check_sequences(const EvalPlan& plan, const Task& task, std::int64_t trained) {
  const std::int64_t most = task.evaluation_sequences(), wanted = EvalSuite::sequences_at(task, plan, trained);
  if (most > 0 && wanted > most) {
    throw InputError(fmt::format(
        "recipe.eval.sequences is {}, but the evaluation text holds {} sequences of {} tokens, not {}; lower "
        "it or the context, or raise task.validation",
        plan.sequences, most, task.context(), wanted));
  }
}

void validate_lengths(const EvalPlan& plan, const TaskSpec& spec, std::int64_t context) {
  for (std::size_t i = 0; i < plan.lengths.size(); ++i) {
    const std::int64_t length = plan.lengths[i];
    check(length >= 1 && length <= std::int64_t{1} << 24, "recipe.eval.lengths", "lengths from 1 to 2^24", length);
    if (std::find(plan.lengths.begin(), plan.lengths.begin() + static_cast<std::ptrdiff_t>(i), length) !=
        plan.lengths.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw InputError(fmt::format("recipe.eval.lengths holds {} twice", length));
    }
    try {
      check_sequences(plan, *make_task(spec, length), context);
    } catch (const InputError& error) {
      throw InputError(fmt::format("recipe.eval.lengths: at {} tokens: {}", length, error.what()));
    }
  }
}

// Scores of heads need queries whose answer's place is known.
void validate_probe(const EvalPlan& plan, const Task& task) {
  check(plan.probe_sequences >= 0 && plan.probe_sequences <= plan.sequences, "recipe.eval.probe_sequences",
        "from 0 (off) to recipe.eval.sequences", plan.probe_sequences);
  if (plan.probe_sequences == 0) return;
  const EvalSuite suite(task, {.sequences = plan.probe_sequences});
  if (head_set(suite.sets(), task.context()) < suite.sets().size()) return;
  throw InputError(fmt::format(
      "recipe.eval.probe_sequences is {}, but the task {} says of no scored position where its answer stands, so heads "
      "cannot be scored; leave the key out",
      plan.probe_sequences, task.spec().name));
}

void validate_optimizer(const Recipe& r) {
  check(r.learning_rate > 0 && r.learning_rate <= 1e6, "recipe.learning_rate", "over 0", r.learning_rate);
  check(r.weight_decay >= 0 && r.weight_decay <= 1e6, "recipe.weight_decay", "0 or more", r.weight_decay);
  check(r.clip > 0, "recipe.clip", "over 0", r.clip);
  check(r.beta1 >= 0 && r.beta1 < 1, "recipe.beta1", "from 0 to under 1", r.beta1);
  check(r.beta2 >= 0 && r.beta2 < 1, "recipe.beta2", "from 0 to under 1", r.beta2);
  check(r.eps > 0, "recipe.eps", "over 0", r.eps);
  check(r.embed_std > 0, "recipe.embed_std", "over 0", r.embed_std);
}

void validate_plan(const Recipe& r, const Shape& shape) {
  const Schedule& s = r.schedule;
  constexpr std::int64_t kMostSteps = std::int64_t{1} << 40;
  check(r.steps >= 1 && r.steps <= kMostSteps, "recipe.steps", "from 1 to 2^40", r.steps);
  check(r.batch >= 1 && r.batch <= 1 << 20, "recipe.batch", "from 1 to 2^20", r.batch);
  if (r.steps > kMostTokens / (r.batch * shape.context)) {
    throw InputError("recipe.steps x batch x context is over 10^13 tokens; lower one of them");
  }
  check(s.warmup_steps >= 0 && s.warmup_steps <= kMostSteps, "recipe.schedule.warmup_steps", "0 or more",
        s.warmup_steps);
  check(s.decay_fraction >= 0 && s.decay_fraction <= 1, "recipe.schedule.decay_fraction", "from 0 to 1",
        s.decay_fraction);
  check(s.final_ratio >= 0 && s.final_ratio <= 1, "recipe.schedule.final_ratio", "from 0 to 1", s.final_ratio);
  check(r.eval.sequences >= 1 && r.eval.sequences <= 1 << 20, "recipe.eval.sequences", "from 1 to 2^20",
        r.eval.sequences);
  check(r.eval.growth >= 0 && r.eval.growth <= 1e6, "recipe.eval.growth", "0 or more", r.eval.growth);
  check(r.eval.min_steps >= 1 && r.eval.min_steps <= kMostSteps, "recipe.eval.min_steps", "1 or more",
        r.eval.min_steps);
  (void)evaluation_steps(r.eval, r.steps);  // refuses too many
}

void validate_capability(const Capability& c, const Task& task, const EvalPlan& plan) {
  std::vector<std::string> names = capability_metrics(task.metrics(), task.context());
  for (const std::int64_t length : plan.lengths) {
    for (const std::string& name : capability_metrics(task.metrics(), length)) {
      names.push_back(fmt::format("{}@{}", name, length));
    }
  }
  if (std::find(names.begin(), names.end(), c.metric) == names.end()) {
    const std::string meant = nearest(c.metric, names);
    const std::size_t shown = std::min<std::size_t>(names.size(), 8);
    throw InputError(fmt::format(
        "capability.metric must be an accuracy of the task {} at this context ({}{}), not '{}'{}", task.spec().name,
        fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
        shown < names.size() ? ", ..." : "", c.metric.substr(0, 40), did_you_mean(meant)));
  }
  check(c.threshold > 0 && c.threshold <= 1, "capability.threshold", "over 0 and at most 1", c.threshold);
  check(c.stop_at >= c.threshold, "capability.stop_at", "at least the threshold (over 1: never stops)", c.stop_at);
}

}  // namespace

std::string Recipe::canonical_json() const {
  json root = json::object();
  for_each_field(*this, [&](const std::string& section, const char* name, const auto& field) {
    if (may_be_left_out(section, name) && is_off(field)) return;
    (section.empty() ? root : root[section])[name] = to_json(field);
  });
  return root.dump();  // nlohmann::json keeps keys sorted
}

Recipe recipe_from_json(const std::string& text) {
  json root;
  try {
    root = json::parse(text);
  } catch (const json::exception& error) {
    throw InputError(std::string("recipe: not valid JSON: ") + error.what());
  }
  if (!root.is_object()) wrong_type("the whole text", "an object", root);
  Recipe recipe;
  Recipe complete;
  complete.eval.lengths = {1}, complete.eval.probe_sequences = 1, complete.window_growth = {1, 1};
  refuse_unknown_keys(root, json::parse(complete.canonical_json()), "");
  const json absent = json::object();
  for_each_field(recipe, [&](const std::string& section, const char* name, auto& field) {
    const std::string full_name = dotted(section, name);
    const json& holder = section.empty() ? root : root.contains(section) ? root[section] : absent;
    if (may_be_left_out(section, name) && holder.is_object() && !holder.contains(name)) return;
    if (!holder.is_object() || !holder.contains(name))
      throw InputError("recipe: the key '" + full_name + "' is missing");
    from_json(full_name, holder[name], field);
  });
  return recipe;
}

void validate(const Recipe& recipe, const Shape& shape) {
  const std::unique_ptr<Task> task = validate_task(recipe.task, shape);
  validate_optimizer(recipe);
  validate_plan(recipe, shape);
  validate(recipe.window_growth, recipe.steps);
  check_sequences(recipe.eval, *task, shape.context);
  validate_lengths(recipe.eval, recipe.task, shape.context);
  validate_probe(recipe.eval, *task);
  validate_capability(recipe.capability, *task, recipe.eval);
  check(recipe.seed >= 0, "recipe.seeds", "0 or more", recipe.seed);
  check(recipe.data_seed >= 0, "recipe.data_seeds", "0 or more", recipe.data_seed);
  check(recipe.precision == "fp32" || recipe.precision == "bf16", "recipe.precision", "fp32, or bf16 (on a GPU)",
        fmt::format("'{}'", recipe.precision.substr(0, 40)));
}

std::string trial_key(const Design& design, const Recipe& recipe) {
  return hash_hex(design.id() + " " + recipe.canonical_json());
}

std::string cohort_key(const Design& design, const Recipe& recipe) {
  std::string operators;
  for (const Layer& layer : design.layout.layers) {
    operators += is_attention(layer.mixer) ? "attention" : name_of(layer.mixer);
    operators += ' ';
  }
  const Shape& s = design.shape;
  json key = {{"operators", operators},
              {"shape", {s.d_model, s.heads, s.kv_heads, s.head_dim, s.ffn, s.vocab, s.context, s.tied, s.rope_theta}},
              {"task", to_json(recipe.task)},
              {"batch", recipe.batch},
              {"steps", recipe.steps},
              {"eval", {recipe.eval.sequences, recipe.eval.growth, recipe.eval.min_steps}},
              {"lengths", recipe.eval.lengths},
              {"adamw", {recipe.beta1, recipe.beta2, recipe.eps}},
              {"precision", recipe.precision}};
  if (recipe.eval.probe_sequences > 0) key["probe_sequences"] = recipe.eval.probe_sequences;
  const WindowGrowth& growth = recipe.window_growth;
  if (growth.on()) key["window_growth"] = {growth.start, growth.steps};
  return hash_hex(key.dump());
}

std::string protocol_json(const Recipe& recipe, const Shape& shape) {
  const std::unique_ptr<Task> task = make_task(recipe.task, shape.context);
  json metrics = json::object();
  for (const auto& [name, meaning] : metric_meanings(task->metrics())) metrics[name] = meaning;
  json protocol = {{"task", to_json(recipe.task)},
                   {"protocol", task_type(recipe.task.name).protocol},
                   {"context", shape.context},
                   {"evaluation", {{"sequences", recipe.eval.sequences}, {"split", "one for all seeds"}}},
                   {"window", "a window of W lets a query see W keys, itself included"},
                   {"distance", "tokens from the answer to the place where it is predicted"},
                   {"metrics", metrics},
                   {"capability", {{"metric", recipe.capability.metric}, {"threshold", recipe.capability.threshold}}}};
  if (recipe.eval.probe_sequences > 0) {
    for (const auto& [name, meaning] : head_metric_meanings()) protocol["metrics"][name] = meaning;
    protocol["evaluation"]["probe"] = {
        {"sequences", recipe.eval.probe_sequences},
        {"queries_a_sequence", kQueriesASequence},
        {"queries", "scored positions whose answer stands in the sequence, evenly chosen; the last occurrence counts"}};
  }
  if (!recipe.eval.lengths.empty()) protocol["evaluation"]["lengths"] = recipe.eval.lengths;
  if (recipe.window_growth.on()) {
    protocol["window_growth"] = {{"start", recipe.window_growth.start},
                                 {"steps", recipe.window_growth.steps},
                                 {"evaluation", "sees the windows of the last update; at step 0 those of the first"}};
  }
  return protocol.dump();
}

std::vector<std::int64_t> evaluation_steps(const EvalPlan& plan, std::int64_t steps) {
  std::vector<std::int64_t> result = {0};
  while (result.back() < steps) {
    if (std::ssize(result) >= kMostEvaluations) {
      throw InputError(
          fmt::format("recipe.eval: growth {} and min_steps {} make over {} evaluations in {} steps; raise one of them",
                      plan.growth, plan.min_steps, kMostEvaluations, steps));
    }
    const std::int64_t last = result.back();
    const double grown = std::floor(static_cast<double>(last) * plan.growth);
    const std::int64_t left = steps - last;
    const std::int64_t gap = grown >= static_cast<double>(left) ? left : static_cast<std::int64_t>(grown);
    result.push_back(last + std::min(left, std::max({gap, plan.min_steps, std::int64_t{1}})));
  }
  return result;
}

}  // namespace hylas::model
