// Timing of single operators on a GPU, for the hidden cases that print speeds.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "tests/kernels/cuda_support.hpp"

namespace hylas::test {

// The median of 15 times 6 launches, in milliseconds.
template <class Launch>
double median_ms(const Gpu& gpu, const Launch& launch) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < 3; ++i) launch();
  gpu.runtime.synchronize();
  std::vector<double> ms;
  for (int repeat = 0; repeat < 15; ++repeat) {
    const auto start = Clock::now();
    for (int i = 0; i < 6; ++i) launch();
    gpu.runtime.synchronize();
    ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count() / 6);
  }
  std::sort(ms.begin(), ms.end());
  return ms[ms.size() / 2];
}

}  // namespace hylas::test
