// Real text as sequences: which draw decides what, for both devices.
//
// A sequence of context T takes T + 1 tokens s_0 .. s_T: tokens[t] = s_t, targets[t] = s_{t+1}. Draws (draws.hpp) with
// the tag "text", in this order:
//   word64 u    training: the text begins at training start floor(u n / 2^64) of n (corpus.hpp)
//   word c      training: the sequence carries a needle if c < floor(needles 2^32)
//   where it carries one: word d (depth), 4 words (letters), 4 words (digits)
// Evaluation sequence i is window (i g) mod n of the n windows of T + 1 tokens that lie end to end in the validation
// part, g the least number from floor(0.618 n) on that has no factor in common with n: the first ones are spread
// evenly, and no two of n are the same. Sequences of the needle evaluation carry a needle each; class i mod 40 is its
// depth. A needle (byte texts only) is the 27 bytes "\nThe code of KKKK is DDDD.\n", 4 letters a-z and 4 digits, put
// into the text at position floor(class (T + 1 - 52) / 39), class = floor(d 40 / 2^32) in training; the sequence ends
// with the question and its answer, "\nThe code of KKKK is DDDD". After RULER's needle in a haystack (arXiv
// 2404.06654); a port.
#pragma once

#include "model/data/draws.hpp"

namespace hylas::model {

inline constexpr std::int32_t kNeedleBytes = 27, kQuestionBytes = 25, kNeedleKeyAt = 13, kNeedleDigitsAt = 21;
inline constexpr std::uint32_t kNeedleDepths = 40;

struct TextNeedle {
  bool present = false;
  std::int32_t at = 0;        // position of its first byte
  std::uint8_t letters[4]{};  // 'a' ..
  std::uint8_t digits[4]{};   // '0' ..

  // Byte i of the needle.
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t byte(std::int32_t i) const {
    constexpr char text[] = "\nThe code of KKKK is DDDD.\n";
    if (i >= kNeedleKeyAt && i < kNeedleKeyAt + 4) return letters[i - kNeedleKeyAt];
    if (i >= kNeedleDigitsAt && i < kNeedleDigitsAt + 4) return digits[i - kNeedleDigitsAt];
    return text[i];
  }
};

// depth_class < 0: drawn.
[[nodiscard]] HYLAS_HOST_DEVICE constexpr TextNeedle draw_needle(Draws& draws, std::int32_t context,
                                                                 std::int32_t depth_class) {
  TextNeedle needle;
  needle.present = true;
  const std::uint32_t drawn = draws.below(kNeedleDepths);
  const std::int64_t depth = depth_class >= 0 ? depth_class : static_cast<std::int64_t>(drawn);
  needle.at = static_cast<std::int32_t>(depth * (context + 1 - kNeedleBytes - kQuestionBytes) / (kNeedleDepths - 1));
  for (auto& letter : needle.letters) letter = static_cast<std::uint8_t>('a' + draws.below(26));
  for (auto& digit : needle.digits) digit = static_cast<std::uint8_t>('0' + draws.below(10));
  return needle;
}

// Where stream position t, 0 <= t <= context, comes from: >= 0: that token of the text after the sequence's start; -1 -
// i: byte i of the needle.
[[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t text_source(const TextNeedle& needle, std::int32_t context,
                                                                   std::int32_t t) {
  if (!needle.present || t < needle.at) return t;
  if (t < needle.at + kNeedleBytes) return -1 - (t - needle.at);
  const std::int32_t question = context + 1 - kQuestionBytes;
  return t >= question ? -1 - (t - question) : t - kNeedleBytes;
}

}  // namespace hylas::model
