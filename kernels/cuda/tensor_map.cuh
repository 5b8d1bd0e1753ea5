// The driver's cuTensorMapEncodeTiled, which describes a tensor to Hopper's copy engine. Found at run time: nothing
// here links to libcuda.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {

using EncodeTensorMap = decltype(&cuTensorMapEncodeTiled);

// Throws CudaError where the driver is older than CUDA 12.
inline EncodeTensorMap tensor_map_encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const char* name = "cuTensorMapEncodeTiled";
#if CUDART_VERSION >= 12050
    check(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &result), name);
#else
    check(cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &result), name);
#endif
    if (result != cudaDriverEntryPointSuccess || function == nullptr) {
      throw CudaError("the driver offers no cuTensorMapEncodeTiled; it should be of CUDA 12 or later");
    }
    return reinterpret_cast<EncodeTensorMap>(function);
  }();
  return found;
}

}  // namespace hylas::kernels::cuda
