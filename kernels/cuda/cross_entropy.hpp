// Softmax cross-entropy on rows of logits: what linear_cross_entropy does between its products.
//
//   logits [P, R, V] bf16 or f32   targets [P, R] i32, a target < 0 is not scored   loss [P, R] f32
//
// All may be views with a trial stride of their own. Sums are fp32; a row's bits depend on that row only. A NaN among a
// row's logits makes its loss and gradient NaN. Errors: std::invalid_argument.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels::cuda {

// loss = logsumexp(logits) - logits[target], 0 where not scored; logits become scale * (softmax - onehot), rows of 0
// where not scored.
void softmax_loss_rows(Context& ctx, const Tensor& logits, const Tensor& targets, double scale, const Tensor& loss);
// The same loss, and predicted [P, R] i32: the arg max, the lowest index among equals; -1 where not scored.
void argmax_loss_rows(Context& ctx, const Tensor& logits, const Tensor& targets, const Tensor& loss,
                      const Tensor& predicted);

}  // namespace hylas::kernels::cuda
