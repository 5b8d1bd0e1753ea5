// The tasks that task_types.cpp lists: each is defined in the file of its name.
#pragma once

#include "model/data/task.hpp"

namespace hylas::model {

// How many different training sequences there are; every task has it, as its last parameter.
[[nodiscard]] inline TaskParameter train_sequences_parameter(std::int64_t sequences = 0) {
  return {"train_sequences", "different training sequences, recycled; 0: without end", sequences, 0, 1e15};
}

[[nodiscard]] TaskType recall_type();
[[nodiscard]] TaskType text_type();
[[nodiscard]] TaskType mqar_type();
[[nodiscard]] TaskType induction_type();
[[nodiscard]] TaskType needle_single_type();
[[nodiscard]] TaskType needle_multikey_type();
[[nodiscard]] TaskType needle_haystack_type();
[[nodiscard]] TaskType needle_multivalue_type();
[[nodiscard]] TaskType needle_multiquery_type();
[[nodiscard]] TaskType needle_tracking_type();
[[nodiscard]] TaskType mad_recall_type();
[[nodiscard]] TaskType mad_noisy_recall_type();
[[nodiscard]] TaskType mad_fuzzy_recall_type();
[[nodiscard]] TaskType mad_selective_copy_type();
[[nodiscard]] TaskType mad_compression_type();
[[nodiscard]] TaskType mad_memorization_type();

}  // namespace hylas::model
