// What the cohort tests on a GPU share: the device, and whether it is a real one.
#pragma once

#include "model/cohort.hpp"
#include "tests/kernels/cuda_support.hpp"

namespace hylas::tests {

inline const model::CohortOptions kGpu{.device = "cuda"};

// A GPU, and not its emulator (tests/emulator/): for thousands of steps of whole models.
inline bool real_gpu_here() {
#ifdef HYLAS_EMULATED
  WARN("skipped: too long for the emulator");
  return false;
#else
  return test::gpu_here();
#endif
}

}  // namespace hylas::tests
