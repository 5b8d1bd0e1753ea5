// Check: what every CPU operator does first: is the device this build's, and are dtypes and shapes what the header
// says?
//
// Errors: std::runtime_error for a device this build cannot use, std::invalid_argument for a wrong tensor. Both name
// the operator, the tensor, what was expected and what was given.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "kernels/context.hpp"

namespace hylas::kernels::cpu {

class Check {
 public:
  // Throws when ctx is not on the CPU: this build has no CUDA.
  Check(const Context& ctx, const char* op);

  // Exactly these dims and this dtype; in `dims`, `any` stands for every length.
  static constexpr std::int64_t any = -1;
  const Check& tensor(const char* name, const Tensor& t, DType dtype, std::initializer_list<std::int64_t> dims) const;
  // trials x rows x columns, with the rows spread over any number of dims (or none: one row).
  const Check& rows(const char* name, const Tensor& t, DType dtype, std::int64_t trials, std::int64_t rows,
                    std::int64_t columns) const;
  const Check& require(bool holds, const std::string& what) const;

  // Calls f(float{}) or f(double{}) after the dtype of t: the one place where a dtype becomes a type.
  template <class F>
  void by_dtype(const char* name, const Tensor& t, F&& f) const {
    floating(name, t);
    if (t.dtype() == DType::f32) {
      std::forward<F>(f)(float{});
    } else {
      std::forward<F>(f)(double{});
    }
  }

 private:
  void floating(const char* name, const Tensor& t) const;
  [[noreturn]] void fail(const std::string& what) const;
  void place(const char* name, const Tensor& t, DType dtype) const;

  const char* op_;
};

// [P, B, T, d] as text, for messages.
std::string describe(const Tensor& t);

}  // namespace hylas::kernels::cpu
