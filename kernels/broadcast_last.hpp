// broadcast_last: the last position's row at every position, each with its position's code:
// z[b, t] = x[b, T - 1] + position[t].
//
//   x, z [P, B, T, d]   position [T, d] (of one trial, for all: dims {1, T, d}), made by sinusoid_table()
//
//   forward:   writes z, another tensor than x
//   backward:  dx[b, T - 1] = the sum of dz[b, t] in the order of t, dx[b, t] = 0 elsewhere; dx is another tensor than
//   dz
//
// bf16 (on a GPU): x, z, dz, dx are bf16, position f32; sums are f32. In f32 both devices have the same bits.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

// Fills position {1, T, d} with sines and cosines: with half = floor(d / 2) and angle(t, i) = t *
// 10000^(-i / (half - 1)), column i < half is sin(angle(t, i)), column half + i its cosine, and an odd d's last column
// 0 (at half = 1 the only angle is t). Computed in double.
// Source: Attention Is All You Need, arXiv 1706.03762, in the arrangement of tensor2tensor and fairseq.
void sinusoid_table(const Tensor& position);
void broadcast_last_forward(Context& ctx, const Tensor& x, const Tensor& position, const Tensor& z);
void broadcast_last_backward(Context& ctx, const Tensor& dz, const Tensor& dx);

}  // namespace hylas::kernels
