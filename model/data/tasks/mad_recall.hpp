// MAD's in-context recall and noisy in-context recall: pairs of a key and a value, the model predicts the value of a
// key that it has seen before; in the noisy task some pairs are noise (mad.hpp has the source).
//
// Tokens, with K = task.vocab / 2, in the noisy task (task.vocab - task.noise_vocab) / 2: keys [0, K), values [K, 2K),
// noise [2K, vocab). Slot i of n = context / 2 lies at positions 2i and 2i + 1. Words are drawn (draws.hpp) in this
// order, below(m) one word each:
//   noisy task with floor(noise 2^32) > 0 only: s = below(n - 1), the slot that is never noise
//   slot 0 .. n - 2:
//     noisy task with floor(noise 2^32) > 0 and i != s: one word; if it is < floor(noise 2^32) the slot is noise: its
//         two tokens are 2K + below(noise_vocab) each, the first one first, and nothing else is drawn for it
//     the key below(K); where the sequence has not had it, its value K + below(K), else the value it had
//   slot n - 1: the key of number below(D) among the D different keys had so far, in the order of their first slots;
//   its
//         value as it was
// Scored: position 2i of a slot that repeats a key. Its answer is the value in the last slot before that has the key:
// distance 2 x (slots between). Trained: with task.next_tokens = 1 all positions but the last, targets[t] =
// tokens[t + 1]; with 0 the scored ones.
//
// The original (generate_in_context_recall_instance with multi_query) trains all next tokens and tests at repeated
// keys; so does next_tokens = 1. Differences: it drops the last token, which only is a target, and so gives context - 1
// positions; its slot that is never noise may be the last one, which never is, so that a sequence of noise alone can
// make it fail.
//
// Limits: context even, >= 4; vocab even and >= 2, in the noisy task vocab - noise_vocab. Thread-safety: pure.
#pragma once

#include <cstdint>

#include "model/data/tasks/mad.hpp"

namespace hylas::model {

struct MadRecall : GeneratorBase {
  static constexpr const char* name = "mad_recall";
  std::uint32_t keys = 0;             // K
  std::uint32_t noise_vocab = 0;      // 0: the task without noise
  std::uint64_t noise_threshold = 0;  // floor(noise 2^32)
  bool next_tokens = true;

  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    const std::int32_t last = place.length / 2 - 1;
    const bool noisy = noise_threshold > 0;
    std::uint32_t* const slot_of = place.scratch;      // [K] 1 + the last slot of a key; 0: not seen
    std::uint32_t* const seen = place.scratch + keys;  // [K] different keys, in the order of their first slots
    std::uint32_t num_seen = 0;
    for (std::uint32_t key = 0; key < keys; ++key) slot_of[key] = 0;
    place.clear();
    const auto sure = static_cast<std::int32_t>(noisy ? draws.below(static_cast<std::uint32_t>(last)) : 0);
    for (std::int32_t slot = 0; slot <= last; ++slot) {
      std::int32_t* const pair = place.tokens + 2 * slot;
      if (noisy && slot != last && slot != sure && draws.chance(noise_threshold)) {
        for (int i = 0; i < 2; ++i) pair[i] = static_cast<std::int32_t>(2 * keys + draws.below(noise_vocab));
        continue;
      }
      const std::uint32_t key = slot == last ? seen[draws.below(num_seen)] : draws.below(keys);
      pair[0] = static_cast<std::int32_t>(key);
      if (slot_of[key] == 0) {
        seen[num_seen++] = key;
        pair[1] = static_cast<std::int32_t>(keys + draws.below(keys));
      } else {
        const auto answer = static_cast<std::int32_t>(2 * slot_of[key] - 1);
        pair[1] = place.tokens[answer];
        place.score(2 * slot, pair[1], answer);
      }
      slot_of[key] = static_cast<std::uint32_t>(slot + 1);
    }
    if (next_tokens) train_next_tokens(place);
  }
};

struct MadNoisyRecall : MadRecall {
  static constexpr const char* name = "mad_noisy_recall";
};

}  // namespace hylas::model
