// Runtime, device memory and CUDA's errors (see runtime.hpp and launch.cuh).
#include "kernels/cuda/runtime.hpp"

#include <cuda_runtime.h>

#include "kernels/cuda/gemm.hpp"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace {

std::string mebibytes(std::size_t bytes) {
  return std::to_string((bytes + (std::size_t{1} << 20) - 1) >> 20) + " MiB";
}

// Returns to the device that was current before.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = device;
    check(cudaSetDevice(device), "cudaSetDevice");
  }
  ~OnDevice() { (void)cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // so that the next call does not report it again
  const std::string text = std::string(what) + ": " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfDeviceMemory(text);
  throw CudaError(text);
}

cudaStream_t stream_of(const Context& ctx) {
  return static_cast<cudaStream_t>(ctx.gpu->stream());
}

int gpu_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return count;
}

std::string gpu_absence() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return "";
  (void)cudaGetLastError();
  return status == cudaSuccess ? "CUDA finds no GPU"
                               : std::string("CUDA finds no GPU (") + cudaGetErrorString(status) + ")";
}

void* device_allocate(std::size_t bytes, int device) {
  const OnDevice on(device);
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    std::size_t free = 0, total = 0;
    (void)cudaMemGetInfo(&free, &total);
    throw OutOfDeviceMemory("GPU " + std::to_string(device) + " is out of memory: " + mebibytes(bytes) +
                            " were asked for, " + mebibytes(free) + " of " + mebibytes(total) + " are free");
  }
  check(status, "cudaMalloc");
  return memory;
}

void device_free(void* memory, int device) noexcept {
  int before = 0;
  (void)cudaGetDevice(&before);
  (void)cudaSetDevice(device);
  (void)cudaFree(memory);
  (void)cudaSetDevice(before);
}

void upload(void* to, const void* from, std::size_t bytes, int device) {
  const OnDevice on(device);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

void download(void* to, const void* from, std::size_t bytes, int device) {
  const OnDevice on(device);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
}

Runtime::Runtime(int index) : index_(index) {
  const int count = gpu_count();
  if (index < 0 || index >= count) {
    throw CudaError(count == 0 ? gpu_absence()
                               : "there is no GPU " + std::to_string(index) + "; CUDA numbers them 0 to " +
                                     std::to_string(count - 1));
  }
  make_current();
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  multiprocessors_ = properties.multiProcessorCount;
  capability_ = properties.major * 10 + properties.minor;
  if (capability_ < 80) {
    throw CudaError("GPU " + std::to_string(index) + " (" + properties.name + ") has compute capability " +
                    std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                    "; hylas needs 8.0 (Ampere) or later");
  }
  require_code();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  stream_ = stream;
  gemm_ = std::make_unique<Gemm>(*this);
}

Runtime::~Runtime() {
  gemm_.reset();
  (void)cudaStreamDestroy(static_cast<cudaStream_t>(stream_));
}

GpuInfo Runtime::info() const {
  const OnDevice on(index_);
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index_), "cudaGetDeviceProperties");
  GpuInfo info{.name = properties.name, .capability = capability_, .multiprocessors = multiprocessors_};
  check(cudaMemGetInfo(&info.free_bytes, &info.total_bytes), "cudaMemGetInfo");
  return info;
}

bool Runtime::hopper() const {
#if defined(HYLAS_HAS_SM90A)
  return capability_ == 90;
#else
  return false;
#endif
}

std::size_t Runtime::workspace_bytes() const {
  return gemm_->workspace_bytes();
}

void Runtime::make_current() const {
  check(cudaSetDevice(index_), "cudaSetDevice");
}

void Runtime::synchronize() const {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream_)), "cudaStreamSynchronize");
}

}  // namespace hylas::kernels::cuda
