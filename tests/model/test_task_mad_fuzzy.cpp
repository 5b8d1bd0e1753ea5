// MAD's fuzzy recall: the structure of mad_fuzzy_recall.hpp re-derived from tokens alone, and its distributions. Keys
// and values have tokens of their own, so a sequence falls apart into its pairs without any knowledge of how it was
// made.
#include <random>
#include <set>

#include "tests/model/test_task_support.hpp"

namespace hylas::model {
namespace {

using namespace task_test;
using Tokens = std::vector<std::int32_t>;
using Pair = std::pair<Tokens, Tokens>;

// The padding's length and the pairs; the last token is the last target.
std::pair<std::size_t, std::vector<Pair>> parse(const Sequence& s, std::int32_t keys, std::int32_t vocab) {
  Tokens all = s.tokens;
  all.push_back(s.targets.back());
  std::size_t at = 0;
  while (at < all.size() && all[at] == vocab - 1) ++at;
  const std::size_t padding = at;
  std::vector<Pair> pairs;
  while (at < all.size()) {
    pairs.emplace_back();
    while (at < all.size() && all[at] >= 0 && all[at] < keys) pairs.back().first.push_back(all[at++]);
    while (at < all.size() && all[at] >= keys && all[at] < vocab - 1) pairs.back().second.push_back(all[at++]);
    if (pairs.back().first.empty() || pairs.back().second.empty()) return {padding, {}};
  }
  return {padding, pairs};
}

bool is_motif(const Tokens& motif, std::size_t least, std::size_t most) {
  return motif.size() >= least && motif.size() <= most &&
         std::set<std::int32_t>(motif.begin(), motif.end()).size() == motif.size();
}

std::string wrong(const Sequence& s, std::int32_t vocab, std::size_t motif, bool eval, bool next_tokens) {
  const std::int32_t K = (vocab - 1) / 2;
  const auto [padding, pairs] = parse(s, K, vocab);
  if (pairs.size() < 2) return "no pairs";
  if (padding < 2 || padding > 1 + 2 * motif) return "the padding's length";
  std::vector<std::int32_t> targets(s.tokens.size(), -1), distance(s.tokens.size(), 0);
  std::map<Tokens, std::pair<Tokens, std::size_t>> last;  // by key: value, where it begins
  std::size_t at = padding;
  for (const auto& [key, value] : pairs) {
    if (!is_motif(key, eval ? motif : 1, motif) || !is_motif(value, 1, motif)) return "a motif";
    at += key.size();
    const auto before = last.find(key);
    if (before != last.end()) {
      if (before->second.first != value) return "two values of one key";
      for (std::size_t j = 0; j < value.size(); ++j) {
        targets[at + j - 1] = value[j];
        distance[at + j - 1] = static_cast<std::int32_t>(at - before->second.second);
      }
    } else if (&key == &pairs.back().first) {
      return "a last query without an answer";
    }
    last[key] = {value, at};
    at += value.size();
  }
  if (next_tokens) {
    for (std::size_t t = 0; t + 1 < targets.size(); ++t) targets[t] = s.tokens[t + 1];
  }
  if (s.targets != targets) return "targets";
  return s.distance == distance ? "" : "distances";
}

TEST_CASE("In 10,000 sequences of fuzzy recall exactly the values of repeated keys are scored", "[task][mad]") {
  const struct {
    std::int64_t context, vocab, motif, next_tokens;
  } settings[] = {{128, 16, 3, 1}, {77, 7, 3, 0}, {256, 128, 3, 1}, {40, 9, 2, 0}, {33, 20, 1, 1}};
  std::mt19937_64 random(3);
  for (const auto& [context, vocab, motif, next_tokens] : settings) {
    const auto made = task("mad_fuzzy_recall", context,
                           {{"vocab", vocab},
                            {"key_motif", motif},
                            {"value_motif", motif},
                            {"next_tokens", next_tokens},
                            {"train_sequences", 0}});
    for (int i = 0; i < 4000; ++i) {
      const std::uint64_t seed = random(), index = random();
      const bool eval = i % 2 == 0;
      CAPTURE(context, vocab, motif, seed, index);
      const Sequence s = make(*made, seed, eval ? Split::eval : Split::train, index);
      const std::string problem =
          wrong(s, static_cast<std::int32_t>(vocab), static_cast<std::size_t>(motif), eval, next_tokens == 1);
      CAPTURE(problem);
      REQUIRE(problem.empty());
    }
  }
}

// A motif's number among all motifs of its size of `alphabet` tokens from `first` on, ordered by its tokens.
std::size_t motif_number(const Tokens& motif, std::int32_t first, std::int32_t alphabet) {
  std::size_t number = 0;
  for (std::size_t j = 0; j < motif.size(); ++j) {
    std::size_t smaller = 0;
    for (std::size_t i = 0; i < j; ++i) smaller += motif[i] < motif[j];
    number = number * (static_cast<std::size_t>(alphabet) - j) + static_cast<std::size_t>(motif[j] - first) - smaller;
  }
  return number;
}

// The last pair is the probe, whatever came before it.
TEST_CASE("The probe's sizes are uniform, and its motifs uniform among those of a size", "[task][mad]") {
  const std::int32_t vocab = 11, K = 5, V = 5;  // 5, 20, 60 motifs of 1, 2, 3 tokens
  const auto made = task("mad_fuzzy_recall", 64, {{"vocab", vocab}, {"train_sequences", 0}});
  for (const Split split : {Split::train, Split::eval}) {
    std::vector<double> sizes(9, 0), values(3, 0);
    std::vector<double> key_motifs[] = {std::vector<double>(5, 0), std::vector<double>(20, 0),
                                        std::vector<double>(60, 0)};
    std::vector<double> values_of[] = {key_motifs[0], key_motifs[1], key_motifs[2]};
    for (std::uint64_t index = 0; index < 10000; ++index) {
      const auto pairs = parse(make(*made, 11, split, index), K, vocab).second;
      REQUIRE(!pairs.empty());
      const auto& [key, value] = pairs.back();
      ++sizes[3 * (key.size() - 1) + value.size() - 1];
      ++values[value.size() - 1];
      ++key_motifs[key.size() - 1][motif_number(key, 0, K)];
      ++values_of[value.size() - 1][motif_number(value, K, V)];
    }
    CHECK(uniform(values));
    CHECK(uniform(key_motifs[2]));
    for (const auto& counts : values_of) CHECK(uniform(counts));
    if (split == Split::train) {
      CHECK(uniform(sizes));
      CHECK(uniform(key_motifs[0]));
      CHECK(uniform(key_motifs[1]));
    } else {
      CHECK(sizes[0] + sizes[1] + sizes[2] + sizes[3] + sizes[4] + sizes[5] == 0);
    }
  }
}

struct Summary {
  double pairs = 0, padding = 0, scored = 0, probe_at = 0, single_keys = 0, repeats = 0;
  [[nodiscard]] std::vector<double> all() const { return {pairs, padding, scored, probe_at, single_keys, repeats}; }
};

Summary summary(std::size_t padding, const std::vector<Pair>& pairs) {
  Summary s{.pairs = static_cast<double>(pairs.size()), .padding = static_cast<double>(padding)};
  std::set<Tokens> seen;
  double at = 0;
  bool found = false;
  for (const auto& [key, value] : pairs) {
    if (!found && key == pairs.back().first) s.probe_at = at, found = true;
    s.single_keys += key.size() == 1;
    const bool repeated = !seen.insert(key).second;
    s.repeats += repeated;
    s.scored += repeated ? static_cast<double>(value.size()) : 0;
    at += static_cast<double>(key.size() + value.size());
  }
  return s;
}

// The task once more, with the standard library's random numbers.
Summary simulated(std::int64_t context, std::int32_t vocab, bool eval, std::mt19937_64& random) {
  const std::int32_t K = (vocab - 1) / 2;
  const auto below = [&](std::int64_t n) { return std::uniform_int_distribution<std::int64_t>(0, n - 1)(random); };
  const auto motif = [&](std::int64_t size, std::int32_t first, std::int32_t end) {
    Tokens alphabet(static_cast<std::size_t>(end - first));
    std::iota(alphabet.begin(), alphabet.end(), first);
    std::shuffle(alphabet.begin(), alphabet.end(), random);
    alphabet.resize(static_cast<std::size_t>(size));
    return alphabet;
  };
  const auto key_of = [&] { return motif(eval ? 3 : 1 + below(3), 0, K); };
  const auto value_of = [&] { return motif(1 + below(3), K, vocab - 1); };
  const Pair probe{key_of(), value_of()};
  const auto own = static_cast<std::int64_t>(probe.first.size() + probe.second.size());
  const std::int64_t limit = context - own - 6, start = below(limit - 6 + 1);
  std::map<Tokens, Tokens> map;
  std::vector<Pair> pairs;
  std::int64_t size = 0;
  while (size < limit) {
    const Tokens key = size >= start && !map.contains(probe.first) ? probe.first : key_of();
    if (!map.contains(key)) map[key] = key == probe.first ? probe.second : value_of();
    pairs.emplace_back(key, map[key]);
    size += static_cast<std::int64_t>(key.size() + map[key].size());
  }
  pairs.push_back(probe);
  return summary(static_cast<std::size_t>(context + 1 - size - own), pairs);
}

TEST_CASE("Fuzzy sequences have the means and spreads of a simulation with other random numbers", "[task][mad]") {
  const std::int32_t vocab = 16;
  const int n = 10000;
  for (const auto& [context, eval] : {std::pair{128, false}, std::pair{128, true}, std::pair{40, false}}) {
    const auto made = task("mad_fuzzy_recall", context, {{"train_sequences", 0}});
    std::mt19937_64 random(99);
    double sums[2][6] = {}, squares[2][6] = {}, fourths[2][6] = {};
    for (int i = 0; i < n; ++i) {
      const auto parsed = parse(make(*made, 13, eval ? Split::eval : Split::train, static_cast<std::uint64_t>(i)),
                                (vocab - 1) / 2, vocab);
      const std::vector<double> both[2] = {summary(parsed.first, parsed.second).all(),
                                           simulated(context, vocab, eval, random).all()};
      for (int who = 0; who < 2; ++who) {
        for (std::size_t k = 0; k < 6; ++k) {
          const double x = both[who][k];
          sums[who][k] += x / n, squares[who][k] += x * x / n, fourths[who][k] += x * x * x * x / n;
        }
      }
    }
    for (std::size_t k = 0; k < 6; ++k) {
      const double mean_error =
          std::sqrt((squares[0][k] - sums[0][k] * sums[0][k] + squares[1][k] - sums[1][k] * sums[1][k]) / n);
      const double square_error = std::sqrt(
          (fourths[0][k] - squares[0][k] * squares[0][k] + fourths[1][k] - squares[1][k] * squares[1][k]) / n);
      CAPTURE(context, eval, k, sums[0][k], sums[1][k], mean_error);
      CHECK(std::abs(sums[0][k] - sums[1][k]) <= 5 * mean_error);  // 5 standard errors of the difference
      CHECK(std::abs(squares[0][k] - squares[1][k]) <= 5 * square_error);
    }
  }
}

}  // namespace
}  // namespace hylas::model
