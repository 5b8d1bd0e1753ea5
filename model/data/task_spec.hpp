// TaskSpec: the name of a task and the values of its parameters, as a space file and a recipe hold them.
//
// Which tasks there are, and which parameters each takes, is told by task.hpp; task_spec() checks names, types and
// ranges and fills in defaults, so that a TaskSpec it made is complete. Thread-safety: plain data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>

namespace hylas::model {

using TaskValue = std::variant<std::int64_t, double, std::string>;

struct TaskSpec {
  std::string name;
  std::map<std::string, TaskValue> values;  // by parameter; its alternative is the parameter's type

  // Throw std::logic_error for a parameter that the task does not have, or of another type.
  [[nodiscard]] std::int64_t whole(const std::string& parameter) const;
  [[nodiscard]] double real(const std::string& parameter) const;
  [[nodiscard]] const std::string& text(const std::string& parameter) const;
  void set(const std::string& parameter, TaskValue value);

  bool operator==(const TaskSpec&) const = default;
};

// Complete and checked. Throws InputError naming the task or the parameter ("task.keys ..."), with the nearest valid
// name.
[[nodiscard]] TaskSpec task_spec(const std::string& name, const std::map<std::string, TaskValue>& given = {});
// The main proxy task.
[[nodiscard]] TaskSpec recall_task(std::int64_t keys = 16, std::int64_t values = 16, double repeat = 0.4);

// As JSON text with sorted keys, "name" among them. train_sequences is left out where it is 0.
[[nodiscard]] std::string task_json(const TaskSpec& spec);

}  // namespace hylas::model
