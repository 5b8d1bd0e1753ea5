// fused: the GPU's forward and backward of norm + projection and of the whole feed-forward branch, for narrow models.
//
// At d_model 64, 128 and 256 a training step is limited by the memory traffic between its GEMMs. Here a thread block
// owns 128 rows of one trial, keeps them on chip and streams the weights past them, so that hidden activations
// never reach memory in the forward pass. bf16 activations and matrix weights, fp32 sums, f32 norm weights and
// gradients.
//
//   x, y, dx, h [P, ..., d]   norm_weight, dnorm_weight [P, d] f32   w [P, N, d]   gate_up [P, 2f, d] (gate rows first)
//   down [P, d, f]            RMSNorm: h = norm_weight * x * (mean(x^2) + eps)^-1/2 in fp32, rounded to bf16
//
// All tensors of a call have the same P and rows; a trial starts at a multiple of 16 bytes. Nothing waits for the
// device. The bits of a row depend on its trial's data and its block of 128 rows only; those of dnorm_weight also on
// the number of rows. Errors: std::invalid_argument for a wrong tensor; ask the *_supported function first.
// Sources: RMSNorm arXiv 1910.07467, SwiGLU arXiv 2002.05202, register reuse between two products arXiv 2307.08691.
#pragma once

#include "kernels/context.hpp"
#include "kernels/qkv_rope.hpp"

namespace hylas::kernels::cuda {

// The rotation of qkv_rope_forward, applied to the first (H + Hkv) * hd columns of a projection where on[p] != 0; the
// position of a row is row mod T. cos, sin {1, T, hd/2} f32; on [P] i32.
struct FusedRope {
  Heads heads;
  Tensor cos, sin, on;
};

// Whether this GPU's shared memory holds the rows of a thread block at this width; the functions below need that too.
[[nodiscard]] bool fused_fits(const Context& ctx, std::int64_t d);

// y [P, ..., N] = RMSNorm(x) w^T, rotated if `rope`. N a multiple of 64; head dims 32, 64 and 128.
[[nodiscard]] bool fused_norm_linear_supported(std::int64_t d, std::int64_t columns);
[[nodiscard]] bool fused_norm_linear_supported(std::int64_t d, std::int64_t columns, const Heads& rope);
void fused_norm_linear_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps, const Tensor& w,
                               const Tensor& y, const FusedRope* rope = nullptr);
// dh = dy w; dx = residual + d RMSNorm(x) / dx applied to dh; dnorm_weight += its gradient; h_out = RMSNorm(x), for the
// gradient of w. residual [P, ..., d]: the gradient that arrives along the residual stream; dx may be the same tensor.
void fused_norm_linear_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight, double eps,
                                const Tensor& w, const Tensor& residual, const Tensor& dx, const Tensor& h_out,
                                const Tensor& dnorm_weight);

// y = x + (silu(h gate^T) * (h up^T)) down^T with h = RMSNorm(x). y may be x. f a multiple of 64.
[[nodiscard]] bool fused_ffn_supported(std::int64_t d, std::int64_t f);
void fused_ffn_forward(Context& ctx, const Tensor& x, const Tensor& norm_weight, double eps, const Tensor& gate_up,
                       const Tensor& down, const Tensor& y);
// dx_out = dy + the gradient through the branch; dnorm_weight += its gradient. For the gradients of the matrices it
// writes h_out [P, ..., d], act_out [P, ..., f] and dgate_up_out [P, ..., 2f]. dx_out is not dy.
void fused_ffn_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& norm_weight, double eps,
                        const Tensor& gate_up, const Tensor& down, const Tensor& dx_out, const Tensor& h_out,
                        const Tensor& act_out, const Tensor& dgate_up_out, const Tensor& dnorm_weight);

}  // namespace hylas::kernels::cuda
