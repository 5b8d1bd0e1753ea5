// Needles: the six tasks, their parameters and limits (see needles.hpp).
#include "model/data/tasks/needles.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;
constexpr double kMaxVocab = 1 << 20;

std::int32_t count(const TaskSpec& spec, const char* parameter) {
  return static_cast<std::int32_t>(spec.whole(parameter));
}

std::vector<TaskParameter> parameters(std::vector<TaskParameter> own, std::int64_t key_vocab = 64) {
  std::vector<TaskParameter> all = {
      {"noise_vocab", "different noise tokens", std::int64_t{16}, 1, kMaxVocab},
      {"key_vocab", "different key tokens (of variables, where these are tracked)", key_vocab, 1, kMaxVocab},
      {"value_vocab", "different value tokens", std::int64_t{64}, 1, kMaxVocab}};
  all.insert(all.end(), own.begin(), own.end());
  all.push_back(train_sequences_parameter());
  return all;
}

TaskParameter value_tokens_parameter() {
  return {"value_tokens", "tokens of a value", std::int64_t{2}, 1, 1024};
}

// `sized` is the parameter that sets the number of needles.
void check(const Needles& task, const std::string& name, const std::string& sized) {
  const std::int64_t least = task.kind == NeedleKind::haystack ? 2 : task.needles();
  const std::int64_t needed = least * task.width() + task.question();
  if (task.length < needed || task.length > kMaxContext) {
    throw InputError(fmt::format("task {} needs a context of {} to {} tokens with these parameters, not {}", name,
                                 needed, kMaxContext, task.length));
  }
  if (task.kind != NeedleKind::haystack && task.needles() > Needles::depths) {
    throw InputError(
        fmt::format("task.{}: {} needles are more than the {} depths", sized, task.needles(), +Needles::depths));
  }
  const std::int64_t keys = task.kind == NeedleKind::retrieve ? task.keys : task.needles();
  if (keys > task.key_vocab) {
    const std::string because =
        task.kind == NeedleKind::haystack ? fmt::format(" at a context of {}", task.length) : "";
    throw InputError(
        fmt::format("task.key_vocab: {} different keys are needed{}, not {}", keys, because, task.key_vocab));
  }
  if (task.kind == NeedleKind::tracking && task.chains > task.value_vocab) {
    throw InputError(fmt::format("task.value_vocab: {} different values are needed, one a chain, not {}", task.chains,
                                 task.value_vocab));
  }
}

// `set` fills in what is the kind's own.
template <class Set>
std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context, const std::string& sized, Set set) {
  Needles task;
  task.length = context;
  task.noise_vocab = count(spec, "noise_vocab");
  task.key_vocab = count(spec, "key_vocab");
  task.value_vocab = count(spec, "value_vocab");
  set(task);
  if (task.kind != NeedleKind::tracking) task.value_tokens = count(spec, "value_tokens");
  task.vocab = task.ask() + (task.kind == NeedleKind::tracking ? 2 : 1);
  task.scratch_words = Distinct::words(std::max(task.key_vocab, task.value_vocab));
  check(task, spec.name, sized);
  const MetricPlan metrics{.distance = true, .depths = task.has_depth() ? Needles::depths : 0};
  return std::make_unique<GeneratedTask<Needles>>(spec, task, metrics, task.answers());
}

constexpr const char* common_protocol =
    "; noise, key and value tokens are disjoint; asked at the end, only the answer tokens are trained and scored, "
    "earlier "
    "ones stand in the input; port of arXiv 2404.06654";

}  // namespace

TaskType needle_single_type() {
  static const std::string protocol =
      std::string("one needle (key, value) at one of 40 depths of uniform noise") + common_protocol;
  return {.name = "needle_single",
          .summary = "one fact in noise, asked at the end (port of RULER)",
          .protocol = protocol.c_str(),
          .parameters = parameters({value_tokens_parameter()}),
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) {
            return make(spec, context, "value_tokens", [](Needles&) {});
          }};
}

TaskType needle_multikey_type() {
  static const std::string protocol =
      std::string(
          "needles (key, value) with different keys at different ones of 40 depths of uniform noise, one key "
          "asked, its depth uniform") +
      common_protocol;
  return {.name = "needle_multikey",
          .summary = "several facts in noise, one of them asked (port of RULER)",
          .protocol = protocol.c_str(),
          .parameters = parameters(
              {value_tokens_parameter(),
               {"keys", "needles, each with a key of its own; one is asked", std::int64_t{4}, 1, Needles::depths}}),
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) {
            return make(spec, context, "keys", [&](Needles& task) { task.keys = count(spec, "keys"); });
          }};
}

TaskType needle_haystack_type() {
  static const std::string protocol =
      std::string("nothing but needles (key, value) with different keys, one asked, its depth one of 40") +
      common_protocol;
  return {.name = "needle_haystack",
          .summary = "a haystack of facts only, one of them asked (port of RULER)",
          .protocol = protocol.c_str(),
          .parameters = parameters({value_tokens_parameter()}, 512),
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) {
            return make(spec, context, "key_vocab", [](Needles& task) { task.kind = NeedleKind::haystack; });
          }};
}

TaskType needle_multivalue_type() {
  static const std::string protocol =
      std::string(
          "needles (key, value) with one key and several values at different ones of 40 depths of uniform "
          "noise, all values asked in the order in which they stand") +
      common_protocol;
  return {.name = "needle_multivalue",
          .summary = "several values of one key in noise, all of them asked (port of RULER)",
          .protocol = protocol.c_str(),
          .parameters = parameters(
              {value_tokens_parameter(), {"values", "values of the key", std::int64_t{4}, 1, Needles::depths}}),
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) {
            return make(spec, context, "values", [&](Needles& task) { task.values = count(spec, "values"); });
          }};
}

TaskType needle_multiquery_type() {
  static const std::string protocol =
      std::string(
          "needles (key, value) with different keys at different ones of 40 depths of uniform noise, all keys "
          "asked one after the other in an order independent of where they stand") +
      common_protocol;
  return {.name = "needle_multiquery",
          .summary = "several facts in noise, all of them asked (port of RULER)",
          .protocol = protocol.c_str(),
          .parameters = parameters(
              {value_tokens_parameter(), {"queries", "needles, all asked", std::int64_t{4}, 1, Needles::depths}}),
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) {
            return make(spec, context, "queries",
                        [&](Needles& task) { task.keys = task.queries = count(spec, "queries"); });
          }};
}

TaskType needle_tracking_type() {
  static const std::string protocol =
      std::string(
          "chains of assignments (assign, variable, value or variable before) in order at different ones of 40 "
          "depths of uniform noise; the value of the first chain asks for all its variables in order") +
      common_protocol;
  return {.name = "needle_tracking",
          .summary = "chains of variable assignments in noise: which variables hold a value? (port of RULER)",
          .protocol = protocol.c_str(),
          .parameters = parameters({{"chains", "chains; the first is asked", std::int64_t{1}, 1, Needles::depths},
                                    {"hops", "assignments of a variable to a variable in a chain", std::int64_t{4}, 0,
                                     Needles::depths - 1}}),
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) {
            return make(spec, context, "hops", [&](Needles& task) {
              task.kind = NeedleKind::tracking;
              task.chains = count(spec, "chains");
              task.hops = count(spec, "hops");
            });
          }};
}

}  // namespace hylas::model
