// The table of tasks: one line each. A new task is a file in data/tasks/ and a line here.
#include "model/data/task.hpp"
#include "model/data/tasks/types.hpp"

namespace hylas::model {

const std::vector<TaskType>& task_types() {
  static const std::vector<TaskType> types = {
      recall_type(),
      mad_recall_type(),
      mad_noisy_recall_type(),
      mad_fuzzy_recall_type(),
      mad_selective_copy_type(),
      mad_compression_type(),
      mad_memorization_type(),
  };
  return types;
}

}  // namespace hylas::model
