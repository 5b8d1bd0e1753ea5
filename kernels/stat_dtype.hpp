// The dtype of statistics (log-sum-exps, inverse norms, losses) and of parameter gradients beside activations of a
// dtype.
#pragma once

#include "kernels/tensor.hpp"

namespace hylas::kernels {

[[nodiscard]] constexpr DType stat_dtype(DType activations) {
  return activations == DType::bf16 ? DType::f32 : activations;
}

}  // namespace hylas::kernels
