// short_conv: what a recurrent mixer does with its projection before the recurrence: a causal depthwise convolution
// over time, silu, and for queries and keys of some mixers an L2 norm per head.
//
//   proj   [P, B, T, W], out [P, B, T, C]: out's channels are the segments one after another, a segment's heads one
//          after another; channel i of head h of a segment comes from column at + h stride + i of proj
//   weight [P, C, 4] or absent (then out = silu(proj)):
//          a_t = bias + sum_j weight[j] proj_{t - 3 + j}, zeros before t = 0
//   bias   [P, C] or absent; only with a weight
//
//   out = silu(a); in a normalised segment out = silu(a) / sqrt(sum over the head of silu(a)^2 + 1e-6)
//
// backward writes the segments' columns of dproj (no others) and adds to dweight and dbias. It makes a again. Segments
// do not overlap. dtypes: f32 or f64; on a GPU also bf16 (bias, dweight and dbias then f32), and heads to be normalised
// have at most 256 elements, 128 where columns (W, at, stride, dim) are not multiples of 4. Source: the short
// convolution of Mamba (arXiv 2312.00752) with width 4, as in public Gated DeltaNet and Mamba-2 models.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/context.hpp"

namespace hylas::kernels {

inline constexpr std::int64_t kConvWidth = 4;

struct ConvSegment {
  std::int64_t at = 0, stride = 0;  // columns of proj
  std::int64_t heads = 0, dim = 0;  // 0 heads: no segment
  bool normalised = false;
};

struct ShortConv {
  std::array<ConvSegment, 3> segments;

  [[nodiscard]] std::int64_t channels() const {
    std::int64_t n = 0;
    for (const ConvSegment& s : segments) n += s.heads * s.dim;
    return n;
  }
};

void short_conv_forward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                        const Tensor& bias, const Tensor& out);
void short_conv_backward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                         const Tensor& bias, const Tensor& dout, const Tensor& dproj, const Tensor& dweight,
                         const Tensor& dbias);

}  // namespace hylas::kernels
