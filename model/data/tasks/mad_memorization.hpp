// MAD's memorization: a fixed map from keys to values, which the model learns in its weights; a sequence shows keys
// only (mad.hpp has the source).
//
// Tokens, with K = floor((vocab - 1) / 2): keys [0, K), values [K, vocab - 1), insert vocab - 1. Position 2i holds a
// key below(K), one word each in their order (draws.hpp); position 2i + 1 holds the insert token. Trained and scored:
// targets[2i + 1] is the key's value; the sequence does not hold it (unknown_distance).
// The map is one for each vocabulary, the same for all data seeds, splits and contexts. Its words are those of a
// sequence of their own: tag task_tag("mad_map"), data seed 0, index 0, training stream. With v = K, K + 1, ..,
// vocab - 2 (V of them) and for i = 0 .. K - 1: exchange v[i] and v[i + below(V - i)]; key i has the value v[i].
// Different keys have different values.
//
// The original (generate_memorization_instance) makes the same sequences, its map from another generator. It keeps 256
// training sequences of 16 keys at every vocabulary, so at large ones some keys never occur in training: a share of
// about exp(-4096 / K) of the test cannot be known, .02 at vocab 2048, .14 at 4096, .37 at 8192. So here, by default.
//
// Limits: context even, >= 2; vocab >= 3. Thread-safety: pure.
#pragma once

#include <cstdint>
#include <vector>

#include "model/data/tasks/mad.hpp"

namespace hylas::model {

struct MadMemorization : GeneratorBase {
  static constexpr const char* name = "mad_memorization";
  static constexpr std::int64_t kTrainSequences = 256;
  static constexpr std::int64_t kMaxVocab = std::int64_t{1} << 24;

  // table: [K] the value of each key
  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    place.clear();
    for (std::int32_t t = 0; t + 1 < place.length; t += 2) {
      const std::uint32_t key = draws.below(static_cast<std::uint32_t>(table_size));
      place.tokens[t] = static_cast<std::int32_t>(key);
      place.tokens[t + 1] = static_cast<std::int32_t>(vocab - 1);
      place.score(t + 1, static_cast<std::int32_t>(table[key]), -1);
    }
  }
};

// The value of each key; vocab >= 3.
[[nodiscard]] std::vector<std::uint64_t> memorization_map(std::int64_t vocab);

}  // namespace hylas::model
