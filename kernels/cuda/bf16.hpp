// Makes __nv_bfloat16 the element type of DType::bf16, so that Tensor::trial<__nv_bfloat16>() works.
#pragma once

#include <cuda_bf16.h>

#include "kernels/tensor.hpp"

namespace hylas::kernels {

template <>
struct dtype_of<__nv_bfloat16> {
  static constexpr DType value = DType::bf16;
};

}  // namespace hylas::kernels
