// The table of tasks: one line each. A new task is a file in data/tasks/ and a line here.
#include "model/data/task.hpp"
#include "model/data/tasks/types.hpp"

namespace hylas::model {

const std::vector<TaskType>& task_types() {
  static const std::vector<TaskType> types = {
      recall_type(),
      mqar_type(),
      mad_recall_type(),
      mad_noisy_recall_type(),
      mad_fuzzy_recall_type(),
      mad_selective_copy_type(),
      mad_compression_type(),
      mad_memorization_type(),
      induction_type(),
      needle_single_type(),
      needle_multikey_type(),
      needle_haystack_type(),
      needle_multivalue_type(),
      needle_multiquery_type(),
      needle_tracking_type(),
      text_type(),
  };
  return types;
}

}  // namespace hylas::model
