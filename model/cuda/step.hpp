// What a training step on a GPU needs beside the operators of kernels/: the decision about each trial's update, made on
// the device, so that the host waits for nothing; and what an evaluation gathers for the host.
//
// Shapes: [P] for one value a trial. All launches go to the Context's stream; nothing is launched while it plans.
#pragma once

#include "kernels/context.hpp"

namespace hylas::model::cuda {

// Per trial, in device memory.
struct TrialArrays {
  kernels::Tensor lr_table;               // [P, K] f32: learning rates of the updates first_update, ...
  kernels::Tensor first_update;           // [1] i32: what lr_table begins with
  kernels::Tensor max_norm;               // [P] f32: the norm that gradients are clipped to
  kernels::Tensor weight_decay;           // [P] f32
  kernels::Tensor step;                   // [P] i32: updates done
  kernels::Tensor diverged;               // [P] i32: the step that was not finite, 0 for none
  kernels::Tensor seeds, sequence;        // [P, 2] i32: low and high word of the data seed; of the next sequence
  kernels::Tensor train_loss, last_loss;  // [P] f64: summed since the last evaluation; of the last step
  kernels::Tensor train_positions;        // [P] f64: trained positions since the last evaluation
  kernels::Tensor trained;                // [P] i32: trained positions of this step; absent where always as many
  kernels::Tensor norm, lr, clip_scale;   // [P] f32: of this step
  kernels::Tensor update, apply;          // [P] i32: the update's number from 1; 0 where it must not happen
};

// parts [P, chunks] f64: sums of the rows of loss [P, ...] in fixed chunks of kLossChunk.
inline constexpr std::int64_t kLossChunk = 4096;
void sum_losses(kernels::Context& ctx, const kernels::Tensor& loss, const kernels::Tensor& parts);

// trained [P] i32: positions of targets [P, B, T] that have a target.
void count_targets(kernels::Context& ctx, const kernels::Tensor& targets, const kernels::Tensor& trained);

// From a batch's losses and gradient norms: whether each trial is updated, with which learning rate and clip; counts
// the step and its loss. A trial whose loss or norm is not finite is marked and never updated again. Gradients are
// those of the sum of losses over `scored`; where arrays.trained is there, the update takes those of their mean over
// it.
void plan_updates(kernels::Context& ctx, const TrialArrays& arrays, const kernels::Tensor& loss_parts,
                  std::int64_t batch, std::int64_t scored);

// Of loss and predicted [P, S, T], what stands at positions[begin, end), indices into [S, T] plus `base`, to the same
// places of all_loss, all_predicted [P, n].
void gather_scored(kernels::Context& ctx, const kernels::Tensor& positions, std::int64_t begin, std::int64_t end,
                   std::int64_t base, const kernels::Tensor& loss, const kernels::Tensor& predicted,
                   const kernels::Tensor& all_loss, const kernels::Tensor& all_predicted);

}  // namespace hylas::model::cuda
