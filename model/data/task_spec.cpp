// TaskSpec: parameters checked against the task's table (see task_spec.hpp).
#include "model/data/task_spec.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "model/data/task.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

template <class T>
const T& get(const TaskSpec& spec, const std::string& parameter) {
  const auto found = spec.values.find(parameter);
  if (found == spec.values.end()) throw std::logic_error("task " + spec.name + " has no parameter " + parameter);
  return std::get<T>(found->second);
}

TaskValue checked(const TaskParameter& parameter, const TaskValue& given) {
  const std::string name = std::string("task.") + parameter.name;
  if (parameter.type() == TaskParameter::Type::text) {
    if (!std::holds_alternative<std::string>(given)) throw InputError(name + " must be a text in quotes");
    return given;
  }
  const auto out_of_range = [&](const std::string& found) {
    throw InputError(fmt::format("{} must be from {} to {}, not {}", name, parameter.least, parameter.most, found));
  };
  if (parameter.type() == TaskParameter::Type::whole) {
    if (!std::holds_alternative<std::int64_t>(given)) throw InputError(name + " must be a whole number");
    const auto value = std::get<std::int64_t>(given);
    if (static_cast<double>(value) < parameter.least || static_cast<double>(value) > parameter.most) {
      out_of_range(fmt::format("{}", value));
    }
    return given;
  }
  double value = 0;
  if (const auto* whole = std::get_if<std::int64_t>(&given)) {
    value = static_cast<double>(*whole);
  } else if (const auto* real = std::get_if<double>(&given)) {
    value = *real;
  } else {
    throw InputError(name + " must be a number");
  }
  if (!(value >= parameter.least && value <= parameter.most)) out_of_range(fmt::format("{}", value));
  return value + 0.0;  // -0 becomes 0
}

}  // namespace

std::int64_t TaskSpec::whole(const std::string& parameter) const {
  return get<std::int64_t>(*this, parameter);
}
double TaskSpec::real(const std::string& parameter) const {
  return get<double>(*this, parameter);
}
const std::string& TaskSpec::text(const std::string& parameter) const {
  return get<std::string>(*this, parameter);
}

void TaskSpec::set(const std::string& parameter, TaskValue value) {
  const auto found = values.find(parameter);
  if (found == values.end()) throw std::logic_error("task " + name + " has no parameter " + parameter);
  found->second = std::move(value);
}

TaskSpec task_spec(const std::string& name, const std::map<std::string, TaskValue>& given) {
  const TaskType& type = task_type(name);
  TaskSpec spec{.name = name, .values = {}};
  std::vector<std::string> names;
  for (const TaskParameter& parameter : type.parameters) {
    names.emplace_back(parameter.name);
    const auto found = given.find(parameter.name);
    spec.values[parameter.name] = found == given.end() ? parameter.default_value : checked(parameter, found->second);
  }
  for (const auto& [key, value] : given) {
    if (spec.values.contains(key)) continue;
    const std::string meant = nearest(key, names);
    throw InputError(fmt::format("task {} has no parameter '{}'{} It takes: {}", name, key.substr(0, 40),
                                 meant.empty() ? "." : fmt::format("; did you mean '{}'?", meant),
                                 fmt::join(names, ", ")));
  }
  return spec;
}

TaskSpec recall_task(std::int64_t keys, std::int64_t values, double repeat) {
  return task_spec("recall", {{"keys", keys}, {"values", values}, {"repeat", repeat}});
}

std::string task_json(const TaskSpec& spec) {
  nlohmann::json json = {{"name", spec.name}};
  for (const auto& entry : spec.values) {
    if (entry.first == "train_sequences" && entry.second == TaskValue(std::int64_t{0})) continue;
    std::visit([&](const auto& v) { json[entry.first] = v; }, entry.second);
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace hylas::model
