// What stands in for kernels/cuda in a build without CUDA: there is no GPU, and asking for one says why.
#include "kernels/cuda/gemm.hpp"
#include "kernels/cuda/runtime.hpp"

namespace hylas::kernels::cuda {

int gpu_count() noexcept {
  return 0;
}

std::string gpu_absence() {
  return "this build has no CUDA (build hylas where nvcc of CUDA 12 or later is installed)";
}

void* device_allocate(std::size_t /*bytes*/, int /*device*/) {
  throw CudaError(gpu_absence());
}
void device_free(void* /*memory*/, int /*device*/) noexcept {}
void upload(void* /*to*/, const void* /*from*/, std::size_t /*bytes*/, int /*device*/) {
  throw CudaError(gpu_absence());
}
void download(void* /*to*/, const void* /*from*/, std::size_t /*bytes*/, int /*device*/) {
  throw CudaError(gpu_absence());
}

struct Gemm::Plans {};
Gemm::~Gemm() = default;

Runtime::Runtime(int index) : index_(index) {
  throw CudaError(gpu_absence());
}
Runtime::~Runtime() = default;
GpuInfo Runtime::info() const {
  return {};
}
bool Runtime::hopper() const {
  return false;
}
std::size_t Runtime::workspace_bytes() const {
  return 0;
}
void Runtime::make_current() const {}
void Runtime::synchronize() const {}

}  // namespace hylas::kernels::cuda
