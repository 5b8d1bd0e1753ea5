// Recording and replaying CUDA graphs (see graph.hpp).
#include "model/cuda/graph.hpp"

#include <cuda_runtime.h>

#include "kernels/cuda/launch.cuh"

namespace hylas::model::cuda {

using kernels::cuda::check;
using kernels::cuda::stream_of;

void StepGraph::run(kernels::Context& ctx, const std::function<void()>& enqueue) {
  if (!warm_) {
    enqueue();
    warm_ = true;
    return;
  }
  cudaStream_t stream = stream_of(ctx);
  if (executable_ == nullptr) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      enqueue();
    } catch (...) {
      (void)cudaStreamEndCapture(stream, &graph);
      if (graph != nullptr) (void)cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
    executable_ = executable;
  }
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), stream), "cudaGraphLaunch");
}

void StepGraph::forget() {
  if (executable_ != nullptr) (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
  executable_ = nullptr;
  warm_ = false;
}

}  // namespace hylas::model::cuda
