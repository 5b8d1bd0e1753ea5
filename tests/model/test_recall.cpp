// The recall stream: bit for bit the independent reference, the structure the task promises, the stated distributions.
#include "model/data/tasks/recall.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "model/data/tasks/recall_draw.hpp"
#include "model/design/input_error.hpp"
#include "tests/catch.hpp"

namespace hylas::model {
namespace {

struct Sequence {
  std::vector<std::int32_t> tokens, targets, distance;
  bool operator==(const Sequence&) const = default;
};

constexpr std::int32_t kPoison = -77;

// The arrays are poisoned and one longer than needed: all of them is written, nothing behind them.
Sequence make(const RecallStream& stream, std::uint64_t data_seed, Split split, std::uint64_t index) {
  const auto T = static_cast<std::size_t>(stream.context());
  Sequence s{std::vector(T + 1, kPoison), std::vector(T + 1, kPoison), std::vector(T + 1, kPoison)};
  stream.sequence(data_seed, split, index, s.tokens.data(), s.targets.data(), s.distance.data());
  for (auto* array : {&s.tokens, &s.targets, &s.distance}) {
    REQUIRE(array->back() == kPoison);
    array->pop_back();
  }
  return s;
}

// The chi-square value that chance exceeds once in about three million (5 standard deviations, Wilson-Hilferty). The
// inputs are fixed, so a test passes or fails for good; this bound is where a failure means a wrong distribution.
double chi_square_limit(double degrees) {
  const double c = 2 / (9 * degrees);
  return degrees * std::pow(1 - c + 5 * std::sqrt(c), 3);
}

double chi_square(const std::vector<double>& seen, const std::vector<double>& expected) {
  double sum = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) sum += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
  return sum;
}

TEST_CASE("Sequences are those of the independent Python reference, bit for bit", "[recall]") {
  std::ifstream file(HYLAS_SOURCE_DIR "/tests/golden/recall_sequences.json");
  const auto cases = nlohmann::json::parse(file);
  REQUIRE(cases.size() == 12);
  for (const auto& golden : cases) {
    CAPTURE(golden["context"].dump(), golden["keys"].dump(), golden["data_seed"].dump(), golden["index"].dump());
    const RecallStream stream({golden["keys"], golden["values"], golden["repeat"]}, golden["context"]);
    const Split split = golden["split"] == "eval" ? Split::eval : Split::train;
    const Sequence got = make(stream, golden["data_seed"], split, golden["index"]);
    CHECK(got.tokens == golden["tokens"].get<std::vector<std::int32_t>>());
    CHECK(got.targets == golden["targets"].get<std::vector<std::int32_t>>());
    CHECK(got.distance == golden["distance"].get<std::vector<std::int32_t>>());
  }
}

// One sequence against the promises of recall.hpp, re-derived from its tokens alone. Returns false at the first broken
// one.
bool keeps_its_promises(const Sequence& s, std::int32_t keys, std::int32_t values) {
  std::map<std::int32_t, std::int32_t> value_of, last_at;
  const auto T = static_cast<std::int32_t>(s.tokens.size());
  for (std::int32_t t = 0; t < T; ++t) {
    const auto at = static_cast<std::size_t>(t);
    if (s.targets[at] != (t + 1 < T ? s.tokens[at + 1] : -1)) return false;
    if (t % 2 == 1) {
      if (s.distance[at] != 0) return false;
      continue;
    }
    const std::int32_t key = s.tokens[at], value = s.tokens[at + 1];
    if (key < 0 || key >= keys || value < keys || value >= keys + values) return false;
    const bool seen = value_of.contains(key);
    if (seen && value_of[key] != value) return false;                   // one value a key
    if (s.distance[at] != (seen ? t - last_at[key] : 0)) return false;  // answerable if and only if seen
    if (seen && s.tokens[at - static_cast<std::size_t>(s.distance[at])] != key) return false;
    value_of[key] = value;
    last_at[key] = t;
  }
  return true;
}

TEST_CASE("In 10,000 sequences every query marked answerable is, with its distance, and values hold", "[recall]") {
  const struct {
    RecallTask task;
    std::int64_t context;
  } shapes[] = {{{16, 16, 0.4}, 64}, {{16, 16, 0.7}, 128}, {{64, 64, 0.4}, 256}, {{500, 3, 0.9}, 62}};
  std::mt19937_64 random(2024);
  for (int i = 0; i < 10000; ++i) {
    const auto& shape = shapes[i % 4];
    const RecallStream stream(shape.task, shape.context);
    const std::uint64_t data_seed = random(), index = random();
    const Split split = i % 8 < 4 ? Split::train : Split::eval;
    const Sequence s = make(stream, data_seed, split, index);
    CAPTURE(i, data_seed, index);
    REQUIRE(keeps_its_promises(s, static_cast<std::int32_t>(shape.task.keys),
                               static_cast<std::int32_t>(shape.task.values)));
  }
}

TEST_CASE("A sequence depends on split, index and (in training) data seed, and not on the context", "[recall]") {
  const RecallTask task{64, 64, 0.5};
  const RecallStream stream(task, 128), longer(task, 256);
  const Sequence base = make(stream, 1, Split::train, 0);
  CHECK(make(stream, 1, Split::train, 0) == base);
  for (const Sequence& other :
       {make(stream, 2, Split::train, 0), make(stream, 1, Split::train, 1),
        make(stream, 1, Split::train, std::uint64_t{1} << 32),
        make(stream, (std::uint64_t{1} << 32) + 1, Split::train, 0), make(stream, 1, Split::eval, 0)}) {
    CHECK(other.tokens != base.tokens);
  }
  CHECK(make(stream, 1, Split::eval, 5) == make(stream, 2, Split::eval, 5));
  CHECK(make(stream, 0, Split::eval, 5).tokens != make(stream, 0, Split::train, 5).tokens);
  const Sequence twice = make(longer, 1, Split::train, 0);
  CHECK(std::equal(base.tokens.begin(), base.tokens.end(), twice.tokens.begin()));
  CHECK(std::equal(base.distance.begin(), base.distance.end(), twice.distance.begin()));
}

TEST_CASE("mulhi64 is the high half of the 128-bit product", "[recall]") {
  __extension__ using Wide = unsigned __int128;
  std::mt19937_64 random(7);
  std::vector<std::uint64_t> values = {
      0, 1, 2, 0xFFFF'FFFF, std::uint64_t{1} << 32, ~std::uint64_t{0}, std::uint64_t{1} << 63};
  for (int i = 0; i < 200; ++i) values.push_back(random() >> (random() % 64));
  for (const std::uint64_t a : values) {
    for (const std::uint64_t b : values) CHECK(mulhi64(a, b) == static_cast<std::uint64_t>((Wide{a} * b) >> 64));
  }
}

// Proves the binary search: the least m with C_m > r, at the edges of every m and at both ends of u.
TEST_CASE("log_uniform finds what a linear scan finds", "[recall]") {
  const RecallStream stream({16, 16, 0.4}, 600);
  const auto& prefix = stream.prefix();
  for (std::uint32_t i = 1; i < prefix.size(); ++i) {
    REQUIRE(log_uniform(0, i, prefix.data()) == 1);
    REQUIRE(log_uniform(~std::uint64_t{0}, i, prefix.data()) == i);
  }
  std::mt19937_64 random(11);
  for (int n = 0; n < 20000; ++n) {
    const auto i = static_cast<std::uint32_t>(1 + random() % 300);
    std::uint64_t u = random();
    if (n % 2 == 0) {  // near the edge between two m
      const long double edge = static_cast<long double>(prefix[random() % i]) / static_cast<long double>(prefix[i]);
      u = static_cast<std::uint64_t>(edge * 0x1p64L) + random() % 5;
    }
    const std::uint64_t r = mulhi64(u, prefix[i]);
    std::uint32_t m = 1;
    while (prefix[m] <= r) ++m;
    REQUIRE(log_uniform(u, i, prefix.data()) == m);
  }
}

TEST_CASE("The distance back is log-uniform and a slot repeats with probability p", "[recall]") {
  const double p = 0.4;
  const RecallStream stream({16, 16, p}, 512);
  for (const std::uint32_t i : {1u, 2u, 9u, 255u}) {
    std::vector<double> seen(i, 0), expected(i, 0);
    double repeats = 0, harmonic = 0;
    const int draws = 200000;
    for (std::uint64_t index = 0; index < draws; ++index) {
      const RecallSlot slot = recall_slot({3, index, 0}, i, stream.prefix().data(), stream.threshold(), 16);
      if (slot.back == 0) continue;
      REQUIRE(slot.back <= i);
      ++seen[slot.back - 1], ++repeats;
    }
    for (std::uint32_t m = 1; m <= i; ++m) harmonic += 1.0 / m;
    for (std::uint32_t m = 1; m <= i; ++m) expected[m - 1] = repeats / (m * harmonic);
    CAPTURE(i, repeats);
    if (i > 1) CHECK(chi_square(seen, expected) < chi_square_limit(i - 1));
    CHECK(std::abs(repeats - draws * p) < 5 * std::sqrt(draws * p * (1 - p)));  // 5 standard deviations
  }
  CHECK(RecallStream({16, 16, 0.0}, 64).threshold() == 0);
  CHECK(RecallStream({16, 16, 1.0}, 64).threshold() == std::uint64_t{1} << 32);
  CHECK(RecallStream({16, 16, 0.4}, 64).threshold() == 1717986918);  // floor(0.4 2^32 = 1717986918.4)
}

// The first pairs of different sequences are independent, so their counts are multinomial; so are later fresh slots'.
TEST_CASE("Keys are uniform, and values are uniform whatever the key, fresh in each sequence", "[recall]") {
  const std::int64_t keys = 12, values = 10;
  const RecallStream stream({keys, values, 0.4}, 8);
  std::vector<double> pairs(keys * values, 0), fresh(keys, 0);
  const int sequences = 60000;
  for (std::uint64_t index = 0; index < sequences; ++index) {
    const Sequence s = make(stream, 5, Split::train, index);
    ++pairs[static_cast<std::size_t>(s.tokens[0] * values + s.tokens[1] - keys)];
    const RecallSlot slot = recall_slot({5, index, 0}, 3, stream.prefix().data(), stream.threshold(), keys);
    if (slot.back == 0) ++fresh[slot.fresh];
  }
  const std::vector<double> expected(pairs.size(), sequences / static_cast<double>(pairs.size()));
  CHECK(chi_square(pairs, expected) < chi_square_limit(keys * values - 1));
  double total = 0;
  for (const double n : fresh) total += n;
  CHECK(chi_square(fresh, std::vector<double>(keys, total / keys)) < chi_square_limit(keys - 1));
}

struct Fractions {
  double near = 0, far = 0, answerable = 0;  // per slot
};

Fractions count(const std::vector<std::int32_t>& distance) {
  Fractions f;
  for (const std::int32_t d : distance) {
    f.near += d > 0 && d <= 16;
    f.far += 2 * static_cast<std::size_t>(d) > distance.size();
    f.answerable += d > 0;
  }
  return f;
}

// The task once more in floating point with another generator: distances of one sequence.
std::vector<std::int32_t> simulated_distances(const RecallTask& task, std::int64_t context, std::mt19937_64& random) {
  std::vector<std::int64_t> keys;
  std::vector<std::int32_t> distance(static_cast<std::size_t>(context), 0);
  std::uniform_real_distribution<double> uniform;
  for (std::int64_t i = 0; i < context / 2; ++i) {
    std::int64_t key = std::uniform_int_distribution<std::int64_t>(0, task.keys - 1)(random);
    if (i > 0 && uniform(random) < task.repeat) {
      std::vector<double> weights;
      for (std::int64_t m = 1; m <= i; ++m) weights.push_back(1.0 / static_cast<double>(m));
      key = keys[static_cast<std::size_t>(
          i - 1 - std::discrete_distribution<std::int64_t>(weights.begin(), weights.end())(random))];
    }
    const auto last = std::find(keys.rbegin(), keys.rend(), key);
    if (last != keys.rend())
      distance[static_cast<std::size_t>(2 * i)] = static_cast<std::int32_t>(2 * (last - keys.rbegin() + 1));
    keys.push_back(key);
  }
  return distance;
}

TEST_CASE("Near and far queries are as frequent as in a floating-point simulation of the task", "[recall]") {
  for (const auto& [task, context] :
       {std::pair{RecallTask{16, 16, 0.4}, 64}, std::pair{RecallTask{64, 64, 0.7}, 128}}) {
    const RecallStream stream(task, context);
    std::mt19937_64 random(99);
    const int n = 4000;
    double sums[2][3] = {}, squares[2][3] = {};
    for (int i = 0; i < n; ++i) {
      const Fractions ours = count(make(stream, 17, Split::train, static_cast<std::uint64_t>(i)).distance);
      const Fractions theirs = count(simulated_distances(task, context, random));
      for (int k = 0; k < 3; ++k) {
        const double value[2] = {k == 0   ? ours.near
                                 : k == 1 ? ours.far
                                          : ours.answerable,
                                 k == 0   ? theirs.near
                                 : k == 1 ? theirs.far
                                          : theirs.answerable};
        for (int who = 0; who < 2; ++who)
          sums[who][k] += value[who] / n, squares[who][k] += value[who] * value[who] / n;
      }
    }
    for (int k = 0; k < 3; ++k) {
      const double variance = squares[0][k] - sums[0][k] * sums[0][k] + squares[1][k] - sums[1][k] * sums[1][k];
      CAPTURE(context, k, sums[0][k], sums[1][k]);
      CHECK(sums[0][k] > 0);
      CHECK(std::abs(sums[0][k] - sums[1][k]) < 5 * std::sqrt(variance / n));  // 5 standard errors of the difference
    }
  }
}

TEST_CASE("A task or context outside the limits is refused with what is allowed", "[recall]") {
  const RecallTask good{16, 16, 0.4};
  for (const std::int64_t context : {-2, 0, 1, 63, (1 << 24) + 2})
    CHECK_THROWS_AS(RecallStream(good, context), InputError);
  for (const RecallTask& bad : {RecallTask{0, 16, 0.4}, RecallTask{16, 0, 0.4}, RecallTask{-1, 16, 0.4},
                                RecallTask{std::int64_t{1} << 31, 1, 0.4}, RecallTask{2000000000, 2000000000, 0.4},
                                RecallTask{std::int64_t{1} << 62, std::int64_t{1} << 62, 0.4}, RecallTask{16, 16, -0.1},
                                RecallTask{16, 16, 1.1}, RecallTask{16, 16, std::nan("")}}) {
    CHECK_THROWS_AS(RecallStream(bad, 64), InputError);
  }
  std::string message;
  try {
    const RecallStream odd(good, 63);
  } catch (const InputError& error) {
    message = error.what();
  }
  CHECK(message.find("context must be an even number") != std::string::npos);
  CHECK(message.find("63") != std::string::npos);
}

// Generation runs inside the training loop: 0.1 us a token is 1% of a training step of the smallest proxy (1,024 tokens
// in 10 ms). Best of 20, so that other load on the machine does not count.
TEST_CASE("A token costs under 0.1 microseconds", "[recall][slow]") {
  for (const std::int64_t context : {64, 512}) {
    const RecallStream stream({64, 64, 0.4}, context);
    std::vector<std::int32_t> tokens(512), targets(512), distance(512);
    double best = 1e9;
    for (int repeat = 0; repeat < 20; ++repeat) {
      const auto start = std::chrono::steady_clock::now();
      const int n = 200;
      for (std::uint64_t i = 0; i < n; ++i)
        stream.sequence(1, Split::train, i, tokens.data(), targets.data(), distance.data());
      const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
      best = std::min(best, took.count() / static_cast<double>(n * context));
    }
    WARN("context " << context << ": " << best << " ns a token");
    CHECK(best < 100);
  }
}

}  // namespace
}  // namespace hylas::model
