// BenchLab: what timing one operator needs: a device, tensors of random numbers in its memory, and a clock.
//
// On a GPU the calls are recorded as a CUDA graph, as training does, and replayed; the clock waits for the GPU at both
// ends of at least 20 ms of them. On the CPU an operator runs on the calling thread. Errors: DeviceError, CudaError.
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "kernels/context.hpp"
#include "kernels/cuda/runtime.hpp"

namespace hylas::cli {

class BenchLab {
 public:
  explicit BenchLab(const kernels::Device& device);

  [[nodiscard]] bool on_gpu() const { return device_.kind == kernels::DeviceKind::cuda; }
  [[nodiscard]] kernels::Context& context() { return context_; }

  // Tensors live until clear(). Uniform in +-3^1/2 scale, so that scale is their standard deviation; f32 or bf16.
  [[nodiscard]] kernels::Tensor random(kernels::DType dtype, std::initializer_list<std::int64_t> dims,
                                       double scale = 1);
  // i32, uniform in [first, first + count).
  [[nodiscard]] kernels::Tensor integers(std::initializer_list<std::int64_t> dims, std::int64_t first,
                                         std::int64_t count = 1);
  [[nodiscard]] kernels::Tensor filled(std::initializer_list<std::int64_t> dims, float value);  // f32
  [[nodiscard]] kernels::Tensor holding(const kernels::Tensor& host);                           // a copy
  void clear();

  // Of one call: the median of 5 batches. The arena is as it was after each call.
  [[nodiscard]] double seconds(const std::function<void()>& call);

 private:
  // Fills t with the pattern over and over.
  void put(const kernels::Tensor& t, const void* pattern, std::size_t bytes) const;
  template <class T>
  void put(const kernels::Tensor& t, const std::vector<T>& pattern) const {
    put(t, pattern.data(), pattern.size() * sizeof(T));
  }
  [[nodiscard]] std::uint32_t next();
  [[nodiscard]] double batch_seconds(const std::function<void()>& run, std::int64_t times) const;

  kernels::Device device_;
  std::unique_ptr<kernels::cuda::Runtime> runtime_;
  kernels::Context context_;
  kernels::Arena memory_;
  std::uint64_t state_ = 1;
};

}  // namespace hylas::cli
