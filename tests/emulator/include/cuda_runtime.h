// Shadows the CUDA toolkit's cuda_runtime.h in the emulated build: the same names, for code compiled as plain C++.
//
// The types and the runtime functions keep their declarations in the toolkit's cuda_runtime_api.h; runtime.cpp defines
// the functions on host memory. What a kernel may call is in device_functions.hpp.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <functional>
#include <tuple>
#include <utility>

#include "tests/emulator/emulator.hpp"

#define HYLAS_EMULATED 1

// The keywords of CUDA C++ that mean something here; __global__, __device__ and their like expand to nothing. A shared
// variable lives once per host thread, hence once per block: one block of a host thread runs at a time.
#undef __shared__
#define __shared__ thread_local
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __forceinline__
#define __forceinline__ inline __attribute__((always_inline))

// The one dynamic shared array, wherever `extern __shared__ ... unsigned char shared_memory[];` stands in a function of
// these namespaces or of an unnamed one directly in them: the label makes them all the array of emulator.cpp.
#define HYLAS_EMULATED_SHARED_MEMORY \
  extern thread_local __align__(128) unsigned char shared_memory[] __asm__("hylas_emulator_shared_memory");
#define HYLAS_EMULATED_KERNELS_IN(space)   \
  namespace space {                        \
  HYLAS_EMULATED_SHARED_MEMORY namespace { \
    HYLAS_EMULATED_SHARED_MEMORY           \
  }                                        \
  }
HYLAS_EMULATED_KERNELS_IN(hylas)
HYLAS_EMULATED_KERNELS_IN(hylas::kernels::cuda)
HYLAS_EMULATED_KERNELS_IN(hylas::kernels::cuda::attention)
HYLAS_EMULATED_KERNELS_IN(hylas::kernels::cuda::fused)
HYLAS_EMULATED_KERNELS_IN(hylas::kernels::cuda::hopper)
HYLAS_EMULATED_KERNELS_IN(hylas::model)
HYLAS_EMULATED_KERNELS_IN(hylas::model::cuda)
HYLAS_EMULATED_KERNELS_IN(hylas::data)
HYLAS_EMULATED_KERNELS_IN(hylas::test)

extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;
inline constexpr int warpSize = 32;

namespace hylas::emulator {

// Starts a grid on a stream, or records it there; see cudaLaunchKernelEx.
cudaError_t start(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> thread);
// Host work in the order of a stream, as a library's kernels would be.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t blocks_per_multiprocessor(int* blocks, int threads, std::size_t shared_bytes);

}  // namespace hylas::emulator

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  std::tuple<std::decay_t<Parameters>...> copies(std::forward<Arguments>(arguments)...);
  return hylas::emulator::start(reinterpret_cast<const void*>(kernel), *config,
                                [kernel, copies = std::move(copies)] { std::apply(kernel, copies); });
}
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* /*attributes*/, Kernel* /*kernel*/) {
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
  return hylas::emulator::set_attribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel* /*kernel*/, int threads,
                                                          std::size_t shared_bytes) {
  return hylas::emulator::blocks_per_multiprocessor(blocks, threads, shared_bytes);
}
template <class T>
cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
  return ::cudaMalloc(reinterpret_cast<void**>(memory), bytes);
}
template <class T>
cudaError_t cudaMallocHost(T** memory, std::size_t bytes, unsigned /*flags*/ = 0) {
  return ::cudaMallocHost(reinterpret_cast<void**>(memory), bytes);
}
template <class T>
cudaError_t cudaHostAlloc(T** memory, std::size_t bytes, unsigned flags) {
  return ::cudaHostAlloc(reinterpret_cast<void**>(memory), bytes, flags);
}
template <class T>
cudaError_t cudaMallocAsync(T** memory, std::size_t bytes, cudaStream_t stream) {
  return ::cudaMallocAsync(reinterpret_cast<void**>(memory), bytes, stream);
}

#include "device_functions.hpp"  // last: what kernels call
#include "device_math.hpp"
