// What a GPU cohort keeps in device memory from step to step, taken from one arena, and the evaluation split.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/arena.hpp"
#include "model/cuda/step.hpp"
#include "model/data/recall.hpp"

namespace hylas::model::cuda {

struct Sizes {
  std::int64_t trials = 0, parameters = 0, depth = 0, batch = 0, context = 0, sequences = 0;
  std::int64_t scored = 0, buckets = 0;  // of the evaluation split
  bool bf16 = false;
};

// Everything that outlives a step. All but the evaluation split has a leading dimension P.
struct Buffers {
  kernels::Tensor weights, m, v, grads;   // [P, N] f32
  kernels::Tensor copy;                   // [P, N] bf16, where matrices are read from; absent in fp32
  kernels::Tensor tokens, targets, loss;  // [P, B, T]
  kernels::Tensor loss_parts;             // [P, chunks] f64
  kernels::Tensor layout;                 // [depth * 3 * P] i32, see LayoutData
  TrialArrays arrays;
  kernels::Tensor eval_tokens, eval_targets;  // [1, S, T]
  kernels::Tensor eval_loss, eval_predicted;  // [P, S, T]
  kernels::Tensor right, eval_loss_sum;       // see tally()
  TallyPlan tally;
};

// The low and the high word of a number, as kernels read it.
inline void put_words(std::uint64_t value, std::int32_t* to) {
  to[0] = static_cast<std::int32_t>(value & 0xFFFFFFFFU);
  to[1] = static_cast<std::int32_t>(value >> 32);
}

inline constexpr std::int64_t kTableSteps = 256;  // learning rates uploaded at a time

[[nodiscard]] Buffers take_buffers(kernels::Arena& arena, const Sizes& sizes);
// The first `trials` trials of every buffer.
[[nodiscard]] Buffers first_trials(Buffers buffers, std::int64_t trials);

// Sequences [first, first + count) of a [P, B, T] tensor.
[[nodiscard]] kernels::Tensor sequences(const kernels::Tensor& t, std::int64_t first, std::int64_t count);

// The evaluation split on the host: made once, the same for all trials and all evaluations.
struct EvaluationSplit {
  EvaluationSplit(const RecallStream& stream, std::int64_t sequences, std::int64_t context);

  std::vector<std::int32_t> tokens, targets;     // [S, T]
  std::vector<std::int32_t> positions, classes;  // of scored positions, as TallyPlan has them
  std::vector<std::int64_t> counts;              // of scored positions: a bucket each, near, far
};

}  // namespace hylas::model::cuda
