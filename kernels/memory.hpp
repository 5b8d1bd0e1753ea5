// zero, copy, cast: what moves tensors without computing.
//
//   zero: every element of t becomes 0.   copy: from and to have one dtype and equal sizes; the strides between trials
//   may differ.   cast: f32 to bf16 (round to nearest even), on a GPU only.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

void zero(Context& ctx, const Tensor& t);
void copy(Context& ctx, const Tensor& from, const Tensor& to);
void cast(Context& ctx, const Tensor& from, const Tensor& to);

}  // namespace hylas::kernels
