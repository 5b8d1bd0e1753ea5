// MQAR: bit for bit the independent reference, structure, distributions, refusals.
#include "model/data/tasks/mqar.hpp"

#include <type_traits>

#include "tests/model/test_task_golden.hpp"

namespace hylas::model {
namespace {

using namespace task_test;

using Counts = std::vector<double>;
using Given = std::map<std::string, TaskValue>;

Given shape(std::int64_t vocab, std::int64_t pairs, std::int64_t reassign = 0, std::int64_t key_tokens = 1,
            std::int64_t filler = 0) {
  return {{"vocab", vocab},           {"pairs", pairs},   {"reassign", reassign},
          {"key_tokens", key_tokens}, {"filler", filler}, {"train_sequences", std::int64_t{0}}};
}

TEST_CASE("MQAR sequences are those of the independent Python reference, bit for bit", "[task][mqar]") {
  CHECK(check_golden("mqar_sequences.json", 29) == std::set<std::string>{"mqar"});
}

TEST_CASE("MQAR's defaults are Zoology's", "[task][mqar]") {
  const TaskSpec spec = task_spec("mqar");
  CHECK(spec.whole("vocab") == 8192);
  CHECK(spec.real("power_a") == 0.01);
  CHECK(spec.whole("train_sequences") == 100000);
  CHECK(spec.whole("filler") == 0);
  CHECK(spec.whole("reassign") == 0);
  CHECK(spec.whole("key_tokens") == 1);
  const auto made = task("mqar", 512, {{"pairs", std::int64_t{64}}});
  CHECK(made->vocab() == 8192);
  CHECK(made->fixed_targets() == 64);
  CHECK(made->metrics().accuracy);
  CHECK(made->metrics().distance);
  CHECK(made->train_sequences() == 100000);
}

using Key = std::vector<std::int32_t>;

Key key_at(const Sequence& s, std::int64_t at, std::int64_t key_tokens) {
  return {s.tokens.begin() + at, s.tokens.begin() + at + key_tokens};
}

// The first promise of mqar.hpp that a sequence breaks, from its tokens alone, or "".
std::string broken(const Sequence& s, const Given& given) {
  const auto value = [&](const char* name) { return std::get<std::int64_t>(given.at(name)); };
  const std::int64_t V = value("vocab"), n = value("pairs"), u = value("reassign"), k = value("key_tokens"), w = k + 1;
  std::map<Key, std::int64_t> value_at;  // last
  std::set<std::int32_t> values;
  std::set<Key> again;
  for (std::int64_t j = 0; j < n + u; ++j) {
    const Key key = key_at(s, w * j, k);
    for (const std::int32_t token : key) {
      if (token < 1 || token >= V / 2) return "a key outside its range";
    }
    const std::int32_t v = s.tokens[static_cast<std::size_t>(w * j + k)];
    if (v < V / 2 || v >= V) return "a value outside its range";
    if (!values.insert(v).second) return "a value twice";
    if (value_at.contains(key) != (j >= n)) return "a key twice, or reassigned without having a value";
    if (j >= n && !again.insert(key).second) return "a key reassigned twice";
    value_at[key] = w * j + k;
  }
  const auto begin = w * (n + u), T = static_cast<std::int64_t>(s.tokens.size());
  std::set<Key> asked;
  for (std::int64_t t = 0; t < T; ++t) {
    const auto at = static_cast<std::size_t>(t);
    if (s.targets[at] < 0) {
      if (t >= begin && value("filler") == 0 && s.tokens[at] != 0 && (k == 1 || s.targets[at + 1] < 0)) {
        return "a filler that is not 0";
      }
      continue;
    }
    const std::int64_t query = t - (k - 1);
    if (query < begin || (query - begin) % 2 != 0) return "a query outside the slots";
    const Key key = key_at(s, query, k);
    if (!asked.insert(key).second || !value_at.contains(key)) return "a key asked twice, or never given";
    if (s.distance[at] != t + 1 - value_at[key]) return "not the last value's distance";
  }
  return asked.size() == static_cast<std::size_t>(n) ? "" : "a key not asked";
}

TEST_CASE("In 10,000 MQAR sequences every key is asked once and its last value is the answer", "[task][mqar]") {
  const std::pair<Given, std::int64_t> shapes[] = {
      {shape(8192, 4), 64},        {shape(256, 16, 0, 1, 1), 64}, {shape(64, 8, 4), 48},
      {shape(8192, 8, 8, 2), 101}, {shape(40, 5, 0, 2, 1), 33},
  };
  for (const auto& [given, context] : shapes) {
    const auto made = task("mqar", context, given);
    for (std::uint64_t index = 0; index < 2000; ++index) {
      const Sequence s = make(*made, 3, index % 2 == 0 ? Split::train : Split::eval, index);
      const std::string problem = broken_promise(*made, s) + broken(s, given);
      CAPTURE(context, index, problem);
      REQUIRE(problem.empty());
    }
  }
}

// Counts are of one draw a sequence, so that they are multinomial.
TEST_CASE("Keys, values, reassigned pairs and fillers of MQAR are uniform, first and last alike", "[task][mqar]") {
  const std::int64_t V = 24, n = 6, u = 3;
  const auto made = task("mqar", 48, shape(V, n, u, 1, 1));
  Counts first_key(11, 0), last_key(11, 0), first_value(12, 0), last_value(12, 0), first_again(n, 0), last_again(n, 0);
  Counts filler(V, 0), later_filler(V, 0);
  const auto count = [](Counts& counts, std::int64_t i) { ++counts[static_cast<std::size_t>(i)]; };
  for (std::uint64_t index = 0; index < 10000; ++index) {
    const Sequence s = make(*made, 8, Split::train, index);
    count(first_key, s.tokens[0] - 1);
    count(last_key, s.tokens[2 * (n - 1)] - 1);
    count(first_value, s.tokens[1] - V / 2);
    count(last_value, s.tokens[2 * (n + u) - 1] - V / 2);
    for (const std::int64_t j : {n, n + u - 1}) {
      std::int64_t pair = 0;
      while (s.tokens[static_cast<std::size_t>(2 * pair)] != s.tokens[static_cast<std::size_t>(2 * j)]) ++pair;
      count(j == n ? first_again : last_again, pair);
    }
    count(filler, s.tokens[2 * (n + u) + 1]);  // no query stands at odd places
    count(later_filler, s.tokens[47]);
  }
  for (const Counts* counts :
       {&first_key, &last_key, &first_value, &last_value, &first_again, &last_again, &filler, &later_filler}) {
    CHECK(uniform(*counts));
  }
}

TEST_CASE("Two-token keys of MQAR are uniform in both tokens, and their tokens recur", "[task][mqar]") {
  const auto made = task("mqar", 64, shape(26, 8, 0, 2));
  Counts first(12, 0), second(12, 0), same(2, 0);
  double symbols = 0;
  for (std::uint64_t index = 0; index < 10000; ++index) {
    const Sequence s = make(*made, 4, Split::train, index);
    ++first[static_cast<std::size_t>(s.tokens[21] - 1)];  // of the last pair
    ++second[static_cast<std::size_t>(s.tokens[22] - 1)];
    ++same[s.tokens[21] == s.tokens[22] ? 1 : 0];
    std::set<std::int32_t> seen;
    for (std::size_t j = 0; j < 8; ++j) seen.insert({s.tokens[3 * j], s.tokens[3 * j + 1]});
    REQUIRE(seen.size() <= 4);  // the least m with m m >= 16
    symbols += static_cast<double>(seen.size());
  }
  CHECK(uniform(first));
  CHECK(uniform(second));
  CHECK(agrees(same, {0.75, 0.25}));  // of 16 combinations 4 repeat a symbol
  // 8 different ones of 16 combinations miss all 7 with a given symbol with probability C(9,8)/C(16,8) = 9/12870, so
  // that 4 (1 - 0.0007) symbols are expected; the bound allows 5 standard deviations of 10,000 sequences.
  CHECK(std::abs(symbols / 10000 - 4 * (1 - 9 / 12870.0)) < 5 * std::sqrt(4 * 0.0007 / 10000));
}

// Probabilities that successive sampling without replacement, one query after the other, gives slot g to query 0 .. n -
// 1: by enumeration of all ordered choices.
std::vector<Counts> successive(const Counts& weight, int n) {
  const std::size_t G = weight.size();
  std::vector<Counts> probability(static_cast<std::size_t>(n), Counts(G, 0));
  std::vector<bool> taken(G, false);
  const auto visit = [&](const auto& self, std::size_t depth, double p) -> void {
    if (depth == static_cast<std::size_t>(n)) return;
    double left = 0;
    for (std::size_t g = 0; g < G; ++g) left += taken[g] ? 0 : weight[g];
    for (std::size_t g = 0; g < G; ++g) {
      if (taken[g]) continue;
      const double q = p * weight[g] / left;
      probability[depth][g] += q;
      taken[g] = true;
      self(self, depth + 1, q);
      taken[g] = false;
    }
  };
  visit(visit, 0, 1);
  return probability;
}

Counts power_law(std::size_t slots, double a) {
  Counts weight;
  for (std::size_t g = 1; g <= slots; ++g) weight.push_back(a * std::pow(static_cast<double>(g), a - 1));
  return weight;
}

TEST_CASE("Gaps of MQAR follow a g^(a-1) without replacement, whatever the query's number", "[task][mqar]") {
  for (const double a : {0.01, 0.5, 1.0}) {
    Given given = shape(64, 4);
    given["power_a"] = a;
    const auto made = task("mqar", 30, given);  // 11 slots
    std::vector<Counts> seen(4, Counts(11, 0));
    for (std::uint64_t index = 0; index < 10000; ++index) {
      const Sequence s = make(*made, 6, Split::train, index);
      for (std::size_t i = 0; i < 4; ++i) {
        std::size_t at = 8;
        while (s.tokens[at] != s.tokens[2 * i]) at += 2;
        ++seen[i][(at - 8) / 2];
      }
    }
    const auto expected = successive(power_law(11, a), 4);
    for (std::size_t i = 0; i < 4; ++i) {
      CAPTURE(a, i);
      CHECK(agrees(seen[i], expected[i]));
    }
  }
}

// The first query's gap alone is the law itself: here at the length of a real shape.
TEST_CASE("The first gap of MQAR follows a g^(a-1) over the whole context", "[task][mqar]") {
  const auto made = task("mqar", 512, shape(8192, 64));
  Counts seen(192, 0);
  for (std::uint64_t index = 0; index < 10000; ++index) {
    const Sequence s = make(*made, 1, Split::eval, index);
    std::size_t at = 128;
    while (s.tokens[at] != s.tokens[0]) at += 2;
    ++seen[(at - 128) / 2];
  }
  Counts law = power_law(192, 0.01);
  const double total = std::accumulate(law.begin(), law.end(), 0.0);
  for (double& p : law) p /= total;
  CHECK(agrees(seen, law));
  // In the wrong law, the uniform one, it would not have agreed.
  CHECK_FALSE(uniform(seen));
}

// Determinism across machines hangs on pow(): no weight of the standard exponent is so near a half that an error of one
// unit in pow's last place would round it elsewhere.
TEST_CASE("Weights of MQAR's gaps are clear of rounding for contexts up to 16,384", "[task][mqar]") {
  for (std::int64_t g = 2; g <= 8192; ++g) {
    const double weight = std::ldexp(std::pow(static_cast<double>(g), 0.01 - 1), 32);
    const double past_half = std::abs(weight - std::floor(weight) - 0.5);
    if (past_half <= 2 * (std::nextafter(weight, 1e300) - weight)) FAIL("weight " << g << " is too near a half");
  }
}

static_assert(std::is_trivially_copyable_v<Mqar>);  // a kernel takes it by value

TEST_CASE("MQAR needs no clean scratch memory, none beyond what it asks for, and no distances", "[task][mqar]") {
  check_on_dirty_scratch<Mqar>("mqar", 64);
  check_on_dirty_scratch<Mqar>("mqar", 64, shape(34, 16));
  check_on_dirty_scratch<Mqar>("mqar", 1000, shape(64, 8, 4, 1, 1));  // more slots than tokens
  check_on_dirty_scratch<Mqar>("mqar", 120, shape(64, 24, 0, 2, 1));
}

TEST_CASE("MQAR recycles its training sequences, and splits and seeds differ", "[task][mqar]") {
  check_splits("mqar", 64);
  check_splits("mqar", 64, shape(64, 4, 2, 2, 1));
}

TEST_CASE("MQAR's bad parameters are refused by name", "[task][mqar]") {
  const auto n = [](std::int64_t pairs) { return Given{{"pairs", pairs}}; };
  CHECK(refusal("mqar", 64, n(16)).empty());
  const std::string crowded = refusal("mqar", 64, n(17));
  CHECK(holds(crowded, "task.pairs: 17 "));
  CHECK(holds(crowded, "context of 68 tokens, not 64"));
  CHECK(refusal("mqar", 46, shape(64, 8, 2, 2, 0)).empty());
  CHECK(holds(refusal("mqar", 45, shape(64, 8, 2, 2, 0)), "context of 46 tokens"));
  CHECK(holds(refusal("mqar", 0), "context"));
  CHECK(holds(refusal("mqar", -1), "context"));
  CHECK(holds(refusal("mqar", (1 << 24) + 2), "context"));
  CHECK(holds(refusal("mqar", 64, shape(64, 4, 5)), "task.reassign"));
  CHECK(holds(refusal("mqar", 64, shape(16, 8)), "task.vocab is 16"));
  CHECK(refusal("mqar", 64, shape(18, 8)).empty());  // keys 1 .. 8, values 9 .. 17
  CHECK(holds(refusal("mqar", 64, shape(18, 8, 2)), "different values need a vocabulary of 20"));
  CHECK(refusal("mqar", 128, shape(20, 9, 1)).empty());
  CHECK(refusal("mqar", 64, shape(8, 4, 0, 2)).empty());
  CHECK(holds(refusal("mqar", 64, shape(4, 2, 0, 2)), "task.vocab is 4"));
  const std::vector<std::pair<std::string, TaskValue>> bad = {{"vocab", std::int64_t{3}},
                                                              {"vocab", (std::int64_t{1} << 20) + 1},
                                                              {"pairs", std::int64_t{0}},
                                                              {"power_a", -0.1},
                                                              {"power_a", 1.5},
                                                              {"filler", std::int64_t{2}},
                                                              {"reassign", std::int64_t{-1}},
                                                              {"key_tokens", std::int64_t{3}},
                                                              {"key_tokens", std::int64_t{0}},
                                                              {"train_sequences", std::int64_t{-1}}};
  for (const auto& [name, value] : bad) {
    CHECK(holds(refusal("mqar", 64, {{name, value}}), "task." + name));
  }
}

}  // namespace
}  // namespace hylas::model
