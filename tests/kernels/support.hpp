// What the tests of the operators share: seeded inputs, tensors whose memory is poisoned and fenced, errors as norms.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <vector>

#include "kernels/context.hpp"
#include "tests/catch.hpp"
#include "tests/oracle/attention.hpp"
#include "tests/oracle/dense.hpp"

namespace hylas::test {

using kernels::Context;
using kernels::Tensor;
using oracle::Ints;
using oracle::Vector;
using Trials = std::vector<Vector>;  // one Vector a trial

inline std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  // Normal numbers, rounded to float so that both precisions see the same inputs.
  Vector normal(std::int64_t n, double sd = 1) {
    Vector v(static_cast<std::size_t>(n));
    std::normal_distribution<double> d(0, sd);
    for (double& x : v) x = static_cast<double>(static_cast<float>(d(engine_)));
    return v;
  }
  Trials trials(std::int64_t p, std::int64_t n, double sd = 1) {
    Trials t;
    for (std::int64_t i = 0; i < p; ++i) t.push_back(normal(n, sd));
    return t;
  }
  Ints integers(std::int64_t n, int low, int high) {  // low..high, both included
    Ints v(static_cast<std::size_t>(n));
    std::uniform_int_distribution<int> d(low, high);
    for (auto& x : v) x = d(engine_);
    return v;
  }

 private:
  std::mt19937_64 engine_;
};

// A tensor's memory: trials lie `gap` elements apart, everything is NaN (the most negative number for int32) before it
// is set, and check_fences() says whether something was written between the trials.
template <class T>
class Memory {
 public:
  Memory(std::initializer_list<std::int64_t> dims, std::int64_t gap) {
    trials_ = *dims.begin();
    size_ = 1;
    for (auto d : dims) size_ *= d;
    size_ /= trials_;
    stride_ = size_ + gap;
    data_.assign(static_cast<std::size_t>(gap + trials_ * stride_), poison());
    tensor_ = Tensor::of(data_.data() + gap, dims);
    tensor_.set_trial_stride(stride_);
    gap_ = gap;
  }
  // With the values of trials first, first + 1, ... of `from`.
  template <class Source = Vector>
  Memory(std::initializer_list<std::int64_t> dims, std::int64_t gap, const std::vector<Source>& from, std::size_t first)
      : Memory(dims, gap) {
    for (std::int64_t p = 0; p < trials_; ++p) {
      const auto& values = from[first + static_cast<std::size_t>(p)];
      REQUIRE(static_cast<std::int64_t>(values.size()) == size_);
      for (std::int64_t i = 0; i < size_; ++i) {
        tensor_.template trial<T>(p)[i] = static_cast<T>(values[static_cast<std::size_t>(i)]);
      }
    }
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  operator const Tensor&() const { return tensor_; }  // NOLINT: stands in for its tensor
  [[nodiscard]] const Tensor& tensor() const { return tensor_; }
  [[nodiscard]] std::vector<T> values(std::int64_t p) const {
    const T* begin = tensor_.template trial<T>(p);
    return std::vector<T>(begin, begin + size_);
  }
  [[nodiscard]] std::vector<std::vector<T>> all() const {
    std::vector<std::vector<T>> v;
    for (std::int64_t p = 0; p < trials_; ++p) v.push_back(values(p));
    return v;
  }
  void check_fences() const {
    bool whole = true;
    for (std::int64_t p = 0; p <= trials_; ++p) {
      for (std::int64_t i = 0; i < gap_; ++i) {
        whole = whole && is_poison(data_[static_cast<std::size_t>(p * stride_ + i)]);
      }
    }
    CHECK(whole);
  }

 private:
  static T poison() {
    if constexpr (std::numeric_limits<T>::has_quiet_NaN) return std::numeric_limits<T>::quiet_NaN();
    return std::numeric_limits<T>::min();
  }
  static bool is_poison(T x) {
    if constexpr (std::numeric_limits<T>::has_quiet_NaN) return std::isnan(x);
    return x == std::numeric_limits<T>::min();
  }
  std::int64_t trials_ = 0, size_ = 0, stride_ = 0, gap_ = 0;
  std::vector<T> data_;
  Tensor tensor_;
};

// |a - b| / |b|; infinite when something is not a number; |a| where b is zero.
template <class T>
double error(const std::vector<T>& a, const Vector& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += b[i] * b[i];
  }
  if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
  return std::sqrt(difference) / (norm > 0 ? std::sqrt(norm) : 1);
}

// Sums here have a few thousand terms at most; a rounding error grows like the root of that: 50 units in the last place
// leave a margin of about ten over what is seen.
template <class T>
constexpr double tolerance = sizeof(T) == 4 ? 3e-6 : 1e-13;

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

inline double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// |<gradient, direction> - (f(x + h direction) - f(x - h direction)) / 2h|, relative; for fp64 about 1e-9.
template <class F>
double difference_error(const F& f, const Vector& x, const Vector& gradient, const Vector& direction) {
  const double h = 1e-5;
  Vector up = x;
  Vector down = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    up[i] += h * direction[i];
    down[i] -= h * direction[i];
  }
  const double slope = (f(up) - f(down)) / (2 * h);
  return std::abs(slope - dot(gradient, direction)) / (std::abs(slope) + 1e-3);
}

// Both sets of hot loops: the machine's best and the build's own.
inline Context context(bool baseline) {
  Context ctx;
  ctx.baseline = baseline;
  return ctx;
}

}  // namespace hylas::test
