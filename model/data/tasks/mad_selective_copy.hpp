// MAD's selective copying: random tokens among blanks, which the model repeats in their order after a copy token
// (mad.hpp has the source).
//
// Tokens: content [0, vocab - 2), blank vocab - 2, copy vocab - 1. With k = task.copy and B = context - 2k - 1:
//   positions 0 .. B + k - 1          content token j (0 <= j < k) behind g_j blanks, for j in order
//   position  B + k                   the copy token
//   positions B + k + 1 .. context - 1  k blanks
// Words are drawn (draws.hpp) in this order, below(m) one word each: content tokens 0 .. k - 1, below(vocab - 2) each;
// for each of the B blanks the token below(k) before which it stands: g_j is how many drew j.
// Trained and scored: position context - k + j predicts content token j (the token of its own position, in place of the
// blank), and its answer is where that token stands among the blanks.
//
// The original (generate_copying_instance with selective = True) makes the same sequences and targets: blanks stand in
// front of a random content token, so none stands between the last one and the copy token.
//
// Limits: 2k + 1 < context, k >= 1, vocab >= 3. Thread-safety: pure.
#pragma once

#include <cstdint>

#include "model/data/tasks/mad.hpp"

namespace hylas::model {

struct MadSelectiveCopy : GeneratorBase {
  static constexpr const char* name = "mad_selective_copy";
  std::uint32_t copy = 0;  // k

  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    const auto blank = static_cast<std::int32_t>(vocab - 2);
    const std::int32_t first_answer = place.length - static_cast<std::int32_t>(copy);
    std::uint32_t* const gap = place.scratch;             // [k] blanks in front of a content token
    std::uint32_t* const content = place.scratch + copy;  // [k]
    place.clear();
    for (std::uint32_t j = 0; j < copy; ++j) {
      gap[j] = 0;
      content[j] = draws.below(static_cast<std::uint32_t>(blank));
    }
    const std::uint32_t blanks = static_cast<std::uint32_t>(place.length) - 2 * copy - 1;
    for (std::uint32_t i = 0; i < blanks; ++i) ++gap[draws.below(copy)];
    std::int32_t at = 0;
    for (std::uint32_t j = 0; j < copy; ++j) {
      for (std::uint32_t i = 0; i < gap[j]; ++i) place.tokens[at++] = blank;
      const auto token = static_cast<std::int32_t>(content[j]);
      place.score(first_answer + static_cast<std::int32_t>(j), token, at);
      place.tokens[at++] = token;
    }
    place.tokens[at++] = blank + 1;
    while (at < place.length) place.tokens[at++] = blank;
  }
};

}  // namespace hylas::model
