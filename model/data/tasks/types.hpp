// The tasks that task_types.cpp lists: each is defined in the file of its name.
#pragma once

#include "model/data/task.hpp"

namespace hylas::model {

// How many different training sequences there are; every task has it, as its last parameter.
[[nodiscard]] inline TaskParameter train_sequences_parameter(std::int64_t sequences = 0) {
  return {"train_sequences", "different training sequences, recycled; 0: without end", sequences, 0, 1e15};
}

[[nodiscard]] TaskType recall_type();

}  // namespace hylas::model
