// The table of tasks: one line each. A new task is a file in data/tasks/ and a line here.
#include "model/data/task.hpp"
#include "model/data/tasks/types.hpp"

namespace hylas::model {

const std::vector<TaskType>& task_types() {
  static const std::vector<TaskType> types = {
      recall_type(),
  };
  return types;
}

}  // namespace hylas::model
