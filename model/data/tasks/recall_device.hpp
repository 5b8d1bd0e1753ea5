// RecallDevice: the training sequences of the recall stream (recall.hpp) made on a GPU by a kernel of their own, with
// the same bits.
//
// The prefix table lies in device memory that this object owns. Errors: InputError for a context over 65536 tokens;
// else as task_device.hpp says.
#pragma once

#include <cstdint>

#include "model/data/task_device.hpp"
#include "model/data/tasks/recall.hpp"

namespace hylas::model {

class RecallDevice final : public TaskDevice {
 public:
  static constexpr std::int64_t kMaxContext = 65536;  // a sequence's slots lie in the shared memory of one block

  RecallDevice(kernels::Context& ctx, const RecallStream& stream);
  ~RecallDevice() override;

  void generate(kernels::Context& ctx, const kernels::Tensor& data_seeds, const kernels::Tensor& first,
                const kernels::Tensor& tokens, const kernels::Tensor& targets) const override;

 private:
  RecallTask task_;
  std::int64_t slots_;
  std::uint64_t threshold_, train_sequences_;
  int device_;
  std::uint64_t* prefix_ = nullptr;  // [slots + 1], on the device
};

}  // namespace hylas::model
