// What runtime.cpp and streams.cpp share.
#pragma once

#include "cuda_runtime.h"
#include "tests/emulator/emulator.hpp"

namespace hylas::emulator {

// Keeps an error for cudaGetLastError and returns it.
cudaError_t report(cudaError_t error);

// Whether a stream of this host thread is captured now: allocations, waits and synchronous copies are refused then.
bool forbidden();

}  // namespace hylas::emulator
