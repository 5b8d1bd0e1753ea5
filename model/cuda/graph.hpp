// StepGraph: a sequence of launches recorded once as a CUDA graph and replayed with one call.
//
// The first run is done as it is, so that everything lazy (modules, plans) is in place; the second is recorded; from
// then on the recording is replayed. forget() starts over: after a change of what is launched, or of the memory it
// uses.
#pragma once

#include <functional>

#include "kernels/context.hpp"

namespace hylas::model::cuda {

class StepGraph {
 public:
  StepGraph() = default;
  ~StepGraph() { forget(); }
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // `enqueue` puts its work on the Context's stream and waits for nothing. Throws kernels::cuda::CudaError.
  void run(kernels::Context& ctx, const std::function<void()>& enqueue);
  void forget();

 private:
  bool warm_ = false;
  void* executable_ = nullptr;  // a cudaGraphExec_t
};

}  // namespace hylas::model::cuda
