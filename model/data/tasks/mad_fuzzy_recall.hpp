// MAD's fuzzy in-context recall: in-context recall in which a key and a value are motifs of one to three tokens
// (mad.hpp has the source).
//
// Tokens, with K = floor((vocab - 1) / 2): keys [0, K), values [K, vocab - 1), padding vocab - 1. A motif is 1 to
// task.key_motif (task.value_motif) different tokens; a key has one value in a sequence. M = key_motif + value_motif.
// Words are drawn (draws.hpp) in this order, below(m) one word each. size(m): 1 + below(m), for keys of evaluation
// sequences m without a draw. motif(s) of c tokens: for j = 0 .. s - 1, number below(c - j), from 0, of the tokens not
// yet in it in ascending order.
//   the probe: its key size k = size(key_motif) and motif(k) of K tokens, its value size v = 1 + below(value_motif) and
//     motif(v) of the value tokens
//   limit = context - (k + v) - M; start = below(limit - M + 1)
//   while the sequence is shorter than limit, append a pair (key, value):
//     if it has `start` tokens or more and no pair with the probe's key: the probe; nothing is drawn
//     else a key, drawn as the probe's; the value that it had if the sequence has had it, else the probe's value if it
//     is the probe's key, else a value drawn as the probe's
//   append the probe
//   put padding in front up to context + 1 tokens (2 tokens or more); the last token is only a target
// Scored: every token of the value of a key that the sequence had before. Its answer is the same token of the value in
// the last pair before with that key. Trained: with task.next_tokens = 1 all positions, padding among them; with 0 the
// scored ones.
//
// The original (generate_fuzzy_in_context_recall_instance with multi_query) trains all next tokens, padding among them,
// and tests at values of repeated keys, its test keys key_motif long; so does next_tokens = 1. Difference: its `start`
// is below(context - 2 (k + v)), which can lie behind the last pair, so that its last query need not have an answer.
//
// Limits: context >= 3 M; K >= key_motif; at least value_motif values. Thread-safety: pure.
#pragma once

#include <cstdint>

#include "model/data/tasks/mad.hpp"

namespace hylas::model {

struct MadFuzzyRecall : GeneratorBase {
  static constexpr const char* name = "mad_fuzzy_recall";
  static constexpr std::int64_t kMaxVocab = 2048;  // so that code() of three keys fits a word
  std::uint32_t keys = 0, values = 0;              // K and how many value tokens there are
  std::uint32_t key_motif = 0, value_motif = 0;
  bool next_tokens = true;

  struct Motif {
    std::uint32_t size;
    std::uint32_t token[3];
  };

  // The keys that a sequence has had, by code, and where their last value is: chains in scratch memory.
  struct Seen {
    static constexpr std::uint32_t kBuckets = 64, kWords = 4;
    std::uint32_t* bucket;  // [kBuckets] 1 + its newest record; 0: none
    std::uint32_t* record;  // [.., kWords] code, position of the value, size of the value, next in its bucket
    std::uint32_t count = 0;

    HYLAS_HOST_DEVICE explicit Seen(std::uint32_t* scratch) : bucket(scratch), record(scratch + kBuckets) {
      for (std::uint32_t i = 0; i < kBuckets; ++i) bucket[i] = 0;
    }
    [[nodiscard]] HYLAS_HOST_DEVICE static std::uint32_t bucket_of(std::uint32_t code) {
      return (code * 2654435769u) >> 26;  // Fibonacci hashing
    }
    [[nodiscard]] HYLAS_HOST_DEVICE std::uint32_t* find(std::uint32_t code) const {
      for (std::uint32_t at = bucket[bucket_of(code)]; at != 0; at = record[kWords * (at - 1) + 3]) {
        if (record[kWords * (at - 1)] == code) return record + kWords * (at - 1);
      }
      return nullptr;
    }
    HYLAS_HOST_DEVICE void add(std::uint32_t code, std::uint32_t position, std::uint32_t size) {
      std::uint32_t* const next = bucket + bucket_of(code);
      std::uint32_t* const here = record + kWords * count;
      here[0] = code, here[1] = position, here[2] = size, here[3] = *next;
      *next = ++count;
    }
  };

  [[nodiscard]] static constexpr std::int64_t scratch_for(std::int64_t context) {
    return Seen::kBuckets + Seen::kWords * (context / 2);  // a pair is two tokens at least
  }

