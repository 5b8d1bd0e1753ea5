// The random draws of the recall stream: which draw decides what, in integers only. Shared by the CPU generator
// (recall.cpp) and by kernels that make the same sequences on a device; tests/model/recall_reference.py says it again.
//
// Every number is a word of Philox4x32-10 (philox.hpp):
//   key      k = data_seed XOR kRecallTag; key words (low 32 bits of k, high 32 bits of k). The evaluation split is one
//            for all data seeds: it uses data_seed 0.
//   counter  (draw, low 32 bits of the sequence index, high 32 bits, stream); stream 0 is training, 1 is evaluation.
//   draw i, 0 <= i < 2^31, decides slot i (positions 2i and 2i + 1):
//     word 0         the slot repeats an earlier key if i >= 1 and word 0 < floor(p 2^32)
//     words 1 and 2  u64 = word 1 + 2^32 word 2; r = floor(u64 C_i / 2^64); delta = the least m with C_m > r, where
//                    C_m = w_1 + ... + w_m and w_m = floor(2^40 / m): log-uniform on [1, i]; the key is that of slot i
//                    - delta
//     word 3         where it does not repeat: key = floor(word 3 keys / 2^32)
//   draw 2^31 + floor(k / 4), word k mod 4, decides the value of key k in this sequence: floor(word values / 2^32)
// A slot does not depend on the context: a sequence of context T is the first T tokens of the same one at 2T.
#pragma once

#include <cstdint>

#include "model/data/philox.hpp"

namespace hylas::model {

// "recall" in ASCII: keeps the keys of different tasks apart.
inline constexpr std::uint64_t kRecallTag = 0x7265'6361'6c6c'0000;
inline constexpr std::uint32_t kRecallValueDraws = 0x8000'0000;

// One sequence's source of draws.
struct RecallDraws {
  std::uint64_t data_seed;  // 0 for the evaluation split
  std::uint64_t index;      // of the sequence
  std::uint32_t stream;     // 0 training, 1 evaluation

  [[nodiscard]] HYLAS_HOST_DEVICE constexpr Philox4x32::Counter words(std::uint32_t draw) const {
    const std::uint64_t key = data_seed ^ kRecallTag;
    return Philox4x32::block({draw, static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), stream},
                             {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
  }
};

// prefix[m] = C_m for m in [0, slots], prefix[0] = 0. Log-uniform on [1, i] from 64 uniform bits: the least m with C_m
// > r.
[[nodiscard]] HYLAS_HOST_DEVICE constexpr std::uint32_t log_uniform(std::uint64_t u, std::uint32_t i,
                                                                    const std::uint64_t* prefix) {
  const std::uint64_t r = mulhi64(u, prefix[i]);  // < C_i, so the answer is at most i
  std::uint32_t low = 1, count = i;               // it lies in [low, low + count)
  while (count > 1) {
    const std::uint32_t half = count / 2;
    low += prefix[low + half - 1] > r ? 0 : half;
    count -= half;
  }
  return low;
}

// What slot i is: back > 0, the key of slot i - back; back == 0, the key `fresh`.
struct RecallSlot {
  std::uint32_t back;
  std::uint32_t fresh;
};

// threshold = floor(p 2^32), at most 2^32.
[[nodiscard]] HYLAS_HOST_DEVICE constexpr RecallSlot recall_slot(const RecallDraws& draws, std::uint32_t i,
                                                                 const std::uint64_t* prefix, std::uint64_t threshold,
                                                                 std::uint32_t keys) {
  const auto words = draws.words(i);
  if (i == 0 || words[0] >= threshold) return {0, scale32(words[3], keys)};
  return {log_uniform(words[1] | (static_cast<std::uint64_t>(words[2]) << 32), i, prefix), 0};
}

[[nodiscard]] HYLAS_HOST_DEVICE constexpr std::uint32_t recall_value(const RecallDraws& draws, std::uint32_t key,
                                                                     std::uint32_t values) {
  return scale32(draws.words(kRecallValueDraws + key / 4)[key % 4], values);
}

}  // namespace hylas::model
