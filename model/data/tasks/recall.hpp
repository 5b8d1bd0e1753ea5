// The recall stream: the main proxy task. A stream of context / 2 slots (key, value) in which keys come back after
// log-uniform distances; the model predicts the value of a key it has seen before.
//
// Tokens: keys are [0, keys), values are [keys, keys + values). Slot i lies at positions 2i (key) and 2i + 1 (value).
// The map from keys to values is drawn with replacement, fresh in each sequence. Slot i >= 1 repeats the key of slot i
// - delta with probability p = task.repeat, delta log-uniform on [1, i]; otherwise its key is uniform. recall_draw.hpp
// fixes every bit. The training sequences are a function of (data seed, index), the evaluation sequences of the index
// alone.
//
// Errors: the constructor throws InputError for a task or context outside the limits it states. Thread-safety:
// sequence() may be called by several threads at once. Determinism: integers only, the same bits on every machine.
// A relative of multi-query associative recall (Arora et al., "Zoology", arXiv 2312.04927) with distances of all
// scales.
#pragma once

#include <cstdint>
#include <vector>

#include "model/data/task.hpp"

namespace hylas::model {

struct RecallTask {
  std::int64_t keys = 16;
  std::int64_t values = 16;
  double repeat = 0.4;  // p
  bool operator==(const RecallTask&) const = default;
};

[[nodiscard]] RecallTask recall_parameters(const TaskSpec& spec);

class RecallStream final : public Task {
 public:
  // context: even, in [2, 2^24]; keys and values >= 1, together at most 2^31 - 1; repeat in [0, 1].
  RecallStream(const RecallTask& task, std::int64_t context);
  RecallStream(const TaskSpec& spec, std::int64_t context);

  // task.hpp says what sequence() writes. targets[t] = tokens[t + 1], the last -1; scored are the answerable values:
  // t is a key position whose key occurred before, distance[t] = 2 (slots since its last occurrence), so that a window
  // W sees that pair if distance <= W.
  [[nodiscard]] std::int64_t vocab() const override { return task_.keys + task_.values; }
  [[nodiscard]] MetricPlan metrics() const override { return {.accuracy = false, .distance = true}; }
  [[nodiscard]] std::int64_t fixed_targets() const override { return context() - 1; }
  [[nodiscard]] const RecallTask& task() const { return task_; }
  // For kernels that make sequences on a device: C_m for m in [0, slots], and floor(p 2^32).
  [[nodiscard]] const std::vector<std::uint64_t>& prefix() const { return prefix_; }
  [[nodiscard]] std::uint64_t threshold() const { return threshold_; }

 private:
  void make(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens, std::int32_t* targets,
            std::int32_t* distance) const override;

  RecallTask task_;
  std::int64_t slots_;
  std::uint64_t threshold_;            // floor(p 2^32)
  std::vector<std::uint64_t> prefix_;  // [slots + 1]
};

}  // namespace hylas::model
