// Context: what an operator needs besides its tensors: the device it runs on and the arena its scratch comes from.
//
// One Context belongs to one thread at a time. On the CPU an operator runs on the calling thread only; parallelism over
// trials and batch chunks is one level up (kernels/parallel.hpp), each thread with a Context of its own. On a GPU an
// operator is enqueued on the Runtime's stream and returns at once.
#pragma once

#include "kernels/arena.hpp"
#include "kernels/tensor.hpp"

namespace hylas::kernels {

namespace cuda {
class Runtime;
}

struct Context {
  Device device;
  Arena arena;  // activations of a step, and the operators' scratch between mark() and rewind(); memory of `device`
  // Keep to what every machine has where this one could do more: AVX-512 on the CPU, Hopper's attention on a GPU.
  bool baseline = false;
  // On a GPU: operators take what they need from the arena and launch nothing, so that the arena learns how much a step
  // needs before any of it is allocated (Arena::planner()).
  bool planning = false;
  cuda::Runtime* gpu = nullptr;  // set where device.kind is cuda
};

}  // namespace hylas::kernels
