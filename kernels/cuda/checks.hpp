// Checks: what the element-wise and row operators of this folder do on the host before they launch: dtypes, sizes,
// alignment. Errors: std::invalid_argument naming the operator and the tensor.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/cpu/check.hpp"
#include "kernels/tensor.hpp"

namespace hylas::kernels::cuda {

class Checks {
 public:
  explicit Checks(const char* op) : op_(op) {}

  const Checks& require(bool holds, const std::string& what) const {
    if (!holds) throw std::invalid_argument(std::string(op_) + ": " + what);
    return *this;
  }
  // Activations: f32 or bf16.
  const Checks& floating(const char* name, const Tensor& t) const {
    return require(t.defined() && (t.dtype() == DType::f32 || t.dtype() == DType::bf16),
                   std::string(name) + " should be f32 or bf16 on a GPU, is " + cpu::describe(t));
  }
  // `trials` trials of `size` elements, in any number of dims.
  const Checks& sized(const char* name, const Tensor& t, DType dtype, std::int64_t trials, std::int64_t size) const {
    return require(t.defined() && t.dtype() == dtype && t.trials() == trials && t.trial_size() == size,
                   std::string(name) + " should be " + std::to_string(trials) + " trials of " + std::to_string(size) +
                       " elements of dtype " + std::to_string(static_cast<int>(dtype)) + ", is " + cpu::describe(t));
  }
  // `trials` trials of `rows` rows of `columns`, the rows in any number of dims.
  const Checks& rows(const char* name, const Tensor& t, DType dtype, std::int64_t trials, std::int64_t rows,
                     std::int64_t columns) const {
    sized(name, t, dtype, trials, rows * columns);
    return require(t.dim(-1) == columns, std::string(name) + " should have rows of " + std::to_string(columns) +
                                             " elements, is " + cpu::describe(t));
  }

 private:
  const char* op_;
};

// Whether every trial of t begins at a multiple of `bytes` (a power of two); true of an absent tensor.
inline bool aligned(const Tensor& t, std::int64_t bytes) {
  if (!t.defined()) return true;
  const auto mask = static_cast<std::uintptr_t>(bytes - 1);
  const auto stride = static_cast<std::uintptr_t>(t.trial_stride() * size_of(t.dtype()));
  return (reinterpret_cast<std::uintptr_t>(t.data()) & mask) == 0 && (t.trials() == 1 || (stride & mask) == 0);
}

inline unsigned blocks_for(std::int64_t items, std::int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

template <class T>
T* data_of(const Tensor& t) {  // null where t is absent
  return static_cast<T*>(t.data());
}

}  // namespace hylas::kernels::cuda
