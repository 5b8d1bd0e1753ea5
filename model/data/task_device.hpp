// TaskDevice: a task's training sequences made on a GPU, with the same bits as Task::sequence().
//
// generate() is enqueued on the Context's stream, may be recorded into a CUDA graph, and reads seeds and sequence
// numbers on the device when it runs. Scratch memory comes from ctx.arena. Errors: InputError for a context that the
// device cannot take; std::invalid_argument for wrong tensors. Thread-safety: as the Context's.
#pragma once

#include <memory>

#include "kernels/context.hpp"
#include "model/data/task.hpp"

namespace hylas::model {

class TaskDevice {
 public:
  TaskDevice() = default;
  virtual ~TaskDevice() = default;
  TaskDevice(const TaskDevice&) = delete;
  TaskDevice& operator=(const TaskDevice&) = delete;

  // Training sequence first[p] + b of data seed data_seeds[p], for each trial p and each b of the batch.
  //   data_seeds [P, 2] i32   low and high 32 bits of a 64-bit seed
  //   first      [P, 2] i32   low and high 32 bits of the index of the batch's first sequence
  //   tokens, targets [P, B, T] i32, T = the task's context
  virtual void generate(kernels::Context& ctx, const kernels::Tensor& data_seeds, const kernels::Tensor& first,
                        const kernels::Tensor& tokens, const kernels::Tensor& targets) const = 0;
};

// What every generate() checks, std::invalid_argument otherwise; returns B.
[[nodiscard]] std::int64_t check_sequence_tensors(const char* task, std::int64_t context,
                                                  const kernels::Tensor& data_seeds, const kernels::Tensor& first,
                                                  const kernels::Tensor& tokens, const kernels::Tensor& targets);

// `task` must outlive it.
[[nodiscard]] std::unique_ptr<TaskDevice> make_task_device(kernels::Context& ctx, const Task& task);

}  // namespace hylas::model
