// Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). Draw i of stream s under seed k is a pure
// function of (k, s, i), so resampling gives the same bits whatever the threads and the order of the replicates.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace hylas::fitting {

[[nodiscard]] inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                         std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0], p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// One stream of draws; copyable, no shared state.
class Stream {
 public:
  Stream(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  [[nodiscard]] std::uint64_t bits() {
    const std::uint64_t i = next_++;
    const auto r = philox({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32),
                           static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                          {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
    return std::uint64_t{r[0]} << 32 | r[1];
  }
  // Uniform in (0, 1): never an end.
  [[nodiscard]] double uniform() { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; }
  // Uniform in 0..n-1. The bias is below n / 2^53.
  [[nodiscard]] std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>(uniform() * static_cast<double>(n));
  }
  [[nodiscard]] double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t seed_, stream_, next_ = 0;
};

}  // namespace hylas::fitting