  [[nodiscard]] HYLAS_HOST_DEVICE static Motif motif(Draws& draws, std::uint32_t size, std::uint32_t first,
                                                     std::uint32_t count) {
    Motif motif{size, {}};
    std::uint32_t low = count, high = count;  // the first two tokens in ascending order; count: not drawn yet
    for (std::uint32_t j = 0; j < size; ++j) {
      std::uint32_t token = draws.below(count - j);
      if (token >= low) ++token;
      if (token >= high) ++token;
      if (token < low) {
        high = low, low = token;
      } else {
        high = token;
      }
      motif.token[j] = first + token;
    }
    return motif;
  }
  [[nodiscard]] HYLAS_HOST_DEVICE std::uint32_t key_size(Draws& draws) const {
    return draws.eval() ? key_motif : 1 + draws.below(key_motif);
  }
  [[nodiscard]] HYLAS_HOST_DEVICE Motif draw_key(Draws& draws) const {
    const std::uint32_t size = key_size(draws);
    return motif(draws, size, 0, keys);
  }
  [[nodiscard]] HYLAS_HOST_DEVICE Motif draw_value(Draws& draws) const {
    const std::uint32_t size = 1 + draws.below(value_motif);
    return motif(draws, size, keys, values);
  }
  // Different for different keys.
  [[nodiscard]] HYLAS_HOST_DEVICE std::uint32_t code(const Motif& key) const {
    std::uint32_t code = 0;
    for (std::uint32_t j = 0; j < 3; ++j) code = code * (keys + 1) + (j < key.size ? key.token[j] + 1 : 0);
    return code;
  }

  HYLAS_HOST_DEVICE static void append(const Place& place, const Motif& motif, std::uint32_t& at) {
    for (std::uint32_t j = 0; j < motif.size; ++j) place.tokens[at++] = static_cast<std::int32_t>(motif.token[j]);
  }
  // The value of a key that stands before `at` again, scored.
  HYLAS_HOST_DEVICE static void repeat(const Place& place, std::uint32_t* record, std::uint32_t& at) {
    const std::uint32_t before = record[1];
    record[1] = at;
    for (std::uint32_t j = 0; j < record[2]; ++j, ++at) {
      place.tokens[at] = place.tokens[before + j];
      place.score(static_cast<std::int32_t>(at) - 1, place.tokens[at], static_cast<std::int32_t>(before + j));
    }
  }
  // Moves `size` tokens, and the targets and distances of all but the last, so that the last token would stand behind
  // the place.
  HYLAS_HOST_DEVICE void pad(const Place& place, std::uint32_t size) const {
    const auto padding = place.length + 1 - static_cast<std::int32_t>(size);
    for (std::int32_t t = place.length - 1; t >= 0; --t) {
      const std::int32_t from = t - padding;
      place.tokens[t] = from >= 0 ? place.tokens[from] : static_cast<std::int32_t>(vocab - 1);
      place.targets[t] = from >= 0 ? place.targets[from] : -1;
      if (place.distance != nullptr) place.distance[t] = from >= 0 ? place.distance[from] : 0;
    }
  }

  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    place.clear();
    Seen seen(place.scratch);
    const Motif probe = draw_key(draws);
    const Motif answer = draw_value(draws);
    const std::uint32_t longest = key_motif + value_motif;
    const std::uint32_t limit = static_cast<std::uint32_t>(place.length) - (probe.size + answer.size) - longest;
    const std::uint32_t start = draws.below(limit - longest + 1);
    bool has_probe = false;
    std::uint32_t at = 0;
    while (at < limit) {
      const Motif key = at >= start && !has_probe ? probe : draw_key(draws);
      const std::uint32_t key_code = code(key);
      const bool is_probe = key_code == code(probe);
      append(place, key, at);
      if (std::uint32_t* const record = seen.find(key_code)) {
        repeat(place, record, at);
      } else {
        const Motif value = is_probe ? answer : draw_value(draws);
        seen.add(key_code, at, value.size);
        append(place, value, at);
      }
      has_probe = has_probe || is_probe;
    }
    append(place, probe, at);
    repeat(place, seen.find(code(probe)), at);
    pad(place, at);
    if (next_tokens) train_next_tokens(place);
  }
};

}  // namespace hylas::model
