// What the tests of the CUDA operators share: a Context of the first GPU and tensors in its memory, poisoned and fenced
// like Memory of support.hpp, filled from and read back as doubles whatever their dtype.
//
// Thread-safety: none. Every upload and download waits for the device. Tests begin with `if (!gpu_here()) return;`.
#pragma once

#include <cuda_runtime_api.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/context.hpp"
#include "kernels/cuda/runtime.hpp"
#include "tests/kernels/support.hpp"

namespace hylas::test {

using kernels::DType;

// Whether there is a GPU to test on; says why where there is none.
inline bool gpu_here() {
  if (kernels::cuda::gpu_count() > 0) return true;
  WARN("skipped: " << kernels::cuda::gpu_absence());
  return false;
}

// The first GPU with a Runtime and a Context of its own.
struct Gpu {
  kernels::cuda::Runtime runtime{0};
  Context ctx;

  Gpu() {
    ctx.device = {kernels::DeviceKind::cuda, 0};
    ctx.gpu = &runtime;
    ctx.arena = kernels::Arena(ctx.device);
  }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;
};

inline void cuda_ok(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

// bf16 as its 16 bits, rounded to nearest even.
inline std::uint16_t to_bf16(double x) {
  const auto value = static_cast<float>(x);
  auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return 0x7fff;
  bits += 0x7fffU + ((bits >> 16) & 1U);
  return static_cast<std::uint16_t>(bits >> 16);
}
inline double from_bf16(std::uint16_t bits) {
  return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16));
}
inline Vector rounded_to_bf16(Vector v) {
  for (double& x : v) x = from_bf16(to_bf16(x));
  return v;
}
// What the device sees of v in a tensor of dtype t: the reference computes from this.
inline Vector as_seen(DType t, Vector v) {
  return t == DType::bf16 ? rounded_to_bf16(std::move(v)) : v;
}
inline Trials as_seen(DType t, Trials trials) {
  for (Vector& v : trials) v = as_seen(t, std::move(v));
  return trials;
}

// A tensor on the GPU, f32, f64, bf16 or i32. Trials lie `gap` elements apart (keep it a multiple of 64 where an
// operator asks for aligned trials); everything is NaN (for i32 the lowest number) until it is set.
class DeviceTensor {
 public:
  DeviceTensor(DType dtype, std::initializer_list<std::int64_t> dims, std::int64_t gap = 64) : dtype_(dtype) {
    trials_ = *dims.begin();
    size_ = 1;
    for (auto d : dims) size_ *= d;
    size_ /= trials_;
    stride_ = size_ + gap;
    gap_ = gap;
    bytes_ = static_cast<std::size_t>((gap + trials_ * stride_) * kernels::size_of(dtype));
    cuda_ok(cudaMalloc(&data_, bytes_ + 1), "cudaMalloc");
    poison();
    tensor_ =
        Tensor(static_cast<char*>(data_) + gap * kernels::size_of(dtype), dtype, dims, {kernels::DeviceKind::cuda, 0});
    tensor_.set_trial_stride(stride_);
  }
  // With the values of trials first, first + 1, ... of `from` (Trials or std::vector<Ints>).
  template <class Source>
  DeviceTensor(DType dtype, std::initializer_list<std::int64_t> dims, const std::vector<Source>& from,
               std::size_t first = 0, std::int64_t gap = 64)
      : DeviceTensor(dtype, dims, gap) {
    for (std::int64_t p = 0; p < trials_; ++p) set(p, from[first + at(p)]);
  }
  ~DeviceTensor() { cudaFree(data_); }
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  operator const Tensor&() const { return tensor_; }  // NOLINT: stands in for its tensor
  [[nodiscard]] const Tensor& tensor() const { return tensor_; }

  void poison() {
    cuda_ok(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const auto n = bytes_ / static_cast<std::size_t>(kernels::size_of(dtype_));
    std::vector<char> host(bytes_);
    for (std::size_t i = 0; i < n; ++i) put(host.data(), i, poison_value());
    to_device(data_, host);
  }
  // Sets the values of trial p (a Vector or Ints).
  template <class Source>
  void set(std::int64_t p, const Source& values) {
    REQUIRE(values.size() == at(size_));
    cuda_ok(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const auto bytes = at(size_ * kernels::size_of(dtype_));
    std::vector<char> host(bytes);
    for (std::size_t i = 0; i < values.size(); ++i) put(host.data(), i, static_cast<double>(values[i]));
    to_device(address(gap_ + p * stride_), host);
  }
  // Trial p, read back; waits for the device.
  [[nodiscard]] Vector values(std::int64_t p) const { return read(gap_ + p * stride_, size_); }
  [[nodiscard]] Trials all() const {
    Trials v;
    for (std::int64_t p = 0; p < trials_; ++p) v.push_back(values(p));
    return v;
  }
  // Checks that nothing was written between the trials.
  void check_fences() const {
    bool whole = true;
    for (std::int64_t p = 0; p <= trials_; ++p) {
      for (double x : read(p * stride_, gap_)) {
        whole = whole && (dtype_ == DType::i32 ? x == poison_value() : std::isnan(x));
      }
    }
    CHECK(whole);
  }

 private:
  // cudaMemcpy from pageable memory may return while the copy is on its way, and the tests' stream does not wait for
  // it.
  static void to_device(void* to, const std::vector<char>& host) {
    cuda_ok(cudaMemcpy(to, host.data(), host.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
    cuda_ok(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  [[nodiscard]] double poison_value() const {
    return dtype_ == DType::i32 ? static_cast<double>(std::numeric_limits<std::int32_t>::min())
                                : std::numeric_limits<double>::quiet_NaN();
  }
  [[nodiscard]] void* address(std::int64_t element) const {
    return static_cast<char*>(data_) + element * kernels::size_of(dtype_);
  }
  template <class T>
  static void put_as(char* host, std::size_t i, T x) {
    std::memcpy(host + i * sizeof(T), &x, sizeof(T));
  }
  template <class T>
  static T get_as(const char* host, std::size_t i) {
    T x;
    std::memcpy(&x, host + i * sizeof(T), sizeof(T));
    return x;
  }
  void put(char* host, std::size_t i, double x) const {
    switch (dtype_) {
      case DType::f32: put_as(host, i, static_cast<float>(x)); break;
      case DType::f64: put_as(host, i, x); break;
      case DType::bf16: put_as(host, i, to_bf16(x)); break;
      case DType::i32: put_as(host, i, static_cast<std::int32_t>(x)); break;
    }
  }
  [[nodiscard]] Vector read(std::int64_t first, std::int64_t n) const {
    cuda_ok(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const auto bytes = at(n * kernels::size_of(dtype_));
    std::vector<char> host(bytes);
    if (n > 0) cuda_ok(cudaMemcpy(host.data(), address(first), bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
    Vector v(at(n));
    for (std::size_t i = 0; i < v.size(); ++i) {
      switch (dtype_) {
        case DType::f32: v[i] = static_cast<double>(get_as<float>(host.data(), i)); break;
        case DType::f64: v[i] = get_as<double>(host.data(), i); break;
        case DType::bf16: v[i] = from_bf16(get_as<std::uint16_t>(host.data(), i)); break;
        case DType::i32: v[i] = static_cast<double>(get_as<std::int32_t>(host.data(), i)); break;
      }
    }
    return v;
  }

  DType dtype_;
  std::int64_t trials_ = 0, size_ = 0, stride_ = 0, gap_ = 0;
  std::size_t bytes_ = 0;
  void* data_ = nullptr;
  Tensor tensor_;
};

}  // namespace hylas::test
