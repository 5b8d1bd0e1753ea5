// Numbers drawn without replacement, for task generators (generator.hpp) on CPU and GPU. Thread-safety: one object a
// thread.
//
// Distinct: uniform ones. A number that is taken is drawn again; so any program with the same draws gets the same
// numbers. A bitmap in the sequence's scratch memory says which are taken.
// WeightedDistinct: with probabilities proportional to whole weights, one word64 each. r = mulhi64(word64(), R), R the
// weights of all numbers that are left; the number is the least one left such that the weights of those left up to it,
// its own included, are together more than r. Sums lie in a Fenwick tree (Fenwick, "A new data structure for cumulative
// frequency tables", 1994), so that a draw costs the logarithm of their number.
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

class WeightedDistinct {
 public:
  [[nodiscard]] HYLAS_HOST_DEVICE static constexpr std::int64_t words(std::int64_t n) { return 2 * (n + 1); }

  // Numbers in [0, n), number i of weight prefix[i + 1] - prefix[i]; prefix[0] = 0. `nodes` holds words(n).
  HYLAS_HOST_DEVICE constexpr WeightedDistinct(std::uint32_t* nodes, std::uint32_t n, const std::uint64_t* prefix)
      : nodes_(nodes), prefix_(prefix), n_(n), left_(prefix[n]) {
    for (std::uint32_t i = 1; i <= n; ++i) write(i, prefix[i] - prefix[i & (i - 1)]);
    while (step_ <= n / 2) step_ *= 2;
  }

  // There must be a number left, of a weight above 0.
  HYLAS_HOST_DEVICE constexpr std::uint32_t draw(Draws& draws) {
    std::uint64_t r = mulhi64(draws.word64(), left_);
    std::uint32_t number = 0;
    for (std::uint32_t step = step_; step > 0; step /= 2) {
      const std::uint32_t node = number + step;
      if (node > n_ || read(node) > r) continue;
      r -= read(node);
      number = node;
    }
    const std::uint64_t weight = prefix_[number + 1] - prefix_[number];
    for (std::uint32_t node = number + 1; node <= n_; node += node & (~node + 1)) write(node, read(node) - weight);
    left_ -= weight;
    return number;
  }

 private:
  // Node i holds the weights left of numbers [i & (i - 1), i), its low word first: scratch memory is aligned to words.
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::uint64_t read(std::uint32_t i) const {
    return nodes_[2 * i] | static_cast<std::uint64_t>(nodes_[2 * i + 1]) << 32;
  }
  HYLAS_HOST_DEVICE constexpr void write(std::uint32_t i, std::uint64_t sum) {
    nodes_[2 * i] = static_cast<std::uint32_t>(sum);
    nodes_[2 * i + 1] = static_cast<std::uint32_t>(sum >> 32);
  }

  std::uint32_t* nodes_;
  const std::uint64_t* prefix_;
  std::uint32_t n_, step_ = 1;  // the largest power of two up to n
  std::uint64_t left_;
};

}  // namespace hylas::model
