// TextDevice: training sequences of real text (text.hpp) made on a GPU, with the same bits.
//
// The corpus lies in device memory as it lies in its file. Errors: InputError where it does not fit beside a model;
// else as task_device.hpp says.
#pragma once

#include "model/data/task_device.hpp"
#include "model/data/tasks/text.hpp"

namespace hylas::model {

class TextDevice final : public TaskDevice {
 public:
  TextDevice(kernels::Context& ctx, const TextTask& task);
  ~TextDevice() override;

  void generate(kernels::Context& ctx, const kernels::Tensor& data_seeds, const kernels::Tensor& first,
                const kernels::Tensor& tokens, const kernels::Tensor& targets) const override;

 private:
  const TextTask& task_;
  int device_;
  void* corpus_ = nullptr;
};

}  // namespace hylas::model
