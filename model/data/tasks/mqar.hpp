// MQAR, multi-query associative recall: pairs (key, value) first, then each key once more, at gaps that follow a power
// law; at that query the model predicts the key's value. This file fixes every bit of a sequence.
//
// Source: Arora et al., "Zoology", arXiv 2312.04927; github.com/HazyResearch/zoology, zoology/data/multiquery_ar.py,
// and forgetting_mqar.py for reassignment (its num_updates is `reassign` here). A port by its own random numbers: other
// sequences of the same distribution. Differences: new values of reassigned keys differ from all other values (there
// from the key's old one), and an odd context is taken. Two-token keys are not in that code.
//
// With V = vocab, n = pairs, u = reassign, L the context and w = key_tokens + 1, the width of a pair:
//   Keys are tokens 1 .. floor(V/2) - 1, values floor(V/2) .. V - 1. Pair j lies at positions w j .. w j + w - 1, its
//   value last. Pairs 0 .. n - 1 have different keys; pairs n .. n + u - 1 repeat u different ones of them with new
//   values, and the last value counts.
//   C = w (n + u) tokens are pairs. The rest is cut into G = floor((L - C) / 2) slots of two tokens; slot g, counted
//   from 1, begins at C + 2 (g - 1). The query of pair i's key (i < n) begins a slot; at its last token (the first one
//   of the slot, or the second for two-token keys) the value is the target, distance[t] = t + 1 - the position of the
//   value that counts. All other targets are -1.
//   All other tokens from C on are fillers: 0, or with filler = 1 uniform over [0, V).
// Needs w (n + u) + 2 n <= L: 4 n <= L for one-token keys that keep their values.
//
// Draws (draws.hpp, tag "mqar"), in this order; "different" numbers are drawn again when taken (distinct.hpp):
//   1. keys of pairs 0 .. n - 1. One token: different below(floor(V/2) - 1), plus 1. Two tokens: m different ones so,
//      the symbols, with m the least for which m m >= 2 n; then n different c = below(m m): the key is symbol
//      floor(c / m), symbol c mod m. So neither token alone tells a key.
//   2. values of pairs 0 .. n + u - 1: different below(V - floor(V/2)), plus floor(V/2)
//   3. u different below(n): the pairs whose keys pairs n, n + 1, ... repeat
//   4. for i = 0 .. n - 1 the slot of pair i's query, different ones by weight (WeightedDistinct in distinct.hpp): slot
//   g
//      has the weight w_g = round(2^32 g^(a - 1)), a = power_a: p(g) ~ a g^(a - 1) of those left
//   5. with filler = 1, fillers from C on, in order: below(V)
// w_g comes from the double-precision pow(); an error of half an ulp there changes some w_g of a table with a
// probability of about 10^-5.
//
// Errors: mqar_type()'s make throws InputError naming the parameter. Thread-safety: make() is const.
#pragma once

#include <cstdint>

#include "model/data/generator.hpp"
#include "model/data/tasks/distinct.hpp"

namespace hylas::model {

struct Mqar : GeneratorBase {  // table: sums w_1 + ... + w_g for g = 0 .. G
  static constexpr const char* name = "mqar";
  std::int32_t pairs = 0, reassign = 0, key_tokens = 1;
  std::int32_t symbols = 0;  // m
  bool filler = false;

  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t width() const { return key_tokens + 1; }
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int64_t pair_tokens() const {
    return static_cast<std::int64_t>(width()) * (pairs + reassign);
  }
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int64_t slots() const { return (length - pair_tokens()) / 2; }
  // Scratch: what the largest draw without replacement needs, where pair i's value stands [n], symbols [m].
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int64_t taken_words() const {
    std::int64_t most = vocab > pairs ? vocab : pairs;
    if (static_cast<std::int64_t>(symbols) * symbols > most) most = static_cast<std::int64_t>(symbols) * symbols;
    most = Distinct::words(most);
    return most > WeightedDistinct::words(slots()) ? most : WeightedDistinct::words(slots());
  }

  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    place.clear();
    std::uint32_t* value_at = place.scratch + taken_words();
    draw_keys(draws, place, value_at + pairs);
    draw_values(draws, place, value_at);
    draw_queries(draws, place, value_at);
  }

