// Philox4x32-10, the counter-based generator behind every random number of the data tasks.
//
// block(counter, key) is a pure function: 128 bits of counter and 64 of key in, four uniform 32-bit words out. Nothing
// is stored between calls, so any draw of any sequence can be had directly, in any order, on any device, with the same
// bits. Integers only. CUDA code compiles it with --expt-relaxed-constexpr (std::array's operator[]). Source: Salmon,
// Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011; test vectors: Random123.
#pragma once

#include <array>
#include <cstdint>

#if defined(__CUDACC__)
#define HYLAS_HOST_DEVICE __host__ __device__
#else
#define HYLAS_HOST_DEVICE
#endif

namespace hylas::model {

struct Philox4x32 {
  using Counter = std::array<std::uint32_t, 4>;
  using Key = std::array<std::uint32_t, 2>;

  // Ten rounds; word 0 of the counter is the one Random123 writes first.
  [[nodiscard]] HYLAS_HOST_DEVICE static constexpr std::array<std::uint32_t, 4> block(
      std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
    constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
    std::uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    std::uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t product0 = kMultiplier0 * x0, product1 = kMultiplier1 * x2;
      x0 = static_cast<std::uint32_t>(product1 >> 32) ^ x1 ^ k0;
      x1 = static_cast<std::uint32_t>(product1);
      x2 = static_cast<std::uint32_t>(product0 >> 32) ^ x3 ^ k1;
      x3 = static_cast<std::uint32_t>(product0);
      k0 += kWeyl0;
      k1 += kWeyl1;
    }
    return {x0, x1, x2, x3};
  }
};

// High 64 bits of a 128-bit product.
[[nodiscard]] HYLAS_HOST_DEVICE constexpr std::uint64_t mulhi64(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t a_low = a & 0xFFFF'FFFF, a_high = a >> 32, b_low = b & 0xFFFF'FFFF, b_high = b >> 32;
  const std::uint64_t middle = a_high * b_low + ((a_low * b_low) >> 32);
  const std::uint64_t cross = a_low * b_high + (middle & 0xFFFF'FFFF);
  return a_high * b_high + (middle >> 32) + (cross >> 32);
}

// Uniform on [0, n) from 32 uniform bits.
[[nodiscard]] HYLAS_HOST_DEVICE constexpr std::uint32_t scale32(std::uint32_t word, std::uint32_t n) {
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(word) * n) >> 32);
}

}  // namespace hylas::model
