// Packed: N neighbouring elements of f32 or bf16 as they lie in memory, moved with one load or store (16 bytes: 4 f32
// or 8 bf16), and their conversion to and from floats. N = 1 is the path of odd sizes.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/mma.cuh"

namespace hylas::kernels::cuda {

using bf16 = __nv_bfloat16;

// Elements in 16 bytes.
template <class T>
inline constexpr int kLanes = 16 / static_cast<int>(sizeof(T));

template <int bytes>
struct Words;
template <>
struct Words<2> {
  std::uint16_t raw;
};
template <>
struct Words<4> {
  std::uint32_t raw;
};
template <>
struct Words<8> {
  uint2 raw;
};
template <>
struct Words<16> {
  uint4 raw;
};

template <class T, int N>
using Packed = Words<static_cast<int>(sizeof(T)) * N>;

template <class T, int N>
__device__ __forceinline__ Packed<T, N> load(const T* p) {
  return {*reinterpret_cast<const decltype(Packed<T, N>::raw)*>(p)};
}
// To global memory. Spelled out where it is 16 or 8 bytes: left to itself the compiler splits many of these stores.
template <class T, int N>
__device__ __forceinline__ void store(T* p, const Packed<T, N>& packed) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(packed) == 16) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "r"(packed.raw.x),
                 "r"(packed.raw.y), "r"(packed.raw.z), "r"(packed.raw.w)
                 : "memory");
    return;
  } else if constexpr (sizeof(packed) == 8) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(p)), "r"(packed.raw.x),
                 "r"(packed.raw.y)
                 : "memory");
    return;
  }
#endif
  *reinterpret_cast<decltype(Packed<T, N>::raw)*>(p) = packed.raw;
}

// All bits zero: zeros of either type.
template <class T, int N>
__device__ __forceinline__ Packed<T, N> zeros() {
  return {};
}

// Word i of a packet of at least four bytes.
template <int bytes>
__device__ __forceinline__ std::uint32_t word_of(const Words<bytes>& packed, int i) {
  if constexpr (bytes == 16) {
    return i == 0 ? packed.raw.x : i == 1 ? packed.raw.y : i == 2 ? packed.raw.z : packed.raw.w;
  } else if constexpr (bytes == 8) {
    return i == 0 ? packed.raw.x : packed.raw.y;
  } else {
    return packed.raw;
  }
}
template <int bytes>
__device__ __forceinline__ void set_word(Words<bytes>& packed, int i, std::uint32_t w) {
  if constexpr (bytes == 16) {
    (i == 0 ? packed.raw.x : i == 1 ? packed.raw.y : i == 2 ? packed.raw.z : packed.raw.w) = w;
  } else if constexpr (bytes == 8) {
    (i == 0 ? packed.raw.x : packed.raw.y) = w;
  } else {
    packed.raw = w;
  }
}

template <class T, int N>
__device__ __forceinline__ void unpack(const Packed<T, N>& packed, float (&x)[N]) {
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = __uint_as_float(word_of(packed, i));
  } else if constexpr (N == 1) {
    x[0] = __uint_as_float(static_cast<std::uint32_t>(packed.raw) << 16);
  } else {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const std::uint32_t w = word_of(packed, i);
      x[2 * i] = __uint_as_float(w << 16);
      x[2 * i + 1] = __uint_as_float(w & 0xffff0000U);
    }
  }
}
template <class T, int N>
__device__ __forceinline__ Packed<T, N> pack(const float (&x)[N]) {  // bf16: to nearest even
  Packed<T, N> packed{};
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < N; ++i) set_word(packed, i, __float_as_uint(x[i]));
  } else if constexpr (N == 1) {
    packed.raw = static_cast<std::uint16_t>(pack_bf16(x[0], 0) & 0xffffU);
  } else {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) set_word(packed, i, pack_bf16(x[2 * i], x[2 * i + 1]));
  }
  return packed;
}

// N floats from memory, in pieces of at most 16 bytes (N = 8 of f32 are two).
template <class T, int N>
__device__ __forceinline__ void load_floats(const T* p, float (&x)[N]) {
  constexpr int piece = N * static_cast<int>(sizeof(T)) > 16 ? kLanes<T> : N;
#pragma unroll
  for (int i = 0; i < N / piece; ++i) {
    float part[piece];
    unpack<T, piece>(load<T, piece>(p + i * piece), part);
#pragma unroll
    for (int j = 0; j < piece; ++j) x[i * piece + j] = part[j];
  }
}
template <class T, int N>
__device__ __forceinline__ void store_floats(T* p, const float (&x)[N]) {
  constexpr int piece = N * static_cast<int>(sizeof(T)) > 16 ? kLanes<T> : N;
#pragma unroll
  for (int i = 0; i < N / piece; ++i) {
    float part[piece];
#pragma unroll
    for (int j = 0; j < piece; ++j) part[j] = x[i * piece + j];
    store<T, piece>(p + i * piece, pack<T, piece>(part));
  }
}

// 2^x in one instruction: relative error 2^-22, results below 2^-126 are 0.
__device__ __forceinline__ float exp2_approximate(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}
inline constexpr float kLog2E = 1.4426950408889634F;

// e^(x - shift); for bf16 results in two instructions, with a relative error of 2^-22 plus 2^-24 of the exponents.
template <class T>
__device__ __forceinline__ float exponential(float x, float shift = 0) {
  if constexpr (sizeof(T) == 4) {
    return expf(x - shift);
  } else {
    return exp2_approximate(x * kLog2E - shift * kLog2E);
  }
}
// 1 / x; for bf16 results without the last bit.
template <class T>
__device__ __forceinline__ float reciprocal(float x) {
  if constexpr (sizeof(T) == 4) {
    return 1.0F / x;
  } else {
    return __fdividef(1.0F, x);
  }
}

// n / divisor and n % divisor for 0 <= n < 2^31 without a division: a multiplication and a shift (Granlund, Montgomery,
// "Division by invariant integers using multiplication", PLDI 1994). Made on the host.
class Divisor {
 public:
  explicit Divisor(std::int64_t divisor) : divisor_(static_cast<unsigned>(divisor)) {
    while ((std::uint64_t{1} << shift_) < divisor_) ++shift_;
    multiplier_ = static_cast<unsigned>((((std::uint64_t{1} << shift_) - divisor_) << 32) / divisor_ + 1);
  }
  [[nodiscard]] __host__ __device__ unsigned divisor() const { return divisor_; }
  [[nodiscard]] __device__ __forceinline__ unsigned quotient(unsigned n) const {
    return (__umulhi(n, multiplier_) + n) >> shift_;
  }

 private:
  unsigned divisor_, multiplier_ = 0, shift_ = 0;
};

}  // namespace hylas::kernels::cuda
