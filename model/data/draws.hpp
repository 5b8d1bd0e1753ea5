// Draws: the random numbers of one sequence of a task, one after the other, the same on CPU and GPU.
//
// Word n of a sequence is word n mod 4 of Philox4x32-10 (philox.hpp) with
//   key      k = data_seed XOR tag (low word, high word); the evaluation split is one for all data seeds: data_seed 0
//   counter  (floor(n / 4), low word of the sequence's index, high word, stream); stream 0 training, 1 evaluation
// The tag keeps tasks apart: task_tag("mqar"), the name's first eight characters in ASCII, the first one highest.
#pragma once

#include <cstdint>

#include "model/data/philox.hpp"

namespace hylas::model {

[[nodiscard]] constexpr std::uint64_t task_tag(const char* name) {
  std::uint64_t tag = 0;
  for (int i = 0; i < 8; ++i) {
    tag = tag << 8 | static_cast<std::uint64_t>(static_cast<unsigned char>(*name));
    if (*name != 0) ++name;
  }
  return tag;
}

class Draws {
 public:
  HYLAS_HOST_DEVICE constexpr Draws(std::uint64_t tag, std::uint64_t data_seed, std::uint64_t index, bool eval)
      : key_((eval ? 0 : data_seed) ^ tag), index_(index), stream_(eval ? 1 : 0) {}

  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::uint64_t index() const { return index_; }
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr bool eval() const { return stream_ == 1; }

  // 32 uniform bits.
  HYLAS_HOST_DEVICE constexpr std::uint32_t word() {
    if (at_ % 4 == 0) {
      words_ = Philox4x32::block(
          {at_ / 4, static_cast<std::uint32_t>(index_), static_cast<std::uint32_t>(index_ >> 32), stream_},
          {static_cast<std::uint32_t>(key_), static_cast<std::uint32_t>(key_ >> 32)});
    }
    return words_[at_++ % 4];
  }
  // 64 uniform bits: the first word is the low one.
  HYLAS_HOST_DEVICE constexpr std::uint64_t word64() {
    const std::uint64_t low = word();
    return low | static_cast<std::uint64_t>(word()) << 32;
  }
  // Uniform on [0, n): floor(word n / 2^32).
  HYLAS_HOST_DEVICE constexpr std::uint32_t below(std::uint32_t n) {
    return static_cast<std::uint32_t>((static_cast<std::uint64_t>(word()) * n) >> 32);
  }
  // True with probability threshold / 2^32.
  HYLAS_HOST_DEVICE constexpr bool chance(std::uint64_t threshold) { return word() < threshold; }

 private:
  std::uint64_t key_, index_;
  std::uint32_t stream_, at_ = 0;
  std::array<std::uint32_t, 4> words_{};
};

}  // namespace hylas::model
