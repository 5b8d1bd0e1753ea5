// What the tests of the products on the GPU share: the two sides, CPU and GPU, behind one interface, limits of errors,
// the promise that a trial's bits are its own, and sizes. In a namespace of its own: other tests have other limits.
#pragma once

#include <cmath>
#include <vector>

#include "tests/kernels/cuda_support.hpp"

namespace hylas::test::products {

inline constexpr double kEps = 1e-6;
inline constexpr double kF32 = 1e-5;  // between two devices that both sum in fp32
inline constexpr double kOnce =
    3e-3;  // results that are rounded to bf16 once: 2^-8 / sqrt(3) as a norm, more for a few
inline constexpr double kThrough = 1e-2;     // with intermediate results in bf16
inline constexpr double kFewRounded = 4e-3;  // kOnce where a handful of numbers make the norm

using Results = std::vector<Trials>;

// Where an operator runs: in() has values, out() is poisoned; the dtype counts on a GPU only.
struct OnCpu {
  Context ctx;

  Memory<float> in(DType /*type*/, std::initializer_list<std::int64_t> dims, const Trials& v, std::size_t first) {
    return {dims, 16, v, first};
  }
  Memory<float> out(DType /*type*/, std::initializer_list<std::int64_t> dims) { return {dims, 16}; }
  Memory<std::int32_t> in(std::initializer_list<std::int64_t> dims, const std::vector<Ints>& v, std::size_t first) {
    return {dims, 16, v, first};
  }
  Memory<std::int32_t> out(std::initializer_list<std::int64_t> dims) { return {dims, 16}; }
};

struct OnGpu {
  Gpu& gpu;
  Context& ctx = gpu.ctx;

  DeviceTensor in(DType type, std::initializer_list<std::int64_t> dims, const Trials& v, std::size_t first) {
    return {type, dims, v, first};
  }
  DeviceTensor out(DType type, std::initializer_list<std::int64_t> dims) { return {type, dims}; }
  DeviceTensor in(std::initializer_list<std::int64_t> dims, const std::vector<Ints>& v, std::size_t first) {
    return {DType::i32, dims, v, first};
  }
  DeviceTensor out(std::initializer_list<std::int64_t> dims) { return {DType::i32, dims}; }
};

template <class Out>
Trials read(const Out& out) {
  out.check_fences();
  Trials trials;
  for (const auto& v : out.all()) trials.emplace_back(v.begin(), v.end());
  return trials;
}

inline void spoil(Trials& values) {
  values.at(1).assign(values[1].size(), std::numeric_limits<double>::quiet_NaN());
}

inline Vector sum(Vector a, const Vector& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// The trials of `got` are those that run(side, first, count) gives for one alone; the first and the last are looked at.
template <class Run>
void check_alone(OnGpu& side, const Results& got, std::int64_t trials, const Run& run) {
  if (trials == 1) return;
  for (const std::int64_t p : {std::int64_t{0}, trials - 1}) {
    const Results alone = run(side, at(p), 1);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(p, i);
      CHECK(same_bits(got[i][at(p)], alone[i][0]));
    }
  }
}

// After trial 1 was spoilt: the others as they were.
template <class Run>
void check_neighbours(OnGpu& side, const Results& got, std::int64_t trials, const Run& run) {
  const Results spoilt = run(side, 0, trials);
  for (std::size_t i = 0; i < got.size(); ++i) {
    for (std::int64_t p = 0; p < trials; p += 2) {
      CAPTURE(p, i);
      CHECK(same_bits(got[i][at(p)], spoilt[i][at(p)]));
    }
  }
}

inline void check_errors(const Results& got, const Results& want, const std::vector<double>& limits) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    REQUIRE(got[i].size() == want[i].size());
    for (std::size_t p = 0; p < got[i].size(); ++p) {
      CAPTURE(i, p);
      CHECK(error(got[i][p], want[i][p]) < limits[i]);
    }
  }
}

struct Size {
  std::int64_t trials, batch, length, in, out;
  [[nodiscard]] std::int64_t rows() const { return batch * length; }
};

inline const std::vector<Size> kSmall{{1, 1, 1, 32, 40},  {3, 1, 7, 40, 33},  {1, 1, 7, 64, 128},
                                      {3, 3, 11, 96, 64}, {1, 2, 20, 33, 17}, {32, 1, 7, 32, 64}};
inline const std::vector<Size> kLarge{{1, 1, 513, 32, 128}, {3, 1, 513, 40, 33},   {1, 1, 513, 64, 192},
                                      {1, 3, 171, 96, 100}, {3, 1, 171, 128, 384}, {1, 1, 130, 256, 768},
                                      {1, 1, 1, 512, 512},  {1, 1, 257, 512, 128}, {32, 1, 65, 64, 128},
                                      {32, 1, 7, 128, 384}, {3, 1, 7, 512, 512}};

inline DType both() {
  return GENERATE(DType::f32, DType::bf16);
}

}  // namespace hylas::test::products
