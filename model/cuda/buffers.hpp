// What a GPU cohort keeps in device memory from step to step, taken from one arena.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/arena.hpp"
#include "model/cuda/heads.hpp"
#include "model/cuda/step.hpp"
#include "model/eval/eval_suite.hpp"

namespace hylas::model::cuda {

struct Sizes {
  std::int64_t trials = 0, parameters = 0, depth = 0, batch = 0, context = 0;
  bool bf16 = false;
  bool fixed_targets = true;  // every batch trains as many positions
};

// One set of the evaluation suite.
struct EvalBuffers {
  kernels::Tensor tokens, targets;  // [1, S, T]
  kernels::Tensor positions;        // [n] i32: the scored ones
  kernels::Tensor layout;           // [depth * 3 * P] i32, see LayoutData
  kernels::Tensor loss, predicted;  // [P, n]: at the scored positions
};

// Everything that outlives a step. All but the evaluation's sequences has a leading dimension P.
struct Buffers {
  kernels::Tensor weights, m, v, grads;   // [P, N] f32
  kernels::Tensor copy;                   // [P, N] bf16, where matrices are read from; absent in fp32
  kernels::Tensor tokens, targets, loss;  // [P, B, T]
  kernels::Tensor loss_parts;             // [P, chunks] f64
  kernels::Tensor layout;                 // [depth * 3 * P] i32, see LayoutData
  TrialArrays arrays;
  std::vector<EvalBuffers> eval;  // a set each
  HeadBuffers heads;
};

// The low and the high word of a number, as kernels read it.
inline void put_words(std::uint64_t value, std::int32_t* to) {
  to[0] = static_cast<std::int32_t>(value & 0xFFFFFFFFU);
  to[1] = static_cast<std::int32_t>(value >> 32);
}

inline constexpr std::int64_t kTableSteps = 256;  // learning rates uploaded at a time

[[nodiscard]] Buffers take_buffers(kernels::Arena& arena, const Sizes& sizes, const EvalSuite& suite,
                                   const HeadProbe& heads);
// The first `trials` trials of every buffer.
[[nodiscard]] Buffers first_trials(Buffers buffers, std::int64_t trials);

// Sequences [first, first + count) of a [P, B, T] tensor.
[[nodiscard]] kernels::Tensor sequences(const kernels::Tensor& t, std::int64_t first, std::int64_t count);

}  // namespace hylas::model::cuda
