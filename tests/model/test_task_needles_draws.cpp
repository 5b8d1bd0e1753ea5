// Needle tasks: what is drawn has the distribution that needles.hpp states.
#include <set>

#include "tests/model/test_task_needle_parts.hpp"

namespace hylas::model {
namespace {

using namespace task_test;

using Counts = std::vector<double>;

// With 39 m tokens of noise, needle number e in the haystack is of class (start - e width) / m.
std::vector<std::size_t> classes_of(const std::vector<Needle>& needles, std::size_t width, std::size_t m) {
  std::vector<std::size_t> classes;
  for (const Needle& needle : needles) {
    const std::size_t start = needle.at - classes.size() * width;
    REQUIRE(start % m == 0);
    classes.push_back(start / m);
  }
  return classes;
}

// Probabilities that the lowest of n different numbers below 40 is 0, 1, ..., 39.
Counts lowest_of(std::int64_t n) {
  Counts probability;
  double left = 1;  // that none so far was drawn
  for (std::int64_t c = 0; c < 40; ++c) {
    const double here = std::min(1.0, static_cast<double>(n) / static_cast<double>(40 - c));
    probability.push_back(left * here);
    left *= 1 - here;
  }
  return probability;
}

// m = 2. One count a sequence each, so that counts are multinomial.
TEST_CASE("Depths of the needle asked are uniform in training, the index's in evaluation, and others differ from it",
          "[task][needles]") {
  for (const std::int64_t keys : {1, 4}) {
    const auto width = std::size_t{3};
    const auto made = task("needle_multikey", 78 + 3 * keys + 3, {{"keys", keys}});
    const Frame f(*made);
    Counts depth(40, 0), lowest(40, 0), rank(static_cast<std::size_t>(keys), 0);
    for (std::uint64_t index = 0; index < 10000; ++index) {
      std::size_t end = 0;
      const Sequence s = make(*made, 2, Split::train, index);
      const auto needles = parse(f, s, end);
      const auto classes = classes_of(needles, width, 2);
      REQUIRE(std::set<std::size_t>(classes.begin(), classes.end()).size() == classes.size());
      std::size_t asked = 0;
      while (needles[asked].key != s.tokens[end + 1]) ++asked;
      ++depth[classes[asked]];
      ++rank[asked];
      ++lowest[classes[0]];

      const Sequence e = make(*made, 2, Split::eval, index);
      const auto others = parse(f, e, end);
      const auto eval_classes = classes_of(others, width, 2);
      REQUIRE(std::set<std::size_t>(eval_classes.begin(), eval_classes.end()).size() == eval_classes.size());
      asked = 0;
      while (others[asked].key != e.tokens[end + 1]) ++asked;
      REQUIRE(eval_classes[asked] == index % 40);
    }
    CHECK(uniform(depth));
    CHECK(agrees(lowest, lowest_of(keys)));
    if (keys > 1) CHECK(uniform(rank));
  }
}

TEST_CASE("In a haystack of needles the depth asked is uniform in training and the index's in evaluation",
          "[task][needles]") {
  const auto made = task("needle_haystack", 79 * 3 + 3 + 2);  // 79 needles: class c asks number 2 c; two of noise
  const Frame f(*made);
  Counts depth(40, 0);
  const auto asked_number = [&](const Sequence& s) {
    std::size_t end = 0;
    const auto needles = parse(f, s, end);
    REQUIRE(needles.size() == 79);
    std::size_t asked = 0;
    while (needles[asked].key != s.tokens[end + 1]) ++asked;
    REQUIRE(asked % 2 == 0);
    return asked / 2;
  };
  for (std::uint64_t index = 0; index < 10000; ++index) {
    ++depth[asked_number(make(*made, 2, Split::train, index))];
    if (index < 400) REQUIRE(asked_number(make(*made, 2, Split::eval, index)) == index % 40);
  }
  CHECK(uniform(depth));
}

TEST_CASE("Several needles asked lie at different depths, any of them first", "[task][needles]") {
  for (const char* name : {"needle_multivalue", "needle_multiquery"}) {
    const bool multiquery = std::string(name) == "needle_multiquery";
    const auto made = task(name, 78 + 12 + (multiquery ? 15 : 9));
    const Frame f(*made);
    for (const Split split : {Split::train, Split::eval}) {
      Counts lowest(40, 0), first_asked(4, 0), last_asked(4, 0);
      for (std::uint64_t index = 0; index < 10000; ++index) {
        std::size_t end = 0;
        const Sequence s = make(*made, 9, split, index);
        const auto needles = parse(f, s, end);
        ++lowest[classes_of(needles, 3, 2)[0]];
        if (!multiquery) continue;
        for (std::size_t i = 0; i < 4; ++i) {
          first_asked[i] += needles[i].key == s.tokens[end + 1];
          last_asked[i] += needles[i].key == s.tokens[s.tokens.size() - 2];
        }
      }
      CAPTURE(name, split == Split::eval);
      CHECK(agrees(lowest, lowest_of(4)));
      if (multiquery) CHECK((uniform(first_asked) && uniform(last_asked)));
    }
  }
}

TEST_CASE("Assignments of two chains are interleaved in all orders alike, at different depths", "[task][needles]") {
  const auto made = task("needle_tracking", 78 + 12 + 3, {{"chains", std::int64_t{2}}, {"hops", std::int64_t{1}}});
  const Frame f(*made);
  Counts lowest(40, 0);
  std::map<std::vector<bool>, double> orders;
  for (std::uint64_t index = 0; index < 10000; ++index) {
    std::size_t end = 0;
    const Sequence s = make(*made, 9, Split::eval, index);
    const auto needles = parse(f, s, end);
    ++lowest[classes_of(needles, 3, 2)[0]];
    std::vector<bool> of_asked;
    of_asked.reserve(needles.size());
    for (const Needle& needle : needles) {
      of_asked.push_back(needle.key == s.targets[end + 1] || needle.key == s.targets[end + 2]);
    }
    ++orders[of_asked];
  }
  CHECK(agrees(lowest, lowest_of(4)));
  Counts counts;
  counts.reserve(orders.size());
  for (const auto& [order, count] : orders) counts.push_back(count);
  REQUIRE(counts.size() == 6);
  CHECK(uniform(counts));
}

TEST_CASE("Keys, values and noise of the needle tasks are uniform", "[task][needles]") {
  for (const char* name : needle_tasks) {
    const bool tracking = std::string(name) == "needle_tracking";
    const auto made = task(name, 130, {{"key_vocab", std::int64_t{50}}, {"value_vocab", std::int64_t{30}}});
    const Frame f(*made);
    Counts key(50, 0), last_key(50, 0), value(30, 0), noise(16, 0);
    for (std::uint64_t index = 0; index < 10000; ++index) {
      std::size_t end = 0;
      const Sequence s = make(*made, 33, Split::train, index);
      const auto needles = parse(f, s, end);
      ++key[static_cast<std::size_t>(needles.front().key - f.N)];
      ++last_key[static_cast<std::size_t>(needles.back().key - f.N)];
      const std::int32_t given = tracking ? s.tokens[end + 1] : needles.back().value.back();
      ++value[static_cast<std::size_t>(given - f.N - f.K)];
      for (std::size_t t = 0; t < end; ++t) {
        if (!f.noise(s.tokens[t])) continue;
        ++noise[static_cast<std::size_t>(s.tokens[t])];  // the first one of each sequence
        break;
      }
    }
    CAPTURE(name);
    CHECK(uniform(key));
    CHECK(uniform(last_key));
    CHECK(uniform(value));
    CHECK(uniform(noise));
  }
}

}  // namespace
}  // namespace hylas::model