 private:
  HYLAS_HOST_DEVICE void draw_keys(Draws& draws, const Place& place, std::uint32_t* symbol) const {
    const auto keys = static_cast<std::uint32_t>(vocab / 2 - 1), m = static_cast<std::uint32_t>(symbols);
    Distinct fresh(place.scratch, keys);
    if (key_tokens == 1) {
      for (std::int32_t i = 0; i < pairs; ++i)
        place.tokens[2 * i] = static_cast<std::int32_t>(1 + fresh.below(draws, keys));
      return;
    }
    for (std::uint32_t s = 0; s < m; ++s) symbol[s] = 1 + fresh.below(draws, keys);
    Distinct combination(place.scratch, static_cast<std::int64_t>(m) * m);
    for (std::int32_t i = 0; i < pairs; ++i) {
      const std::uint32_t c = combination.below(draws, m * m);
      place.tokens[3 * i] = static_cast<std::int32_t>(symbol[c / m]);
      place.tokens[3 * i + 1] = static_cast<std::int32_t>(symbol[c % m]);
    }
  }

  HYLAS_HOST_DEVICE void draw_values(Draws& draws, const Place& place, std::uint32_t* value_at) const {
    const auto first = static_cast<std::uint32_t>(vocab / 2);
    Distinct fresh(place.scratch, vocab);
    for (std::int32_t j = 0; j < pairs + reassign; ++j) {
      const std::int32_t at = width() * j + key_tokens;
      place.tokens[at] =
          static_cast<std::int32_t>(first + fresh.below(draws, static_cast<std::uint32_t>(vocab) - first));
      if (j < pairs) value_at[j] = static_cast<std::uint32_t>(at);
    }
    Distinct repeated(place.scratch, pairs);
    for (std::int32_t j = pairs; j < pairs + reassign; ++j) {
      const auto i = static_cast<std::int32_t>(repeated.below(draws, static_cast<std::uint32_t>(pairs)));
      copy_key(place.tokens, i, width() * j);
      value_at[i] = static_cast<std::uint32_t>(width() * j + key_tokens);
    }
  }

  HYLAS_HOST_DEVICE void draw_queries(Draws& draws, const Place& place, const std::uint32_t* value_at) const {
    constexpr std::int32_t unset = -1;
    const auto begin = static_cast<std::int32_t>(pair_tokens());
    for (std::int32_t t = begin; t < place.length; ++t) place.tokens[t] = filler ? unset : 0;
    WeightedDistinct free_slots(place.scratch, static_cast<std::uint32_t>(slots()), table);
    for (std::int32_t i = 0; i < pairs; ++i) {
      const std::uint32_t slot = free_slots.draw(draws);
      const std::int32_t at = begin + 2 * static_cast<std::int32_t>(slot);
      copy_key(place.tokens, i, at);
      const auto answer = static_cast<std::int32_t>(value_at[i]);
      place.score(at + key_tokens - 1, place.tokens[answer], answer);
    }
    if (!filler) return;
    for (std::int32_t t = begin; t < place.length; ++t) {
      if (place.tokens[t] == unset) {
        place.tokens[t] = static_cast<std::int32_t>(draws.below(static_cast<std::uint32_t>(vocab)));
      }
    }
  }

  HYLAS_HOST_DEVICE void copy_key(std::int32_t* tokens, std::int32_t pair, std::int32_t to) const {
    for (std::int32_t k = 0; k < key_tokens; ++k) tokens[to + k] = tokens[width() * pair + k];
  }
};

}  // namespace hylas::model
