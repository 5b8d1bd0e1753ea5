// Needles: token-level ports of RULER's needle tasks and of its variable tracking. Facts stand somewhere in noise, a
// question at the end asks for them. This file fixes every bit of a sequence.
//
// Source: Hsieh et al., "RULER", arXiv 2404.06654; github.com/NVIDIA/RULER, scripts/data/synthetic/niah.py and
// variable_tracking.py, parameters of synthetic.yaml. Ports: tokens instead of words, numbers and sentences; noise is
// random tokens; the answer is taught and read token by token with the earlier answer tokens in the input.
//
// Tokens, with N = noise_vocab, K = key_vocab, U = value_vocab: noise [0, N), keys [N, N + K), values
// [N + K, N + K + U), then "ask", for tracking also "assign". A needle is a key and its value of v = value_tokens
// tokens; for tracking it is an assignment "assign x y" that gives variable x the value of y.
// The end of a sequence is the question with its answers; the H tokens before it are the haystack. T is the context.
//
//   kind      needles                                           question, each answer token predicted one place earlier
//   retrieve  k keys with r values each, n = k r; q keys asked  for each key asked: ask key answers; the answers are
//             (needle_single k = r = q = 1; needle_multikey     the r values in the order in which they stand, v tokens
//             k 4; needle_multivalue r 4; needle_multiquery     each. H = T + 1 - q (2 + r v)
//             k = q = 4)
//   haystack  n = floor(H / (1 + v)) with different keys and    ask key answer. H = T - 1 - v
//             nothing else but H mod (1 + v) tokens of noise
//             in front; one is asked
//   tracking  chains of hops + 1 variables: the first is given  ask value x_1 .. x_(hops + 1), all variables of the
//             a value token, each next one the variable before  first chain in order. H = T - 2 - hops
//             it; n = chains (hops + 1), a chain in order
// The last answer token is not in the input. Targets are the answers, all else is -1; distance[t] leads to the answer's
// token in its needle (for a variable: where it is assigned, not where it is read).
//
// Depth is one of 40 classes c from 0 to 39, c / 39 of the way: with F = H - n w tokens of noise (w the needle's
// width), a needle of class c with e needles of lower classes before it begins at floor(c F / 39) + e w. In a haystack
// of needles the one asked is number floor((2 c (n - 1) + 39) / 78), counted from 0. Where a single needle answers, the
// evaluation's sequence i has class i mod 40.
//
// Draws (draws.hpp, tag "needles", for all kinds), in this order; "different" numbers are drawn again when taken
// (distinct.hpp); needle j of retrieve is value j mod r of key floor(j / r), of tracking variable j mod (hops + 1) of
// chain floor(j / (hops + 1)):
//   retrieve  1. classes of needles 0 .. n - 1: different below(40); but in the evaluation with r q = 1 needle 0 has
//                class (index mod 40) without a draw. Then the classes of one key's needles are put in ascending order.
//             2. k different below(K): the keys; asked are the first q, in this order
//             3. values of needles 0 .. n - 1, token by token: below(U)
//   haystack  1. class of the needle asked: below(40), in the evaluation (index mod 40) without a draw
//             2. n different below(K): the keys in order;  3. their values in order, token by token: below(U)
//   tracking  1. classes of needles 0 .. n - 1: different below(40), then put in ascending order within each chain
//             2. n different below(K): the variables;  3. for each chain its value: different below(U)
//   all       4. noise from left to right: below(N)
//
// What the ports keep of RULER: numbers of keys, values, queries, chains and hops, 40 depths drawn without replacement
// (there for the essay haystack), order within a chain, all variables asked. RULER asks all keys in one question and
// allows equal keys in a haystack of needles; chains' values may be equal there.
//
// Errors: the types' make throws InputError naming the parameter. Thread-safety: make() is const.
#pragma once

#include <cstdint>

#include "model/data/generator.hpp"
#include "model/data/tasks/distinct.hpp"

