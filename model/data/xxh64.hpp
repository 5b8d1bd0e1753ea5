// XXH64, the 64-bit hash that names the data of a real-text run: `xxhsum -H64 FILE` prints the same 16 digits. Fast
// and well mixed; it shows accidents, not attacks.
//
// Usage: any number of stripes(), then finish() once with what is left. Seed 0. Little-endian machines.
// Source: Y. Collet, "xxHash fast digest algorithm", https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md,
// section "XXH64 algorithm description".
#pragma once

#include <cstddef>
#include <cstdint>

namespace hylas::model {

class Xxh64 {
 public:
  static constexpr std::int64_t kStripe = 32;  // bytes

  // Takes in `count` stripes.
  void stripes(const std::byte* data, std::int64_t count);
  // Takes in the last bytes, fewer than kStripe, and returns the hash.
  [[nodiscard]] std::uint64_t finish(const std::byte* rest, std::int64_t bytes) const;

 private:
  // The four lanes at the start, from the primes of the specification (modulo 2^64): P1 + P2, P2, 0, -P1.
  std::uint64_t lane_[4] = {0x60EA27EEADC0B5D6, 0xC2B2AE3D27D4EB4F, 0, 0x61C8864E7A143579};
  std::uint64_t length_ = 0;  // bytes taken in
};

}  // namespace hylas::model
