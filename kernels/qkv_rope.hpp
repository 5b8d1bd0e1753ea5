// qkv_rope: rotary position encoding of the query and key heads inside a fused qkv activation, in place.
//
//   qkv [P, B, T, (H + 2 Hkv) * hd]: H query heads, then Hkv key heads, then Hkv value heads (values stay untouched)
//   cos, sin [T, hd/2] (of one trial; trial dimension 1: dims {1, T, hd/2}), made by rope_table()
//   rope_on [P] i32: 0 leaves the trial's qkv as it is (NoPE)
//
// rotate-half (NeoX / Hugging Face) convention: pairs are (i, i + hd/2). backward applies the transposed rotation to
// dqkv. Source: RoFormer, arXiv 2104.09864.
#pragma once

#include "kernels/context.hpp"

namespace hylas::kernels {

struct Heads {
  std::int64_t query = 1;  // H
  std::int64_t kv = 1;     // Hkv, a divisor of H: query head h reads kv head h / (H / Hkv)
  std::int64_t dim = 32;   // hd, even
};

// The rotation of one layer; all absent: none.
struct Rope {
  Tensor cos, sin;  // {1, T, hd/2}
  Tensor on;        // [P] i32
};

// Fills cos and sin, {1, T, hd/2}: angle(t, i) = t * theta^(-2 i / hd), computed in double.
void rope_table(double theta, const Tensor& cos, const Tensor& sin);
void qkv_rope_forward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& qkv);
void qkv_rope_backward(Context& ctx, const Heads& heads, const Rope& rope, const Tensor& dqkv);

}  // namespace hylas::kernels