namespace hylas::model {

enum class NeedleKind : std::uint8_t { retrieve, haystack, tracking };

struct Needles : GeneratorBase {
  static constexpr const char* name = "needles";
  static constexpr std::int32_t depths = 40;

  NeedleKind kind = NeedleKind::retrieve;
  std::int32_t noise_vocab = 1, key_vocab = 1, value_vocab = 1, value_tokens = 1;
  std::int32_t keys = 1, values = 1, queries = 1;  // k, r, q
  std::int32_t chains = 1, hops = 1;

  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t ask() const { return noise_vocab + key_vocab + value_vocab; }
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t width() const {
    return kind == NeedleKind::tracking ? 3 : 1 + value_tokens;
  }
  // Tokens of a question with its answers, less the last answer token.
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t question() const {
    if (kind == NeedleKind::tracking) return 2 + hops;
    return queries * (2 + values * value_tokens) - 1;
  }
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t haystack() const {
    return static_cast<std::int32_t>(length) - question();
  }
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t needles() const {
    if (kind == NeedleKind::tracking) return chains * (hops + 1);
    return kind == NeedleKind::haystack ? haystack() / width() : keys * values;
  }
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr std::int32_t answers() const {
    return kind == NeedleKind::tracking ? hops + 1 : queries * values * value_tokens;
  }
  // One place answers, so that a sequence has a depth.
  [[nodiscard]] HYLAS_HOST_DEVICE constexpr bool has_depth() const {
    return kind != NeedleKind::tracking && queries * values == 1;
  }

  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    place.clear();
    for (std::int32_t t = 0; t < haystack(); ++t) place.tokens[t] = unset;
    if (kind == NeedleKind::haystack) {
      make_haystack(draws, place);
    } else {
      std::int32_t start[depths] = {};  // of each needle
      place_needles(draws, start);
      if (kind == NeedleKind::retrieve) {
        make_retrieve(draws, place, start);
      } else {
        make_tracking(draws, place, start);
      }
    }
    for (std::int32_t t = 0; t < haystack(); ++t) {
      if (place.tokens[t] == unset) place.tokens[t] = below(draws, noise_vocab);
    }
  }

 private:
  static constexpr std::int32_t unset = -1;

  HYLAS_HOST_DEVICE static std::int32_t below(Draws& draws, std::int32_t n) {
    return static_cast<std::int32_t>(draws.below(static_cast<std::uint32_t>(n)));
  }
  HYLAS_HOST_DEVICE static std::int32_t below(Distinct& fresh, Draws& draws, std::int32_t n) {
    return static_cast<std::int32_t>(fresh.below(draws, static_cast<std::uint32_t>(n)));
  }
  HYLAS_HOST_DEVICE static std::int32_t depth_of_index(const Draws& draws) {
    return static_cast<std::int32_t>(draws.index() % depths);
  }

  // start[j]: where needle j begins.
  HYLAS_HOST_DEVICE void place_needles(Draws& draws, std::int32_t* start) const {
    const std::int32_t count = needles();
    const std::int32_t ordered = kind == NeedleKind::tracking ? hops + 1 : values;  // so many have their order fixed
    std::uint32_t bits[2];
    Distinct classes(bits, depths);
    std::int32_t depth[depths] = {};
    for (std::int32_t j = 0; j < count; ++j) {
      if (j == 0 && has_depth() && draws.eval()) {
        depth[0] = depth_of_index(draws);
        classes.take(static_cast<std::uint32_t>(depth[0]));
      } else {
        depth[j] = below(classes, draws, depths);
      }
      for (std::int32_t i = j; i % ordered != 0 && depth[i - 1] > depth[i]; --i) {  // insertion sort
        const std::int32_t deeper = depth[i - 1];
        depth[i - 1] = depth[i];
        depth[i] = deeper;
      }
    }
    const std::int64_t noise = haystack() - count * width();
    for (std::int32_t j = 0; j < count; ++j) {
      std::int32_t before = 0;
      for (std::int32_t i = 0; i < count; ++i) before += depth[i] < depth[j] ? 1 : 0;
      start[j] = static_cast<std::int32_t>(depth[j] * noise / (depths - 1)) + before * width();
    }
  }

