// Runtime: one GPU as the operators use it: its stream, its cuBLASLt handle with the cached plans, its limits.
//
// A Context with device.kind == cuda points to one Runtime; both belong to one thread at a time. The header needs no
// CUDA headers, so that code built without CUDA can name it. Errors: CudaError names the call, CUDA's reason and the
// device; OutOfDeviceMemory is the one that a smaller cohort or micro-batch answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "kernels/tensor.hpp"

namespace hylas::kernels::cuda {

class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
class OutOfDeviceMemory : public CudaError {
 public:
  using CudaError::CudaError;
};

struct GpuInfo {
  std::string name;
  int capability = 0;  // 90 for compute capability 9.0
  int multiprocessors = 0;
  std::size_t total_bytes = 0, free_bytes = 0;
};

// 0 without a usable GPU, driver or CUDA in the build; never throws.
[[nodiscard]] int gpu_count() noexcept;
// Why gpu_count() is 0, for messages.
[[nodiscard]] std::string gpu_absence();

// Throws CudaError where this build holds no code that the current device can run.
void require_code();

// Memory of a device; throws OutOfDeviceMemory with what was asked for and what is free.
[[nodiscard]] void* device_allocate(std::size_t bytes, int device);
void device_free(void* memory, int device) noexcept;
// Copies between the host and a device, done when they return. They wait for all earlier work of the device.
void upload(void* to, const void* from, std::size_t bytes, int device);
void download(void* to, const void* from, std::size_t bytes, int device);

class Gemm;

class Runtime {
 public:
  explicit Runtime(int index);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  [[nodiscard]] int index() const { return index_; }
  [[nodiscard]] GpuInfo info() const;
  [[nodiscard]] int multiprocessors() const { return multiprocessors_; }
  [[nodiscard]] int capability() const { return capability_; }
  // Whether the kernels for Hopper run here: the GPU is one, and the build holds code for it.
  [[nodiscard]] bool hopper() const;
  [[nodiscard]] void* stream() const { return stream_; }  // a cudaStream_t
  [[nodiscard]] Gemm& gemm() const { return *gemm_; }
  [[nodiscard]] std::size_t workspace_bytes() const;  // held beside what callers allocate
  void make_current() const;                          // this thread's device
  void synchronize() const;

 private:
  int index_ = 0;
  int multiprocessors_ = 0;
  int capability_ = 0;
  void* stream_ = nullptr;
  std::unique_ptr<Gemm> gemm_;
};

}  // namespace hylas::kernels::cuda
