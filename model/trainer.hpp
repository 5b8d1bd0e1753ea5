// Trainer: one training step of one trial on the CPU, and the trial's state between steps.
//
// The batch is cut into fixed chunks of whole sequences (about 256 tokens: clamp(B T / 256, 1, min(B, 8)) chunks, a
// function of batch and context only). The gradient is always the sum of the chunks' gradients in their order, each
// computed from zero. So a step has the same bits whether one thread takes all chunks (step) or several share them
// (step_shared).
//
// Loss: mean over all positions of the batch with a target (0 where there is none). A step whose loss or gradient norm
// is not finite is not applied: the trial is marked as diverged at that step. Thread-safety: the Trainer is const; a
// trial belongs to one call at a time.
#pragma once

#include <optional>
#include <span>

#include "kernels/parallel.hpp"
#include "model/cohort.hpp"
#include "model/data/task.hpp"
#include "model/optimizer.hpp"
#include "model/proxy.hpp"

namespace hylas::model {

struct TrialState {
  TrialSpec spec;
  Layout layout;           // the design's, with the windows of now (design/window_growth.hpp)
  LayoutData layout_data;  // of that, at the training context
  TrialBlocks blocks;
  std::int64_t step = 0;  // updates done
  double last_loss = 0;   // mean loss of the last step's batch, before its update; NaN before the first step
  // Since the last evaluation: the sum of the losses of all scored positions, and their number.
  double train_loss_sum = 0;
  std::int64_t train_positions = 0;
  bool active = true;
  std::optional<std::int64_t> diverged;  // the step that was not finite
};

class Trainer {
 public:
  // proxy and task must outlive the trainer.
  Trainer(const Proxy& proxy, const Task& task, std::int64_t batch);

  [[nodiscard]] std::int64_t chunks() const { return chunks_; }
  // One step on the calling thread. Nothing happens to a trial that has diverged.
  void step(kernels::Context& ctx, TrialState& trial) const;
  // One step of several trials, their chunks shared by the threads of the pool.
  void step_shared(kernels::ThreadPool& pool, std::span<TrialState* const> trials) const;

 private:
  struct Batch {
    kernels::Tensor tokens, targets;  // [1, B, T]
    std::int64_t scored = 0;
  };
  [[nodiscard]] Batch make_batch(kernels::Context& ctx, const TrialState& trial) const;
  // Sets grads [1, N] to a chunk's gradient; returns the sum of its losses.
  double run_chunk(kernels::Context& ctx, const TrialState& trial, const Batch& batch, std::int64_t chunk,
                   const kernels::Tensor& grads) const;
  // Notes the loss; plans the update, or marks the trial as diverged.
  [[nodiscard]] std::optional<UpdatePlan> plan(kernels::Context& ctx, TrialState& trial, const Batch& batch,
                                               double loss_sum, const kernels::Tensor& grads) const;

  const Proxy& proxy_;
  const Task& task_;
  std::int64_t batch_;
  std::int64_t chunks_;
};

}  // namespace hylas::model
