// Task: sequences by split and index; the lookup of tasks (see task.hpp).
#include "model/data/task.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "model/design/input_error.hpp"

namespace hylas::model {

Task::Task(TaskSpec spec, std::int64_t context)
    : spec_(std::move(spec)),
      context_(context),
      train_sequences_(static_cast<std::uint64_t>(spec_.whole("train_sequences"))) {}

void Task::sequence(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens,
                    std::int32_t* targets, std::int32_t* distance) const {
  const bool recycled = split == Split::train && train_sequences_ > 0;
  make(data_seed, split, recycled ? index % train_sequences_ : index, tokens, targets, distance);
}

void Task::check_vocab(std::int64_t model_vocab) const {
  if (vocab() <= model_vocab) return;
  throw InputError(fmt::format("vocab must be at least {} for the task {}, not {}", vocab(), spec_.name, model_vocab));
}

const TaskType& task_type(const std::string& name) {
  std::vector<std::string> names;
  for (const TaskType& type : task_types()) {
    if (name == type.name) return type;
    names.emplace_back(type.name);
  }
  const std::string meant = nearest(name, names);
  throw InputError(fmt::format("there is no task '{}'{}; hylas tasks lists them", name.substr(0, 40),
                               meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
}

TaskSpec completed(TaskSpec spec) {
  const TaskType& type = task_type(spec.name);
  if (type.complete != nullptr) type.complete(spec);
  return spec;
}

std::unique_ptr<Task> make_task(const TaskSpec& spec, std::int64_t context) {
  return task_type(spec.name).make(task_spec(spec.name, spec.values), context);
}

}  // namespace hylas::model
