// Causal window attention of one head of one sequence, blocked, with online softmax (arXiv 2205.14135).
//
// A block of queries is held transposed, so that queries are the lanes of a vector and keys are rows: scores S^T = K
// Q^T, the softmax runs down the rows without a sum across lanes, and O^T += V^T P^T. K and V are read where they lie.
// Blocks of keys outside the window are never touched; scratch does not grow with T.
#pragma once

#include "kernels/cpu/gemm.hpp"

namespace hylas::kernels::cpu {

template <class T>
struct AttentionHead {
  std::int64_t length = 0;      // T
  std::int64_t dim = 0;         // hd
  std::int64_t window = 1;      // in keys, >= 1
  std::int64_t stride = 0;      // from a position to the next in q, k, v, dq, dk, dv
  std::int64_t out_stride = 0;  // in out and dout
  T scale = 1;
  const T* sink = nullptr;  // null: none
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  T* out = nullptr;  // backward: read
  T* lse = nullptr;  // backward: read
  const T* dout = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;  // dq is written; dk and dv are added to (heads may share them)
  T* dsink = nullptr;                             // added to
};

constexpr std::int64_t attention_keys = 64;
constexpr std::int64_t attention_queries = 32;  // at most; a multiple of 16

[[gnu::always_inline]] inline constexpr std::int64_t attention_padded(std::int64_t dim) {
  return (dim + 31) / 32 * 32;
}
// Elements of scratch a head needs, forward or backward.
[[gnu::always_inline]] inline constexpr std::int64_t attention_scratch(std::int64_t dim) {
  return attention_queries * (2 * attention_keys + 3 * dim + 2 * attention_padded(dim) + 4);
}

// Queries a block: a window of a few keys is best served by few queries, for a block of n queries sees n + W - 1 keys.
template <class T, int Bytes>
std::int64_t queries_a_block(const AttentionHead<T>& h) {
  return h.window <= 16 ? 16 : attention_queries;
}

// What one block of queries works on.
template <class T, int Bytes>
struct QueryBlock {
  std::int64_t first = 0, count = 0;  // queries first .. first + count
  std::int64_t width = 0;             // lanes: count rounded up
  std::int64_t key_begin = 0, key_end = 0;

