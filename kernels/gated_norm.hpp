// gated_norm: a recurrent mixer's output norm and gate.
//
//   x, y [P, B, T, G n]: G groups of n, each normalised by itself   weight [P, n], the same for all groups
//   z: columns z_at + j z_stride + i of proj [P, B, T, W], for i = 0 .. n-1 of group j
//   inv_rms [P, B, T, G] of what is normalised
//
//   norm_silu     y = weight RMSNorm(x) silu(z)        Gated DeltaNet
//   silu_norm     y = weight RMSNorm(x silu(z))        Mamba-2
//   norm_sigmoid  y = weight RMSNorm(x) sigmoid(z)     Lightning
//
// backward writes dx, and the z columns of dproj (no others), and adds to dweight. y may be x in forward of infer
// passes only (backward reads x). dtypes: f32 or f64; on a GPU also bf16, weight, dweight and inv_rms then f32,
// and n at most 8192. Sources: arXiv 2412.06464, 2405.21060, 2501.08313.
#pragma once

#include <cstdint>

#include "kernels/context.hpp"

namespace hylas::kernels {

enum class GatedNormForm : std::uint8_t { norm_silu, silu_norm, norm_sigmoid };

struct GatedNorm {
  GatedNormForm form = GatedNormForm::norm_silu;
  std::int64_t groups = 1, dim = 64;  // G, n
  std::int64_t z_at = 0, z_stride = 0;
  double eps = 1e-6;
};

void gated_norm_forward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                        const Tensor& y, const Tensor& inv_rms);
void gated_norm_backward(Context& ctx, const GatedNorm& norm, const Tensor& x, const Tensor& proj, const Tensor& weight,
                         const Tensor& inv_rms, const Tensor& dy, const Tensor& dx, const Tensor& dproj,
                         const Tensor& dweight);

}  // namespace hylas::kernels
