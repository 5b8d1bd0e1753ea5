// Backends: every operator of kernels/ a second and third time, as cpu:: and cuda::, with the signature of its public
// header. dispatch.cpp calls one of them by Context::device; each folder defines its own.
#pragma once

#include "kernels/adamw.hpp"
#include "kernels/add_rmsnorm.hpp"
#include "kernels/attention.hpp"
#include "kernels/attention_probe.hpp"
#include "kernels/broadcast_last.hpp"
#include "kernels/decay_gates.hpp"
#include "kernels/embed.hpp"
#include "kernels/gated_norm.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "kernels/memory.hpp"
#include "kernels/qkv_rope.hpp"
#include "kernels/recurrence.hpp"
#include "kernels/short_conv.hpp"
#include "kernels/swiglu.hpp"

namespace hylas::kernels {

namespace cpu {
decltype(kernels::embed_forward) embed_forward;
decltype(kernels::embed_backward) embed_backward;
decltype(kernels::broadcast_last_forward) broadcast_last_forward;
decltype(kernels::broadcast_last_backward) broadcast_last_backward;
decltype(kernels::linear_forward) linear_forward;
decltype(kernels::linear_forward_add) linear_forward_add;
decltype(kernels::linear_backward_input) linear_backward_input;
decltype(kernels::linear_backward_weight) linear_backward_weight;
decltype(kernels::add_rmsnorm_forward) add_rmsnorm_forward;
decltype(kernels::add_rmsnorm_backward) add_rmsnorm_backward;
decltype(kernels::qkv_rope_forward) qkv_rope_forward;
decltype(kernels::qkv_rope_backward) qkv_rope_backward;
decltype(kernels::attention_forward) attention_forward;
decltype(kernels::attention_backward) attention_backward;
decltype(kernels::attention_probe_forward) attention_probe_forward;
decltype(kernels::attention_probe_statistics) attention_probe_statistics;
decltype(kernels::recurrence_forward) recurrence_forward;
decltype(kernels::recurrence_backward) recurrence_backward;
decltype(kernels::swiglu_forward) swiglu_forward;
decltype(kernels::swiglu_backward) swiglu_backward;
decltype(kernels::short_conv_forward) short_conv_forward;
decltype(kernels::short_conv_backward) short_conv_backward;
decltype(kernels::decay_gates_forward) decay_gates_forward;
decltype(kernels::decay_gates_backward) decay_gates_backward;
decltype(kernels::gated_norm_forward) gated_norm_forward;
decltype(kernels::gated_norm_backward) gated_norm_backward;
decltype(kernels::linear_cross_entropy_train) linear_cross_entropy_train;
decltype(kernels::linear_cross_entropy_eval) linear_cross_entropy_eval;
decltype(kernels::grad_norm) grad_norm;
decltype(kernels::adamw_update) adamw_update;
decltype(kernels::add_into) add_into;
decltype(kernels::zero) zero;
decltype(kernels::copy) copy;
decltype(kernels::cast) cast;
}  // namespace cpu

namespace cuda {
decltype(kernels::embed_forward) embed_forward;
decltype(kernels::embed_backward) embed_backward;
decltype(kernels::broadcast_last_forward) broadcast_last_forward;
decltype(kernels::broadcast_last_backward) broadcast_last_backward;
decltype(kernels::linear_forward) linear_forward;
decltype(kernels::linear_forward_add) linear_forward_add;
decltype(kernels::linear_backward_input) linear_backward_input;
decltype(kernels::linear_backward_weight) linear_backward_weight;
decltype(kernels::add_rmsnorm_forward) add_rmsnorm_forward;
decltype(kernels::add_rmsnorm_backward) add_rmsnorm_backward;
decltype(kernels::qkv_rope_forward) qkv_rope_forward;
decltype(kernels::qkv_rope_backward) qkv_rope_backward;
decltype(kernels::attention_forward) attention_forward;
decltype(kernels::attention_backward) attention_backward;
decltype(kernels::attention_probe_forward) attention_probe_forward;
decltype(kernels::attention_probe_statistics) attention_probe_statistics;
decltype(kernels::recurrence_forward) recurrence_forward;
decltype(kernels::recurrence_backward) recurrence_backward;
decltype(kernels::swiglu_forward) swiglu_forward;
decltype(kernels::swiglu_backward) swiglu_backward;
decltype(kernels::short_conv_forward) short_conv_forward;
decltype(kernels::short_conv_backward) short_conv_backward;
decltype(kernels::decay_gates_forward) decay_gates_forward;
decltype(kernels::decay_gates_backward) decay_gates_backward;
decltype(kernels::gated_norm_forward) gated_norm_forward;
decltype(kernels::gated_norm_backward) gated_norm_backward;
decltype(kernels::linear_cross_entropy_train) linear_cross_entropy_train;
decltype(kernels::linear_cross_entropy_eval) linear_cross_entropy_eval;
decltype(kernels::grad_norm) grad_norm;
decltype(kernels::adamw_update) adamw_update;
decltype(kernels::add_into) add_into;
decltype(kernels::zero) zero;
decltype(kernels::copy) copy;
decltype(kernels::cast) cast;
}  // namespace cuda

}  // namespace hylas::kernels