  QueryBlock(const AttentionHead<T>& h, std::int64_t begin, std::int64_t lanes)
      : first(begin),
        count(h.length - begin < lanes ? h.length - begin : lanes),
        width(lanes),
        key_begin(begin >= h.window ? begin - h.window + 1 : 0),
        key_end(begin + count) {}
  // Whether some query of the block does not see some key of [begin, end).
  [[nodiscard]] bool masks(const AttentionHead<T>& h, std::int64_t begin, std::int64_t end) const {
    return end - 1 > first || first + count - begin > h.window || count < width;
  }
};

// to[c][i] = from[i][c] for the block's queries, zero in the lanes beyond them.
template <class T, int Bytes>
void transpose_in(const QueryBlock<T, Bytes>& block, std::int64_t dim, const T* from, std::int64_t stride, T* to) {
  for (std::int64_t i = 0; block.count < block.width && i < dim * block.width; ++i) to[i] = T{};
  transpose<T, Bytes>(block.count, dim, from + block.first * stride, stride, nullptr, to, block.width);
}

// to[i][c] = factor[i] * from[c][i]
template <class T, int Bytes>
void transpose_out(const QueryBlock<T, Bytes>& block, std::int64_t dim, const T* from, const T* factor, T* to,
                   std::int64_t stride) {
  transpose<T, Bytes>(dim, block.count, from, block.width, factor, to + block.first * stride, stride);
}

// Keeps scores of visible keys: v where query first + lane + offset sees key, else `otherwise`.
template <class T, int Bytes>
[[gnu::always_inline]] inline typename Vec<T, Bytes>::V visible(const AttentionHead<T>& h,
                                                                const QueryBlock<T, Bytes>& block, std::int64_t lane,
                                                                std::int64_t key, typename Vec<T, Bytes>::V v,
                                                                T otherwise) {
  using A = Vec<T, Bytes>;
  const auto distance = A::iota() + static_cast<T>(block.first + lane - key);
  const T window = static_cast<T>(h.window < h.length ? h.window : h.length);
  const auto seen = distance >= T{} ? v : A::all(otherwise);
  return distance < window ? seen : A::all(otherwise);
}

template <class T, int Bytes>
[[gnu::always_inline]] inline T natural_log(T x) {
  if constexpr (sizeof(T) == 4) {
    return __builtin_logf(x);
  } else {
    return __builtin_log(x);
  }
}

// One step of the online softmax: scores of keys [begin, end) become exp(score - running maximum); the output so far
// shrinks to the new maximum.
template <class T, int Bytes>
void softmax_step(const AttentionHead<T>& h, const QueryBlock<T, Bytes>& block, std::int64_t begin, std::int64_t end,
                  T* scores, T* maximum, T* total, T* out) {
  using A = Vec<T, Bytes>;
  const bool masked = block.masks(h, begin, end);
  const T nothing = -static_cast<T>(__builtin_inf());
  for (std::int64_t lane = 0; lane < block.width; lane += A::lanes) {
    const auto before = A::load(maximum + lane);
    auto top = before;
    for (std::int64_t key = begin; key < end; ++key) {
      T* at = scores + (key - begin) * block.width + lane;
      auto s = A::load(at) * h.scale;
      if (masked) s = visible<T, Bytes>(h, block, lane, key, s, nothing);
      A::store(at, s);
      top = A::max(s, top);
    }
    const auto shrink = A::exp(before - top);
    auto sum = A::load(total + lane) * shrink;
    for (std::int64_t key = begin; key < end; ++key) {
      T* at = scores + (key - begin) * block.width + lane;
      const auto p = A::exp(A::load(at) - top);
      A::store(at, p);
      sum += p;
    }
    A::store(maximum + lane, top);
    A::store(total + lane, sum);
    for (std::int64_t c = 0; begin > block.key_begin && c < h.dim; ++c) {
      T* at = out + c * block.width + lane;
      A::store(at, A::load(at) * shrink);
    }
  }
}

template <class T, int Bytes>
void attention_forward_head(const AttentionHead<T>& h, T* scratch) {
  using A = Vec<T, Bytes>;
  const std::int64_t lanes = queries_a_block<T, Bytes>(h);
  T* scores = scratch;
  T* q = scores + attention_keys * lanes;
  T* out = q + h.dim * lanes;
  T* maximum = out + h.dim * lanes;
  T* total = maximum + lanes;
  for (std::int64_t first = 0; first < h.length; first += lanes) {
    const QueryBlock<T, Bytes> block(h, first, lanes);
    transpose_in<T, Bytes>(block, h.dim, h.q, h.stride, q);
    for (std::int64_t i = 0; i < lanes; ++i) {
      maximum[i] = T{-1e30F};  // finite: a query that sees no key of a block yet stays at exp(0) = 1
      total[i] = T{};
    }
    for (std::int64_t begin = block.key_begin; begin < block.key_end; begin += attention_keys) {
      const std::int64_t end = begin + attention_keys < block.key_end ? begin + attention_keys : block.key_end;
      const T* k = h.k + begin * h.stride;
      const T* v = h.v + begin * h.stride;
      padded_gemm<T, Bytes, false>(end - begin, lanes, h.dim, {k, h.stride}, q, lanes, scores, lanes, false);
      softmax_step<T, Bytes>(h, block, begin, end, scores, maximum, total, out);
      padded_gemm<T, Bytes, true>(h.dim, lanes, end - begin, {v, h.stride}, scores, lanes, out, lanes,
                                  begin > block.key_begin);
    }
    T factor[attention_queries];
    for (std::int64_t lane = 0; lane < lanes; lane += A::lanes) {
      auto top = A::load(maximum + lane);
      auto sum = A::load(total + lane);
      auto shrink = A::all(T{1});
      if (h.sink != nullptr) {
        const auto before = top;
        top = A::max(A::all(*h.sink), top);
        shrink = A::exp(before - top);
        sum = sum * shrink + A::exp(*h.sink - top);
      }
      A::store(factor + lane, shrink / sum);
      A::store(maximum + lane, top);
      A::store(total + lane, sum);
    }
    transpose_out<T, Bytes>(block, h.dim, out, factor, h.out, h.out_stride);
    for (std::int64_t i = 0; i < block.count; ++i) h.lse[first + i] = maximum[i] + natural_log<T, Bytes>(total[i]);
  }
}

}  // namespace hylas::kernels::cpu
