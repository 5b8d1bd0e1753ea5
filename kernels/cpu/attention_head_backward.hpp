// The backward pass of attention_head.hpp: probabilities are made again from the scores and lse, block by block.
//
//   P = exp(S - lse)   dV += P dO   dP = dO V^T   dS = P (dP - D), D = rowsum(dO * O)   dQ = scale dS K   dK += dS^T
//   (scale Q) dsink -= sum of exp(sink - lse) D
#pragma once

#include "kernels/cpu/attention_head.hpp"
#include "kernels/cpu/rows.hpp"

namespace hylas::kernels::cpu {

// Rows of the block's queries, `padded` wide, zero beyond dim and beyond the queries.
template <class T, int Bytes>
void copy_rows(const QueryBlock<T, Bytes>& block, std::int64_t dim, std::int64_t padded, const T* from,
               std::int64_t stride, T* to) {
  using L = Lanes<T, Bytes>;
  const bool fill = dim < padded || block.count < block.width;
  for (std::int64_t i = 0; fill && i < block.width * padded; ++i) to[i] = T{};
  for (std::int64_t i = 0; i < block.count; ++i) {
    const T* row = from + (block.first + i) * stride;
    for_each_vector<T, Bytes>(
        dim, [&](std::int64_t c, int, auto s) { L::store(to + i * padded + c, L::load(row + c, s), s); });
  }
}

// scores become P, dscores (dP on entry) become dS.
template <class T, int Bytes>
void softmax_backward(const AttentionHead<T>& h, const QueryBlock<T, Bytes>& block, std::int64_t begin,
                      std::int64_t end, const T* lse, const T* delta, T* scores, T* dscores) {
  using A = Vec<T, Bytes>;
  const bool masked = block.masks(h, begin, end);
  for (std::int64_t lane = 0; lane < block.width; lane += A::lanes) {
    const auto log_total = A::load(lse + lane);
    const auto d = A::load(delta + lane);
    for (std::int64_t key = begin; key < end; ++key) {
      T* s = scores + (key - begin) * block.width + lane;
      T* ds = dscores + (key - begin) * block.width + lane;
      auto p = A::exp(A::load(s) * h.scale - log_total);
      if (masked) p = visible<T, Bytes>(h, block, lane, key, p, T{});
      A::store(s, p);
      A::store(ds, p * (A::load(ds) - d) * h.scale);
    }
  }
}

template <class T, int Bytes>
void attention_backward_head(const AttentionHead<T>& h, T* scratch) {
  using A = Vec<T, Bytes>;
  const std::int64_t lanes = queries_a_block<T, Bytes>(h);
  const std::int64_t padded = attention_padded(h.dim);
  T* scores = scratch;
  T* dscores = scores + attention_keys * lanes;
  T* q = dscores + attention_keys * lanes;
  T* dout = q + h.dim * lanes;
  T* dq = dout + h.dim * lanes;
  T* q_rows = dq + h.dim * lanes;
  T* dout_rows = q_rows + padded * lanes;
  T* lse = dout_rows + padded * lanes;
  T* delta = lse + lanes;
  for (std::int64_t first = 0; first < h.length; first += lanes) {
    const QueryBlock<T, Bytes> block(h, first, lanes);
    transpose_in<T, Bytes>(block, h.dim, h.q, h.stride, q);
    transpose_in<T, Bytes>(block, h.dim, h.dout, h.out_stride, dout);
    copy_rows<T, Bytes>(block, h.dim, padded, h.q, h.stride, q_rows);
    copy_rows<T, Bytes>(block, h.dim, padded, h.dout, h.out_stride, dout_rows);
    for (std::int64_t i = 0; i < lanes; ++i) {
      const bool inside = i < block.count;
      const std::int64_t at = (first + i) * h.out_stride;
      lse[i] = inside ? h.lse[first + i] : T{};
      delta[i] = inside ? dot<T, Bytes>(h.out + at, h.dout + at, h.dim) : T{};
    }
    for (std::int64_t begin = block.key_begin; begin < block.key_end; begin += attention_keys) {
      const std::int64_t end = begin + attention_keys < block.key_end ? begin + attention_keys : block.key_end;
      const std::int64_t at = begin * h.stride;
      const std::int64_t keys = end - begin;
      padded_gemm<T, Bytes, false>(keys, lanes, h.dim, {h.k + at, h.stride}, q, lanes, scores, lanes, false);
      padded_gemm<T, Bytes, false>(keys, lanes, h.dim, {h.v + at, h.stride}, dout, lanes, dscores, lanes, false);
      softmax_backward<T, Bytes>(h, block, begin, end, lse, delta, scores, dscores);
      padded_gemm<T, Bytes, false>(keys, h.dim, lanes, {scores, lanes}, dout_rows, padded, h.dv + at, h.stride, true);
      padded_gemm<T, Bytes, false>(keys, h.dim, lanes, {dscores, lanes}, q_rows, padded, h.dk + at, h.stride, true);
      padded_gemm<T, Bytes, true>(h.dim, lanes, keys, {h.k + at, h.stride}, dscores, lanes, dq, lanes,
                                  begin > block.key_begin);
    }
    transpose_out<T, Bytes>(block, h.dim, dq, nullptr, h.dq, h.stride);
    if (h.sink == nullptr) continue;
    T factor[attention_queries];
    for (std::int64_t lane = 0; lane < lanes; lane += A::lanes) {
      A::store(factor + lane, A::exp(*h.sink - A::load(lse + lane)) * A::load(delta + lane));
    }
    for (std::int64_t i = 0; i < block.count; ++i) *h.dsink -= factor[i];
  }
}

}  // namespace hylas::kernels::cpu
