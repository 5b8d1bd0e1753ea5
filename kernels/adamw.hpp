// adamw: the gradient norm per trial and the AdamW update, on flat parameter blocks.
//
//   params, grads, m, v [P, N]: all parameters of a trial in one block (views of kernels/tensor.hpp reach into it)
//   decay_mask: the leading `decay_count` elements of each block are matrices and get weight decay, the rest do not
//   lr, weight_decay, clip_scale, step [P] (f32/f64 like params; step i32, 1 at the first update)
//
//   grad_norm: norm [P] = sqrt(sum of squares), accumulated in double in a fixed order
//   update:    g = clip_scale * grad;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//              p -= lr * ( mhat / (sqrt(vhat) + eps) + weight_decay * p [matrices only] ),  hats are bias-corrected
//
// copy [P, N] bf16 (absent on the CPU) receives the new params, rounded; apply [P] i32, where given, is 0 for trials
// that are left entirely unchanged. clip_scale = min(1, max_norm / norm), computed by the caller. Source: arXiv
// 1711.05101, PyTorch's torch.optim.AdamW.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  std::int64_t decay_count = 0;
};

struct AdamWData {  // per trial, on the device
  Tensor lr, weight_decay, clip_scale;
  Tensor step;
};

void grad_norm(Context& ctx, const Tensor& grads, const Tensor& norm);
void adamw_update(Context& ctx, const AdamW& options, const AdamWData& data, const Tensor& params, const Tensor& grads,
                  const Tensor& m, const Tensor& v, const Tensor& copy = {}, const Tensor& apply = {});
// sum [P, N] += part [P, N]: the ordered sum of the gradients of batch chunks.
void add_into(Context& ctx, const Tensor& part, const Tensor& sum);

}  // namespace hylas::kernels
