// Checks of the CPU operators' arguments.
#include "kernels/cpu/check.hpp"

#include <stdexcept>

namespace hylas::kernels::cpu {

namespace {

const char* name_of(DType t) {
  switch (t) {
    case DType::f32: return "f32";
    case DType::f64: return "f64";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
  }
  return "?";
}

template <class Dims>
std::string list(const Dims& dims) {
  std::string text = "[";
  for (auto d : dims) {
    if (text.size() > 1) text += ", ";
    text += d == Check::any ? "any" : std::to_string(d);
  }
  return text + "]";
}

}  // namespace

std::string describe(const Tensor& t) {
  if (!t.defined()) return "absent";
  std::string text = name_of(t.dtype());
  text += " [";
  for (int i = 0; i < t.rank(); ++i) text += (i > 0 ? ", " : "") + std::to_string(t.dim(i));
  return text + "]";
}

Check::Check(const Context& ctx, const char* op) : op_(op) {
  if (ctx.device.kind != DeviceKind::cpu) {
    throw std::runtime_error(
        std::string(op) + ": asked to run on cuda:" + std::to_string(ctx.device.index) +
        ", but this build has no CUDA; use the device cpu, or build hylas where nvcc is installed");
  }
}

void Check::fail(const std::string& what) const {
  throw std::invalid_argument(std::string(op_) + ": " + what);
}

void Check::place(const char* name, const Tensor& t, DType dtype) const {
  if (!t.defined()) fail(std::string(name) + " is absent");
  if (t.device().kind != DeviceKind::cpu) fail(std::string(name) + " is not in the memory of the CPU");
  if (t.dtype() != dtype) fail(std::string(name) + " should be " + name_of(dtype) + ", is " + describe(t));
}

void Check::floating(const char* name, const Tensor& t) const {
  if (!t.defined()) fail(std::string(name) + " is absent");
  if (t.dtype() != DType::f32 && t.dtype() != DType::f64) {
    fail(std::string(name) + " should be f32 or f64 on the CPU, is " + describe(t));
  }
}

const Check& Check::tensor(const char* name, const Tensor& t, DType dtype,
                           std::initializer_list<std::int64_t> dims) const {
  place(name, t, dtype);
  bool same = t.rank() == static_cast<int>(dims.size());
  int i = 0;
  for (auto d : dims) {
    same = same && (d == any || t.dim(i) == d);
    ++i;
  }
  if (!same) fail(std::string(name) + " should be " + list(dims) + ", is " + describe(t));
  return *this;
}

const Check& Check::rows(const char* name, const Tensor& t, DType dtype, std::int64_t trials, std::int64_t rows,
                         std::int64_t columns) const {
  place(name, t, dtype);
  const bool same = t.rank() >= 2 && t.trials() == trials && t.dim(-1) == columns && t.trial_rows() == rows;
  if (!same) {
    fail(std::string(name) + " should be " + std::to_string(trials) + " trials of " + std::to_string(rows) +
         " rows of " + std::to_string(columns) + ", is " + describe(t));
  }
  return *this;
}

const Check& Check::require(bool holds, const std::string& what) const {
  if (!holds) fail(what);
  return *this;
}

}  // namespace hylas::kernels::cpu
