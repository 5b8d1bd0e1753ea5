// Tensor: a view (pointer, dtype, dims, device) on memory that somebody else owns. It never allocates or frees.
//
// Every tensor of a proxy carries a leading trial dimension P = dim(0): parameters [P, out, in], activations
// [P, B, T, d]. Within one trial the elements are contiguous, row-major; from one trial to the next lie trial_stride()
// elements, so that the parameters of a trial can be one contiguous block although each parameter tensor is a view over
// all trials.
//
// Units: dims and strides count elements. Errors: bad casts throw std::logic_error (they are bugs, not bad input).
// Thread-safety: as a pointer; views may be copied freely.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>

namespace hylas::kernels {

enum class DType : std::uint8_t { f32, f64, bf16, i32 };
enum class DeviceKind : std::uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

template <class T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct dtype_of<std::int32_t> {
  static constexpr DType value = DType::i32;
};

[[nodiscard]] constexpr std::int64_t size_of(DType t) {
  switch (t) {
    case DType::f64: return 8;
    case DType::bf16: return 2;
    case DType::f32:
    case DType::i32: return 4;
  }
  return 0;
}

class Tensor {
 public:
  static constexpr int max_rank = 5;

  Tensor() = default;  // the absent tensor: defined() is false
  Tensor(void* data, DType dtype, std::initializer_list<std::int64_t> dims, Device device = {})
      : data_(data), dtype_(dtype), device_(device), rank_(static_cast<int>(dims.size())) {
    if (rank_ < 1 || rank_ > max_rank) throw std::logic_error("Tensor: rank must be 1..5");
    int i = 0;
    for (auto d : dims) dims_[static_cast<std::size_t>(i++)] = d;
    trial_stride_ = trial_size();
  }
  template <class T>
  static Tensor of(T* data, std::initializer_list<std::int64_t> dims) {
    return Tensor(const_cast<std::remove_const_t<T>*>(data), dtype_of<std::remove_const_t<T>>::value, dims);
  }

  [[nodiscard]] bool defined() const { return data_ != nullptr; }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] Device device() const { return device_; }
  [[nodiscard]] int rank() const { return rank_; }
  // i may be negative: dim(-1) is the last one.
  [[nodiscard]] std::int64_t dim(int i) const { return dims_[static_cast<std::size_t>(i < 0 ? rank_ + i : i)]; }
  [[nodiscard]] std::int64_t trials() const { return dims_[0]; }
  // Elements of one trial: the product of all dims but the first.
  [[nodiscard]] std::int64_t trial_size() const {
    std::int64_t n = 1;
    for (int i = 1; i < rank_; ++i) n *= dims_[static_cast<std::size_t>(i)];
    return n;
  }
  [[nodiscard]] std::int64_t size() const { return trials() * trial_size(); }
  // Rows of one trial when the last dimension is taken as columns, e.g. B*T for [P, B, T, d].
  [[nodiscard]] std::int64_t trial_rows() const { return rank_ < 2 || dim(-1) == 0 ? 1 : trial_size() / dim(-1); }
  [[nodiscard]] std::int64_t trial_stride() const { return trial_stride_; }
  Tensor& set_trial_stride(std::int64_t s) {
    trial_stride_ = s;
    return *this;
  }

  // The memory of trial p as T; throws std::logic_error when T is not the dtype.
  template <class T>
  [[nodiscard]] T* trial(std::int64_t p = 0) const {
    if (dtype_of<T>::value != dtype_) throw std::logic_error("Tensor: read with another dtype than it was made with");
    return static_cast<T*>(data_) + p * trial_stride_;
  }
  [[nodiscard]] void* data() const { return data_; }
  // The view of `count` trials from p on.
  [[nodiscard]] Tensor trials_from(std::int64_t p, std::int64_t count) const {
    Tensor t = *this;
    t.data_ = static_cast<char*>(data_) + p * trial_stride_ * size_of(dtype_);
    t.dims_[0] = count;
    return t;
  }

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::f32;
  Device device_;
  int rank_ = 0;
  std::array<std::int64_t, max_rank> dims_{};
  std::int64_t trial_stride_ = 0;
};

}  // namespace hylas::kernels
