// What the tests of the bandwidth-bound operators on the GPU share: limits of errors, and the promise that a trial's
// bits are its own.
#pragma once

#include <array>

#include "tests/kernels/cuda_support.hpp"

namespace hylas::test {

inline constexpr std::int64_t trials = 3;

// The largest error of results of dtype t that were computed in f32: a few roundings, then one to bf16 (2^-8 at most,
// 2^-8 / sqrt(3) as a norm of many; where a few elements make the norm, n is their number).
inline double limit(DType t, std::int64_t n) {
  if (n < 5000) return t == DType::bf16 ? 4e-3 : 4e-6;
  return t == DType::bf16 ? 2.2e-3 : 2e-6;
}

inline Vector sum(const Vector& a, const Vector& b) {
  Vector c = a;
  for (std::size_t i = 0; i < c.size(); ++i) c[i] += b[i];
  return c;
}

// All results of trials together are those of each alone.
template <std::size_t n, class Run>
void check_alone(const std::array<Trials, n>& all, const Run& run) {
  for (std::size_t p = 0; p < trials; ++p) {
    const std::array<Trials, n> alone = run(p, 1, 128);
    for (std::size_t i = 0; i < n; ++i) CHECK(same_bits(all[i][p], alone[i][0]));
  }
}

// The same for one trial full of NaN: its neighbours keep their bits.
template <std::size_t n>
void check_neighbours(const std::array<Trials, n>& whole, const std::array<Trials, n>& with_nan) {
  for (std::size_t i = 0; i < n; ++i) {
    CHECK(same_bits(whole[i][0], with_nan[i][0]));
    CHECK(same_bits(whole[i][2], with_nan[i][2]));
  }
}
inline void spoil(Trials& values) {
  values[1].assign(values[1].size(), std::numeric_limits<double>::quiet_NaN());
}

using Shapes = std::vector<std::array<std::int64_t, 3>>;

inline DType both() {
  return GENERATE(DType::f32, DType::bf16);
}

}  // namespace hylas::test
