// RecallDevice: the training sequences of the recall stream (recall.hpp) made on a GPU, with the same bits.
//
// The prefix table lies in device memory that this object owns; generate() is enqueued on the Context's stream, may be
// recorded into a CUDA graph, and reads seeds and sequence numbers on the device when it runs. Errors: InputError for a
// task or context that RecallStream refuses, or a context over 65536 tokens; std::invalid_argument for wrong tensors.
// Thread-safety: as the Context's.
#pragma once

#include <cstdint>

#include "kernels/context.hpp"
#include "model/recipe.hpp"

namespace hylas::model {

class RecallDevice {
 public:
  static constexpr std::int64_t kMaxContext = 65536;  // a sequence's slots lie in the shared memory of one block

  RecallDevice(kernels::Context& ctx, const RecallTask& task, std::int64_t context);
  ~RecallDevice();
  RecallDevice(const RecallDevice&) = delete;
  RecallDevice& operator=(const RecallDevice&) = delete;

  // Sequence first[p] + b of data seed data_seeds[p], for each trial p and each b of the batch.
  //   data_seeds [P, 2] i32   low and high 32 bits of a 64-bit seed
  //   first      [P, 2] i32   low and high 32 bits of the index of the batch's first sequence
  //   tokens, targets [P, B, T] i32, T = context; targets[t] = tokens[t + 1], the last -1
  void generate(kernels::Context& ctx, const kernels::Tensor& data_seeds, const kernels::Tensor& first,
                const kernels::Tensor& tokens, const kernels::Tensor& targets) const;

  [[nodiscard]] std::int64_t context() const { return 2 * slots_; }

 private:
  RecallTask task_;
  std::int64_t slots_;
  std::uint64_t threshold_;
  int device_;
  std::uint64_t* prefix_ = nullptr;  // [slots + 1], on the device
};

}  // namespace hylas::model
