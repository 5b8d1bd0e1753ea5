// Transposition of small blocks in registers: packing of weights, and queries into lanes for attention.
#pragma once

#include "kernels/cpu/vec.hpp"

namespace hylas::kernels::cpu {

template <int... Lane>
struct LaneList {};

template <int N, int... Lane>
struct LanesTo : LanesTo<N - 1, N - 1, Lane...> {};
template <int... Lane>
struct LanesTo<0, Lane...> {
  using type = LaneList<Lane...>;
};

// Exchanges the off-diagonal Step x Step blocks of rows low and high (Eklundh's step).
template <class T, int Bytes, int Step>
struct Exchange {
  using V = typename Vec<T, Bytes>::V;
  static constexpr int n = Vec<T, Bytes>::lanes;

  template <int... Lane>
  [[gnu::always_inline]] static void apply(V& low, V& high, LaneList<Lane...>) {
    const V a = __builtin_shufflevector(low, high, ((Lane & Step) == 0 ? Lane : n + Lane - Step)...);
    high = __builtin_shufflevector(low, high, ((Lane & Step) == 0 ? Lane + Step : n + Lane)...);
    low = a;
  }
};

template <class T, int Bytes, int Step>
[[gnu::always_inline]] inline void exchange_steps(typename Vec<T, Bytes>::V* rows) {
  constexpr int n = Vec<T, Bytes>::lanes;
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) {
    if ((i & Step) == 0) Exchange<T, Bytes, Step>::apply(rows[i], rows[i | Step], typename LanesTo<n>::type{});
  }
  if constexpr (Step > 1) exchange_steps<T, Bytes, Step / 2>(rows);
}

// to[c * to_stride + r] = scale[c] * from[r * from_stride + c] for r < rows, c < columns; scale null: 1.
template <class T, int Bytes>
void transpose(std::int64_t rows, std::int64_t columns, const T* from, std::int64_t from_stride, const T* scale, T* to,
               std::int64_t to_stride) {
  using A = Vec<T, Bytes>;
  constexpr int n = A::lanes;
  std::int64_t r = 0;
  for (; r + n <= rows; r += n) {
    std::int64_t c = 0;
    for (; c + n <= columns; c += n) {
      typename A::V block[n];
      const T* corner = from + r * from_stride + c;
#pragma GCC unroll 16
      for (int i = 0; i < n; ++i) block[i] = A::load(corner + i * from_stride);
      if (scale != nullptr) {
        const auto factor = A::load(scale + c);
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) block[i] *= factor;
      }
      exchange_steps<T, Bytes, n / 2>(block);
#pragma GCC unroll 16
      for (int i = 0; i < n; ++i) A::store(to + (c + i) * to_stride + r, block[i]);
    }
    for (; c < columns; ++c) {
      for (int i = 0; i < n; ++i) {
        const T x = from[(r + i) * from_stride + c];
        to[c * to_stride + r + i] = scale != nullptr ? x * scale[c] : x;
      }
    }
  }
  for (; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const T x = from[r * from_stride + c];
      to[c * to_stride + r] = scale != nullptr ? x * scale[c] : x;
    }
  }
}

}  // namespace hylas::kernels::cpu
