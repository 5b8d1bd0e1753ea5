// launch: how every kernel of this folder is started. A failed start throws; nothing is launched while a Context plans.
//
// Rules for the operators here: take outputs and scratch from ctx.arena (device memory) before the first launch, start
// kernels with launch() on the Context's stream only, never wait for the device, never allocate; then an operator can
// be planned (Context::planning), recorded into a CUDA graph, and replayed.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "kernels/context.hpp"
#include "kernels/cuda/runtime.hpp"

namespace hylas::kernels::cuda {

// Throws CudaError with the name of the call where `status` is not cudaSuccess.
void check(cudaError_t status, const char* what);
[[nodiscard]] cudaStream_t stream_of(const Context& ctx);

template <class... Parameters, class... Arguments>
void launch(Context& ctx, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            const Arguments&... arguments) {
  if (ctx.planning || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
          "cudaFuncSetAttribute");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream_of(ctx);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "cudaLaunchKernelEx");
}

}  // namespace hylas::kernels::cuda
