// MAD's in-context recall and noisy recall: the structure of mad_recall.hpp re-derived from tokens alone, and its
// distributions.
#include <random>

#include "tests/model/test_task_support.hpp"

namespace hylas::model {
namespace {

using namespace task_test;

struct Shape {
  std::int32_t keys, noise_vocab;
};

// The first broken promise of mad_recall.hpp, or "".
std::string wrong(const Sequence& s, const Shape& shape, bool next_tokens) {
  const std::int32_t K = shape.keys;
  const auto T = static_cast<std::int32_t>(s.tokens.size());
  std::map<std::int32_t, std::pair<std::int32_t, std::int32_t>> last;  // by key: value, position
  for (std::int32_t t = 0; t < T; t += 2) {
    const auto at = static_cast<std::size_t>(t);
    const std::int32_t key = s.tokens[at], value = s.tokens[at + 1];
    const std::int32_t after = t + 2 < T ? s.tokens[at + 2] : -1;
    if (s.distance[at + 1] != 0 || s.targets[at + 1] != (next_tokens ? after : -1)) return "a value's target";
    const bool noise = key >= 2 * K;
    if (noise != (value >= 2 * K) || (!noise && (key >= K || value < K))) return "a slot of mixed kinds";
    const bool seen = !noise && last.contains(key);
    if (t == T - 2 && !seen) return "a last query without an answer";
    if (s.targets[at] != (seen || next_tokens ? value : -1)) return "a key's target";
    if (s.distance[at] != (seen ? t - last[key].second : 0)) return "a key's distance";
    if (seen && last[key].first != value) return "two values of one key";
    if (!noise) last[key] = {value, t};
  }
  return "";
}

TEST_CASE("In 10,000 sequences of recall and noisy recall exactly the repeated keys are scored", "[task][mad]") {
  const struct {
    std::string name;
    std::int64_t context;
    std::map<std::string, TaskValue> given;
    Shape shape;
  } settings[] = {{"mad_recall", 128, {}, {8, 0}},
                  {"mad_recall", 64, {{"vocab", 128}, {"next_tokens", 0}}, {64, 0}},
                  {"mad_noisy_recall", 128, {}, {8, 16}},
                  {"mad_noisy_recall", 62, {{"vocab", 144}, {"noise", 0.8}, {"next_tokens", 0}}, {64, 16}}};
  std::mt19937_64 random(1);
  for (const auto& [name, context, given, shape] : settings) {
    auto endless = given;
    endless["train_sequences"] = 0;
    const auto made = task(name, context, endless);
    for (int i = 0; i < 5000; ++i) {
      const std::uint64_t seed = random(), index = random();
      CAPTURE(name, context, seed, index);
      const Sequence s = make(*made, seed, i % 2 ? Split::train : Split::eval, index);
      const std::string problem = wrong(s, shape, !given.contains("next_tokens"));
      CAPTURE(problem);
      REQUIRE(problem.empty());
    }
  }
}

// One slot of each sequence, so that counts are of independent draws.
TEST_CASE("Keys of recall are uniform at every slot, values uniform whatever the key", "[task][mad]") {
  const std::int32_t K = 6;
  for (const Split split : {Split::train, Split::eval}) {
    const auto made = task("mad_recall", 12, {{"vocab", 2 * K}, {"train_sequences", 0}});
    std::vector<double> pairs(K * K, 0);
    std::vector<std::vector<double>> keys(5, std::vector<double>(K, 0));
    for (std::uint64_t index = 0; index < 10000; ++index) {
      const Sequence s = make(*made, 5, split, index);
      ++pairs[static_cast<std::size_t>(s.tokens[0] * K + s.tokens[1] - K)];
      for (std::size_t slot = 0; slot < keys.size(); ++slot) ++keys[slot][static_cast<std::size_t>(s.tokens[2 * slot])];
    }
    CHECK(uniform(pairs));
    for (const auto& counts : keys) CHECK(uniform(counts));
  }
}

// In sequences with the same number of different keys, the last one's number among them is uniform.
TEST_CASE("The last query of recall is uniform among the different keys seen", "[task][mad]") {
  const auto made = task("mad_recall", 12, {{"vocab", 12}, {"train_sequences", 0}});
  std::map<std::size_t, std::vector<double>> ranks;  // by the number of different keys
  for (std::uint64_t index = 0; index < 10000; ++index) {
    const Sequence s = make(*made, 6, Split::train, index);
    std::vector<std::int32_t> seen;
    for (std::size_t t = 0; t + 2 < s.tokens.size(); t += 2) {
      if (std::find(seen.begin(), seen.end(), s.tokens[t]) == seen.end()) seen.push_back(s.tokens[t]);
    }
    auto& counts = ranks[seen.size()];
    counts.resize(seen.size());
    ++counts[static_cast<std::size_t>(std::find(seen.begin(), seen.end(), s.tokens[10]) - seen.begin())];
  }
  for (const std::size_t different : {2u, 3u, 4u, 5u}) {  // 6, 39, 46, 9 percent of 5 slots of 6 keys
    CAPTURE(different);
    CHECK(uniform(ranks[different]));
  }
}

// A slot but the last is noise with probability noise, but for one uniform slot: their number is binomial of one trial
// less, and each slot's probability is noise (1 - 1 / (n - 1)).
TEST_CASE("Slots of noisy recall are noise with the given probability, of uniform noise tokens", "[task][mad]") {
  const std::int64_t n = 16;
  for (const double noise : {0.2, 0.8}) {
    const auto made = task("mad_noisy_recall", 2 * n, {{"noise", noise}, {"train_sequences", 0}});
    std::vector<double> number(static_cast<std::size_t>(n - 1), 0), tokens(16 * 16, 0);
    std::vector<double> slots(static_cast<std::size_t>(n - 1), 0);
    const int sequences = 10000;
    for (std::uint64_t index = 0; index < sequences; ++index) {
      const Sequence s = make(*made, 7, Split::train, index);
      std::size_t noisy = 0;
      for (std::size_t slot = 0; slot + 1 < static_cast<std::size_t>(n); ++slot) {
        const std::int32_t first = s.tokens[2 * slot] - 16, second = s.tokens[2 * slot + 1] - 16;
        if (first < 0) continue;
        ++noisy, ++slots[slot], ++tokens[16 * static_cast<std::size_t>(first) + static_cast<std::size_t>(second)];
      }
      ++number[noisy];
    }
    CAPTURE(noise);
    CHECK(agrees(number, binomial(n - 2, noise)));
    CHECK(uniform(tokens));
    const double p = noise * (1 - 1 / static_cast<double>(n - 1));
    for (const double count : slots) {
      CHECK(std::abs(count - sequences * p) < 5 * std::sqrt(sequences * p * (1 - p)));  // 5 standard deviations
    }
  }
}

TEST_CASE("Noise of 0 gives pairs only, noise of 1 a single pair and its query", "[task][mad]") {
  const auto none = task("mad_noisy_recall", 64, {{"noise", 0.0}}),
             all = task("mad_noisy_recall", 64, {{"noise", 1.0}});
  for (std::uint64_t index = 0; index < 200; ++index) {
    const Sequence without = make(*none, 8, Split::train, index), with = make(*all, 8, Split::train, index);
    CHECK(std::all_of(without.tokens.begin(), without.tokens.end(), [](std::int32_t token) { return token < 16; }));
    CHECK(std::count_if(with.tokens.begin(), with.tokens.end(), [](std::int32_t token) { return token < 16; }) == 4);
    CHECK(std::count_if(with.distance.begin(), with.distance.end(), [](std::int32_t d) { return d != 0; }) == 1);
  }
}

}  // namespace
}  // namespace hylas::model