  // Writes "ask" and the key (or, of a chain, the value). Returns the position of the first answer.
  HYLAS_HOST_DEVICE std::int32_t ask_key(const Place& place, std::int32_t at, std::int32_t key) const {
    place.tokens[at] = ask();
    place.tokens[at + 1] = key;
    return at + 2;
  }
  // The token at `answer` is the answer at position `at`, predicted one place before.
  HYLAS_HOST_DEVICE static void answer_at(const Place& place, std::int32_t at, std::int32_t answer) {
    if (at < place.length) place.tokens[at] = place.tokens[answer];
    place.score(at - 1, place.tokens[answer], answer);
  }

  HYLAS_HOST_DEVICE void make_retrieve(Draws& draws, const Place& place, const std::int32_t* start) const {
    Distinct fresh(place.scratch, key_vocab);
    for (std::int32_t i = 0; i < keys; ++i) {
      const std::int32_t key = noise_vocab + below(fresh, draws, key_vocab);
      for (std::int32_t j = 0; j < values; ++j) place.tokens[start[i * values + j]] = key;
    }
    for (std::int32_t j = 0; j < needles(); ++j) write_value(draws, place, start[j] + 1);
    std::int32_t at = haystack();
    for (std::int32_t i = 0; i < queries; ++i) {
      at = ask_key(place, at, place.tokens[start[i * values]]);
      for (std::int32_t j = 0; j < values; ++j) {
        for (std::int32_t v = 0; v < value_tokens; ++v) answer_at(place, at++, start[i * values + j] + 1 + v);
      }
    }
  }

  HYLAS_HOST_DEVICE void make_haystack(Draws& draws, const Place& place) const {
    const std::int64_t depth = draws.eval() ? depth_of_index(draws) : below(draws, depths);
    const std::int32_t count = needles(), first = haystack() % width();
    Distinct fresh(place.scratch, key_vocab);
    for (std::int32_t j = 0; j < count; ++j) {
      place.tokens[first + j * width()] = noise_vocab + below(fresh, draws, key_vocab);
    }
    for (std::int32_t j = 0; j < count; ++j) write_value(draws, place, first + j * width() + 1);
    const auto asked = static_cast<std::int32_t>((2 * depth * (count - 1) + depths - 1) / (2 * (depths - 1)));
    const std::int32_t needle = first + asked * width();
    std::int32_t at = ask_key(place, haystack(), place.tokens[needle]);
    for (std::int32_t v = 0; v < value_tokens; ++v) answer_at(place, at++, needle + 1 + v);
  }

  HYLAS_HOST_DEVICE void make_tracking(Draws& draws, const Place& place, const std::int32_t* start) const {
    Distinct variables(place.scratch, key_vocab);
    for (std::int32_t j = 0; j < needles(); ++j) {
      place.tokens[start[j]] = ask() + 1;  // assign
      place.tokens[start[j] + 1] = noise_vocab + below(variables, draws, key_vocab);
      if (j % (hops + 1) != 0) place.tokens[start[j] + 2] = place.tokens[start[j - 1] + 1];
    }
    Distinct fresh(place.scratch, value_vocab);
    for (std::int32_t c = 0; c < chains; ++c) {
      place.tokens[start[c * (hops + 1)] + 2] = noise_vocab + key_vocab + below(fresh, draws, value_vocab);
    }
    std::int32_t at = ask_key(place, haystack(), place.tokens[start[0] + 2]);
    for (std::int32_t x = 0; x <= hops; ++x) answer_at(place, at++, start[x] + 1);
  }

  HYLAS_HOST_DEVICE void write_value(Draws& draws, const Place& place, std::int32_t at) const {
    for (std::int32_t v = 0; v < value_tokens; ++v) {
      place.tokens[at + v] = noise_vocab + key_vocab + below(draws, value_vocab);
    }
  }
};

}  // namespace hylas::model
