// embed: x[b, t] = table[tokens[b, t]], and the gradient of the table.
//
//   table [P, V, d]   tokens [P, B, T] i32, 0 <= token < V (an assert; the data layer guarantees it)   x [P, B, T, d]
//
// backward: dtable[tokens[b, t]] += dx[b, t], in the order of (b, t).
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

void embed_forward(Context& ctx, const Tensor& table, const Tensor& tokens, const Tensor& x);
void embed_backward(Context& ctx, const Tensor& dx, const Tensor& tokens, const Tensor& dtable);

}  // namespace hylas::kernels
