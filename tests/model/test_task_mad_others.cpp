// MAD's selective copying, compression and memorization: the structure their headers state, re-derived from tokens
// alone, and their distributions.
#include <random>
#include <set>

#include "model/data/tasks/mad_memorization.hpp"
#include "tests/model/test_task_support.hpp"

namespace hylas::model {
namespace {

using namespace task_test;

TEST_CASE("In 10,000 sequences of selective copying the targets are the content tokens in order", "[task][mad]") {
  const struct {
    std::int64_t context, vocab, copy;
  } settings[] = {{256, 16, 16}, {64, 128, 31}, {100, 3, 1}, {256, 32, 96}};
  std::mt19937_64 random(4);
  for (const auto& [context, vocab, copy] : settings) {
    const auto made = task("mad_selective_copy", context, {{"vocab", vocab}, {"copy", copy}, {"train_sequences", 0}});
    const auto T = static_cast<std::size_t>(context), k = static_cast<std::size_t>(copy);
    const auto blank = static_cast<std::int32_t>(vocab - 2);
    for (int i = 0; i < 2500; ++i) {
      const std::uint64_t seed = random(), index = random();
      CAPTURE(context, vocab, copy, seed, index);
      const Sequence s = make(*made, seed, i % 2 ? Split::train : Split::eval, index);
      std::vector<std::int32_t> targets(T, -1), distance(T, 0);
      std::size_t j = 0;
      for (std::size_t t = 0; t < T - k - 1; ++t) {
        if (s.tokens[t] == blank) continue;
        REQUIRE(s.tokens[t] < blank);
        REQUIRE(j < k);
        targets[T - k + j] = s.tokens[t];
        distance[T - k + j] = static_cast<std::int32_t>(T - k + j + 1 - t);
        ++j;
      }
      REQUIRE(j == k);
      REQUIRE(s.tokens[T - k - 2] != blank);
      REQUIRE(s.tokens[T - k - 1] == blank + 1);
      REQUIRE(std::count(s.tokens.end() - static_cast<std::ptrdiff_t>(k), s.tokens.end(), blank) == copy);
      REQUIRE(s.targets == targets);
      REQUIRE(s.distance == distance);
    }
  }
}

// Each of B blanks stands in front of a uniform one of k tokens, so a gap is binomial(B, 1 / k), and two gaps together
// binomial(B, 2 / k).
TEST_CASE("Content tokens of selective copying are uniform, the gaps in front of them multinomial", "[task][mad]") {
  const std::size_t k = 8, T = 64;
  const std::int64_t B = 64 - 2 * 8 - 1;
  const auto made = task("mad_selective_copy", 64, {{"copy", 8}, {"train_sequences", 0}});
  std::vector<std::vector<double>> tokens(k, std::vector<double>(14, 0));
  std::vector<std::vector<double>> gaps(k, std::vector<double>(static_cast<std::size_t>(B) + 1, 0)), twos = gaps;
  std::vector<double> pairs(14 * 14, 0);
  for (std::uint64_t index = 0; index < 10000; ++index) {
    const Sequence s = make(*made, 15, Split::train, index);
    std::size_t gap = 0, j = 0, before = 0;
    for (std::size_t t = 0; t < T - k - 1; ++t) {
      if (s.tokens[t] == 14) {
        ++gap;
        continue;
      }
      ++tokens[j][static_cast<std::size_t>(s.tokens[t])], ++gaps[j][gap];
      if (j > 0) ++twos[j][gap + before];
      before = gap, gap = 0, ++j;
    }
    ++pairs[14 * static_cast<std::size_t>(s.targets[T - k]) + static_cast<std::size_t>(s.targets[T - k + 1])];
  }
  for (std::size_t j = 0; j < k; ++j) {
    CAPTURE(j);
    CHECK(uniform(tokens[j]));
    CHECK(agrees(gaps[j], binomial(B, 1 / static_cast<double>(k))));
    if (j > 0) CHECK(agrees(twos[j], binomial(B, 2 / static_cast<double>(k))));
  }
  CHECK(uniform(pairs));
}

TEST_CASE("Compression: uniform independent tokens, each its own target, the compression token last", "[task][mad]") {
  const std::size_t T = 32;
  for (const std::int64_t vocab : {16, 128}) {
    const auto made = task("mad_compression", 32, {{"vocab", vocab}, {"train_sequences", 0}});
    const auto content = static_cast<std::size_t>(vocab - 1);
    std::vector<double> all(content, 0), pairs(15 * 15, 0);
    for (std::uint64_t index = 0; index < 10000; ++index) {
      const Sequence s = make(*made, 16, index % 2 ? Split::train : Split::eval, index);
      REQUIRE(s.tokens[T - 1] == vocab - 1);
      REQUIRE(s.targets[T - 1] == -1);
      REQUIRE(s.distance[T - 1] == 0);
      for (std::size_t t = 0; t + 1 < T; ++t) {
        REQUIRE((s.tokens[t] >= 0 && s.tokens[t] < vocab - 1));
        REQUIRE(s.targets[t] == s.tokens[t]);
        REQUIRE(s.distance[t] == unknown_distance);
        ++all[static_cast<std::size_t>(s.tokens[t])];
      }
      if (vocab == 16)
        ++pairs[15 * static_cast<std::size_t>(s.tokens[index % 31]) +
                static_cast<std::size_t>(s.tokens[(index + 7) % 31])];
    }
    CHECK(uniform(all));
    if (vocab == 16) CHECK(uniform(pairs));
  }
}

TEST_CASE("Memorization: uniform keys, each with its one value at the insert token behind it", "[task][mad]") {
  for (const std::int64_t vocab : {256, 8192, 4, 21}) {
    const auto map = memorization_map(vocab);
    const auto made = task("mad_memorization", 32, {{"vocab", vocab}, {"train_sequences", 0}});
    std::vector<double> keys(static_cast<std::size_t>((vocab - 1) / 2), 0);
    for (std::uint64_t index = 0; index < 10000; ++index) {
      const Sequence s = make(*made, index % 3, index % 2 ? Split::train : Split::eval, index);
      for (std::size_t t = 0; t < 32; t += 2) {
        REQUIRE((s.tokens[t] >= 0 && static_cast<std::size_t>(s.tokens[t]) < keys.size()));
        REQUIRE(s.tokens[t + 1] == vocab - 1);
        REQUIRE((s.targets[t] == -1 && s.distance[t] == 0));
        REQUIRE(s.targets[t + 1] == static_cast<std::int32_t>(map[static_cast<std::size_t>(s.tokens[t])]));
        REQUIRE(s.distance[t + 1] == unknown_distance);
        ++keys[static_cast<std::size_t>(s.tokens[t])];
      }
    }
    CAPTURE(vocab);
    if (keys.size() > 1) CHECK(uniform(keys));
  }
}

// Maps of different vocabularies come from the same words in different ranges, so their values are not independent; one
// large map's are, but for being different: the tenths of the values that its tenths of keys fall into.
TEST_CASE("A memorization map gives each key its own value, without order", "[task][mad]") {
  for (std::int64_t vocab = 3; vocab < 300; ++vocab) {
    const auto map = memorization_map(vocab);
    const auto keys = static_cast<std::uint64_t>((vocab - 1) / 2);
    REQUIRE(map.size() == keys);
    REQUIRE(std::set<std::uint64_t>(map.begin(), map.end()).size() == map.size());
    REQUIRE(std::all_of(map.begin(), map.end(), [&](std::uint64_t value) {
      return value >= keys && value < static_cast<std::uint64_t>(vocab - 1);
    }));
  }
  const auto map = memorization_map(20001);
  std::vector<double> tenths(100, 0);
  for (std::size_t key = 0; key < 10000; ++key) ++tenths[key / 1000 * 10 + (map[key] - 10000) / 1000];
  CHECK(uniform(tenths));
}

// The share of test keys that 256 training sequences never show, which mad_memorization.hpp states.
TEST_CASE("At vocabulary 8192 the default training set leaves over a third of the keys unseen", "[task][mad]") {
  const auto made = task("mad_memorization", 32, {{"vocab", 8192}});
  std::set<std::int32_t> trained;
  for (std::uint64_t index = 0; index < 12800; ++index) {
    const Sequence s = make(*made, 1, Split::train, index);
    for (std::size_t t = 0; t < 32; t += 2) trained.insert(s.tokens[t]);
  }
  // of 4095 keys, exp(-4096 / 4095) = .368 unseen; standard deviation of the share about .005
  CHECK(std::abs(1 - static_cast<double>(trained.size()) / 4095 - 0.368) < 0.025);
}

}  // namespace
}  // namespace hylas::model
