// linear_cross_entropy: the head and the loss in one, in chunks of rows, so that logits are never whole in memory.
//
//   h [P, B, T, d]   head [P, V, d]   targets [P, B, T] i32; a target < 0 is not scored
//   loss [P, B, T]: -ln softmax(head h)[target], 0 where not scored
//
// train: also dh = scale * d(sum of losses)/dh (written) and dhead += scale * d(sum of losses)/dhead.
// eval: also predicted [P, B, T] i32, the arg max of the logits (the lowest index among equals) at scored positions, -1
// elsewhere.
// most_targets: no sequence has more scored positions than that; 0 for any number. Positions that are not scored cost
// no products on the CPU; on a GPU, whose shapes must be known before the targets are, where 2 most_targets <= T: there
// the products take most_targets rows of each sequence. A caller whose sequence has more gets NaN as the loss of those
// beyond (on a GPU; the CPU does not read most_targets).
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

void linear_cross_entropy_train(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets, double scale,
                                const Tensor& loss, const Tensor& dh, const Tensor& dhead,
                                std::int64_t most_targets = 0);
void linear_cross_entropy_eval(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets,
                               const Tensor& loss, const Tensor& predicted, std::int64_t most_targets = 0);

}  // namespace hylas::kernels
