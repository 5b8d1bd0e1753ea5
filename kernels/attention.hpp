// attention: causal softmax attention with a window and an optional sink per trial; never materialises T x T.
//
//   qkv    [P, B, T, (H + 2 Hkv) * hd]   (kernels/qkv_rope.hpp gives the order of heads)
//   window [P] i32 >= 1: query i sees keys max(0, i - W + 1) .. i; W >= T is full attention
//   sink   [P, H] or absent: a learned logit that joins the softmax denominator and carries no value
//   sink_on [P] i32 or absent: 0 means the trial's sink logit is -inf (it contributes nothing and gets no gradient)
//   out    [P, B, T, H * hd]   lse [P, B, H, T] (natural log of the softmax denominator, sink included)
//
// scale = hd^-1/2. backward writes dqkv (all of it) and adds to dsink [P, H]. Where a rope is given, qkv is what
// qkv_rope_forward made and dqkv is the gradient before the rotation (as after qkv_rope_backward).
// bf16 (on a GPU): qkv, out, dout, dqkv are bf16; sink, lse, dsink f32.
// Source: online softmax, arXiv 2205.14135; window convention of Hugging Face (itself included).
#pragma once

#include "kernels/context.hpp"
#include "kernels/qkv_rope.hpp"

namespace hylas::kernels {

struct AttentionData {  // what differs between the trials of a cohort: data, not code paths
  Tensor window;
  Tensor sink;
  Tensor sink_on;
};

void attention_forward(Context& ctx, const Heads& heads, const AttentionData& data, const Tensor& qkv,
                       const Tensor& out, const Tensor& lse);
void attention_backward(Context& ctx, const Heads& heads, const AttentionData& data, const Rope& rope,
                        const Tensor& qkv, const Tensor& out, const Tensor& lse, const Tensor& dout, const Tensor& dqkv,
                        const Tensor& dsink);

}  // namespace hylas::kernels
