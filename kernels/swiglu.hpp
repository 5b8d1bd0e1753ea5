// swiglu: out = silu(gate) * up, and its gradient.
//
//   gate_up [P, ..., 2 f]: gate in the first f columns, up in the last f   out [P, ..., f]
//
// backward writes dgate_up and, where act is given, the forward pass's out again. Source: GLU variants, arXiv
// 2002.05202.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

void swiglu_forward(Context& ctx, const Tensor& gate_up, const Tensor& out);
void swiglu_backward(Context& ctx, const Tensor& dout, const Tensor& gate_up, const Tensor& dgate_up,
                     const Tensor& act = {});

}  // namespace hylas::kernels
