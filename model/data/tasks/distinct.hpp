// Distinct: numbers drawn without replacement, for task generators (generator.hpp) on CPU and GPU.
//
// A number that is taken is drawn again; so any program with the same draws gets the same numbers. A bitmap in the
// sequence's scratch memory says which are taken. Thread-safety: one object a thread.
#pragma once

#include <cstdint>

#include "model/data/draws.hpp"

namespace hylas::model {

class Distinct {
 public:
  // Words of scratch memory for numbers in [0, n).
  [[nodiscard]] HYLAS_HOST_DEVICE static constexpr std::int64_t words(std::int64_t n) { return (n + 31) / 32; }

  // None of [0, n) is taken. `bits` holds words(n).
  HYLAS_HOST_DEVICE constexpr Distinct(std::uint32_t* bits, std::int64_t n) : bits_(bits) {
    for (std::int64_t i = 0; i < words(n); ++i) bits_[i] = 0;
  }

  // Takes i; false where it was taken before.
  HYLAS_HOST_DEVICE constexpr bool take(std::uint32_t i) {
    const std::uint32_t bit = 1u << (i % 32);
    if ((bits_[i / 32] & bit) != 0) return false;
    bits_[i / 32] |= bit;
    return true;
  }

  // draws.below(n), again until it is one that was not taken. There must be one.
  HYLAS_HOST_DEVICE constexpr std::uint32_t below(Draws& draws, std::uint32_t n) {
    for (;;) {
      const std::uint32_t i = draws.below(n);
      if (take(i)) return i;
    }
  }

 private:
  std::uint32_t* bits_;
};

}  // namespace hylas::model
