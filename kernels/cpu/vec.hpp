// Vec: short vectors of T for the hot loops, on the compiler's vector extensions.
//
// Bytes is the width of a machine register (32: AVX2, 64: AVX-512). Everything here and in the loops built on it is a
// template over Bytes, so that the copy compiled for AVX-512 shares no symbol with the one of the default build; for
// the same reason no function of the standard library is called.
//
// Sums over a row keep 64 bytes of partial sums whatever Bytes is, and exp is one polynomial: the width of the
// registers does not change the order of any sum, and neither does the alignment of a pointer.
#pragma once

#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hylas::kernels::cpu {

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {  // coefficients of Cephes' expf
  using Int = std::int32_t;
  static constexpr float low = -87.3F, high = 88.0F;
  static constexpr float log2e = 1.44269504088896341F, ln2_high = 0.693359375F, ln2_low = -2.12194440e-4F;
  static constexpr float magic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr int mantissa = 23, bias = 127, terms = 7;
  static constexpr float poly[terms] = {
      1.9875691500e-4F, 1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F, 1.0F};
};

template <>
struct ExpConstants<double> {  // Taylor: at |r| <= ln(2)/2 the first term left out is 4e-18
  using Int = std::int64_t;
  static constexpr double low = -708.0, high = 709.0;
  static constexpr double log2e = 1.44269504088896340736, ln2_high = 6.93145751953125e-1,
                          ln2_low = 1.42860682030941723212e-6;
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int mantissa = 52, bias = 1023, terms = 13;
  static constexpr double poly[terms] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0};
};

template <class T, int Bytes>
struct Vec {
  using Int = typename ExpConstants<T>::Int;
  typedef T V __attribute__((vector_size(Bytes)));
  typedef Int I __attribute__((vector_size(Bytes)));
  typedef T Unaligned __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
  static constexpr int lanes = Bytes / static_cast<int>(sizeof(T));
  static constexpr int parts = 64 / Bytes;  // vectors that make 64 bytes

  static V load(const T* p) { return *reinterpret_cast<const Unaligned*>(p); }
  static void store(T* p, V v) { *reinterpret_cast<Unaligned*>(p) = v; }
  // The first n lanes only; the others are read as zero and not written.
  static V load(const T* p, int n) {
    V v{};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  static void store(T* p, V v, int n) {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
  static V all(T x) { return x - V{}; }
  static V iota() {
    V v{};
    for (int i = 0; i < lanes; ++i) v[i] = static_cast<T>(i);
    return v;
  }
  static V max(V a, V b) { return a > b ? a : b; }  // b where a is not a number

  static V sqrt(V v) {
#if defined(__AVX__)
    if constexpr (Bytes == 32 && sizeof(T) == 4) return _mm256_sqrt_ps(v);
    if constexpr (Bytes == 32 && sizeof(T) == 8) return _mm256_sqrt_pd(v);
#endif
#if defined(__AVX512F__)
    if constexpr (Bytes == 64 && sizeof(T) == 4) return _mm512_maskz_sqrt_ps(0xFFFF, v);
    if constexpr (Bytes == 64 && sizeof(T) == 8) return _mm512_maskz_sqrt_pd(0xFF, v);
#endif
    for (int i = 0; i < lanes; ++i) v[i] = static_cast<T>(__builtin_sqrt(static_cast<double>(v[i])));
    return v;
  }

  // e^x to about one unit in the last place; 0 below `low` (no denormals), infinity above `high`.
  static V exp(V x) {
    using C = ExpConstants<T>;
    V y = x < C::low ? all(C::low) : x;
    y = y > C::high ? all(C::high) : y;
    const V shifted = y * C::log2e + C::magic;
    const V n = shifted - C::magic;
    const V r = (y - n * C::ln2_high) - n * C::ln2_low;
    V p = all(C::poly[0]);
    for (int i = 1; i < C::terms; ++i) p = p * r + C::poly[i];
    p = p * r + T{1};
    const I power = ((I)shifted - (I)all(C::magic) + C::bias) << C::mantissa;
    p *= (V)power;
    p = x < C::low ? V{} : p;
    return x > C::high ? all(static_cast<T>(__builtin_inf())) : p;
  }
};

// Partial sums of a row, 64 bytes of them.
template <class T, int Bytes>
struct RowSum {
  using A = Vec<T, Bytes>;
  typename A::V part[A::parts] = {};

  [[nodiscard]] T total() const {
    T lane[64 / sizeof(T)];
    for (int i = 0; i < A::parts; ++i) A::store(lane + i * A::lanes, part[i]);
    for (int half = static_cast<int>(32 / sizeof(T)); half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    return lane[0];
  }
};

// Calls f(offset, part, n) for each vector of [0, count): n lanes count, which is all of them but at the end; `part` is
// the RowSum part of that vector.
struct Whole {
  static constexpr bool whole = true;
};
struct Some {
  static constexpr bool whole = false;
  int n;
};

template <class T, int Bytes>
struct Lanes {  // the loads and stores of one step of for_each_vector
  using A = Vec<T, Bytes>;
  using V = typename A::V;
  static V load(const T* p, Whole) { return A::load(p); }
  static V load(const T* p, Some s) { return A::load(p, s.n); }
  static void store(T* p, V v, Whole) { A::store(p, v); }
  static void store(T* p, V v, Some s) { A::store(p, v, s.n); }
};

template <class T, int Bytes, class F>
[[gnu::always_inline]] inline void for_each_vector(std::int64_t count, F&& f) {
  using A = Vec<T, Bytes>;
  constexpr int step = A::lanes * A::parts;
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    for (int part = 0; part < A::parts; ++part) f(i + part * A::lanes, part, Whole{});
  }
  for (int part = 0; i < count; i += A::lanes, ++part) {
    const std::int64_t left = count - i;
    if (left >= A::lanes) {
      f(i, part, Whole{});
    } else {
      f(i, part, Some{static_cast<int>(left)});
    }
  }
}

}  // namespace hylas::kernels::cpu
