// Needle tasks: bit for bit the independent reference, structure, refusals. What is drawn: test_task_needles_draws.cpp.
#include "model/data/tasks/needles.hpp"

#include <type_traits>

#include "tests/model/test_task_golden.hpp"
#include "tests/model/test_task_needle_parts.hpp"

namespace hylas::model {
namespace {

using namespace task_test;

using Given = std::map<std::string, TaskValue>;

TEST_CASE("Needle sequences are those of the independent Python reference, bit for bit", "[task][needles]") {
  CHECK(check_golden("needle_sequences.json", 69) == std::set<std::string>(needle_tasks.begin(), needle_tasks.end()));
}

TEST_CASE("Needle tasks have RULER's numbers, depths where one place answers, and the answers as targets",
          "[task][needles]") {
  CHECK(task_spec("needle_multikey").whole("keys") == 4);
  CHECK(task_spec("needle_multivalue").whole("values") == 4);
  CHECK(task_spec("needle_multiquery").whole("queries") == 4);
  CHECK(task_spec("needle_tracking").whole("chains") == 1);
  CHECK(task_spec("needle_tracking").whole("hops") == 4);
  const std::map<std::string, std::pair<std::int64_t, std::int64_t>> expected = {
      // depths, targets
      {"needle_single", {40, 2}},    {"needle_multikey", {40, 2}},  {"needle_haystack", {40, 2}},
      {"needle_multivalue", {0, 8}}, {"needle_multiquery", {0, 8}}, {"needle_tracking", {0, 5}}};
  for (const char* name : needle_tasks) {
    CAPTURE(name);
    const auto made = task(name, task_type(name).context);
    CHECK(made->metrics().accuracy);
    CHECK(made->metrics().distance);
    CHECK(made->metrics().depths == expected.at(name).first);
    CHECK(made->fixed_targets() == expected.at(name).second);
    CHECK(made->train_sequences() == 0);
  }
}

// The question from position `at` on: whether each token, target and distance is as expected.
struct Question {
  const Sequence& s;
  std::size_t at;
  bool right = true;

  void input(std::int32_t token) {
    right = right && at < s.tokens.size() && s.tokens[at] == token;
    ++at;
  }
  // An answer is predicted one place earlier, and stands in the input unless it is the last one.
  void answer(std::int32_t token, std::size_t place) {
    if (at > s.tokens.size()) right = false;
    if (!right) return;
    right = s.targets[at - 1] == token &&
            static_cast<std::size_t>(s.distance[at - 1]) == at - place;  // t + 1 - place, t = at - 1
    if (at < s.tokens.size()) right = right && s.tokens[at] == token;
    ++at;
  }
};

// The first promise of needles.hpp that a sequence breaks, from its tokens alone, or "".
std::string broken(const Task& made, const Sequence& s) {
  const Frame f(made);
  std::size_t end = 0;
  const std::vector<Needle> needles = parse(f, s, end);
  if (needles.empty()) return "something in the haystack is neither noise nor a needle";
  std::map<std::int32_t, std::vector<Needle>> by_key;  // in order
  for (const Needle& needle : needles) by_key[needle.key].push_back(needle);
  Question question{s, end};
  const auto ask_key = [&](std::int32_t key) {
    question.input(f.ask());
    question.input(key);
    for (const Needle& needle : by_key[key]) {
      for (std::size_t j = 0; j < needle.value.size(); ++j) question.answer(needle.value[j], needle.at + 1 + j);
    }
  };
  if (f.spec.name == "needle_tracking") {
    const auto hops = static_cast<std::size_t>(f.spec.whole("hops"));
    if (needles.size() != by_key.size()) return "a variable is assigned twice";
    if (needles.size() != (hops + 1) * static_cast<std::size_t>(f.spec.whole("chains"))) return "a hop is missing";
    std::map<std::int32_t, std::vector<Needle>> chain_of;  // by value: a variable's giver stands before it
    std::map<std::int32_t, std::int32_t> value_of;
    for (const Needle& needle : needles) {
      const std::int32_t given = needle.value[0];
      if (!f.value(given) && !value_of.contains(given)) return "a variable is read before it is assigned";
      value_of[needle.key] = f.value(given) ? given : value_of[given];
      auto& chain = chain_of[value_of[needle.key]];
      if (given != (chain.empty() ? value_of[needle.key] : chain.back().key)) return "a chain branches";
      chain.push_back(needle);
    }
    question.input(f.ask());
    if (!chain_of.contains(s.tokens[end + 1])) return "a value is asked that no chain has";
    const auto& asked = chain_of[s.tokens[end + 1]];
    if (asked.size() != hops + 1) return "a chain has the wrong length";
    question.input(s.tokens[end + 1]);
    for (const Needle& needle : asked) question.answer(needle.key, needle.at + 1);
  } else {
    const auto values = static_cast<std::size_t>(f.number("values"));
    const std::int64_t queries = f.number("queries");
    const auto keys = static_cast<std::size_t>(std::max(f.number("keys"), queries));
    if (f.spec.name == "needle_haystack") {
      if (needles.front().at > static_cast<std::size_t>(f.v)) return "noise that a needle could take the place of";
      if (needles.back().at + 1 + static_cast<std::size_t>(f.v) != end) return "noise behind the needles";
      if (needles.size() != (end - needles.front().at) / (1 + static_cast<std::size_t>(f.v))) return "noise between";
      if (needles.size() != by_key.size()) return "a key twice";
    } else {
      if (by_key.size() != keys) return "another number of keys";
      for (const auto& [key, of_key] : by_key) {
        if (of_key.size() != values) return "another number of values";
      }
    }
    std::set<std::int32_t> asked;
    for (std::int64_t q = 0; q < queries; ++q) {
      const std::int32_t key = s.tokens[question.at + 1];
      if (!by_key.contains(key) || !asked.insert(key).second) return "a key is asked twice, or one that is not there";
      ask_key(key);
    }
  }
  if (!question.right) return "the question, its answers or their distances";
  return question.at == s.tokens.size() + 1 ? "" : "another length";
}

std::vector<std::pair<const char*, Given>> shapes() {
  const auto whole = [](std::int64_t x) { return TaskValue(x); };
  return {{"needle_single", {}},
          {"needle_single", {{"value_tokens", whole(7)}, {"noise_vocab", whole(1)}}},
          {"needle_multikey", {}},
          {"needle_multikey", {{"keys", whole(20)}, {"key_vocab", whole(20)}}},
          {"needle_haystack", {}},
          {"needle_haystack", {{"value_tokens", whole(1)}}},
          {"needle_multivalue", {}},
          {"needle_multivalue", {{"values", whole(11)}, {"value_vocab", whole(2)}}},
          {"needle_multiquery", {}},
          {"needle_multiquery", {{"queries", whole(7)}, {"key_vocab", whole(7)}, {"value_tokens", whole(1)}}},
          {"needle_tracking", {}},
          {"needle_tracking", {{"chains", whole(6)}, {"hops", whole(3)}, {"value_vocab", whole(6)}}},
          {"needle_tracking", {{"chains", whole(2)}, {"hops", whole(0)}}}};
}

TEST_CASE("In 10,000 sequences of each needle task every question has its answers where the distances say",
          "[task][needles]") {
  for (const auto& [name, given] : shapes()) {
    for (const std::int64_t context : {90, 128}) {
      const auto made = task(name, context, given);
      for (std::uint64_t index = 0; index < 2500; ++index) {
        const Sequence s = make(*made, 21, index % 2 == 0 ? Split::train : Split::eval, index);
        const std::string problem = broken_promise(*made, s) + broken(*made, s);
        CAPTURE(name, context, index, problem);
        REQUIRE(problem.empty());
      }
    }
  }
}

static_assert(std::is_trivially_copyable_v<Needles>);  // a kernel takes it by value

TEST_CASE("Needle tasks need no clean scratch memory, none beyond what they ask for, and no distances",
          "[task][needles]") {
  for (const char* name : needle_tasks) check_on_dirty_scratch<Needles>(name, 128);
  check_on_dirty_scratch<Needles>("needle_multikey", 300, {{"keys", 40}, {"key_vocab", 40}, {"value_vocab", 3}});
  check_on_dirty_scratch<Needles>("needle_tracking", 300,
                                  {{"chains", 20}, {"hops", 1}, {"key_vocab", 40}, {"value_vocab", 65}});
}

TEST_CASE("Needle tasks recycle their training sequences, and splits and seeds differ", "[task][needles]") {
  for (const char* name : needle_tasks) check_splits(name, 128);
}

TEST_CASE("Needle tasks' bad parameters are refused by name", "[task][needles]") {
  const auto given = [](const char* name, std::int64_t value) { return Given{{name, value}}; };
  // The least contexts: needles without noise, and the question.
  for (const auto& [name, least] : {std::pair{"needle_single", 3 + 3},
                                    {"needle_multikey", 4 * 3 + 3},
                                    {"needle_haystack", 2 * 3 + 3},
                                    {"needle_multivalue", 4 * 3 + 2 + 8 - 1},
                                    {"needle_multiquery", 4 * 3 + 4 * 4 - 1},
                                    {"needle_tracking", 5 * 3 + 2 + 4}}) {
    CAPTURE(name);
    const auto smallest = task(name, least);
    CHECK(broken(*smallest, make(*smallest, 1, Split::train, 0)).empty());
    CHECK(holds(refusal(name, least - 1), "context of " + std::to_string(least) + " to"));
    CHECK(holds(refusal(name, 0), "not 0"));
    CHECK(holds(refusal(name, -5), "context"));
    CHECK(holds(refusal(name, (1 << 24) + 1), "context"));
    CHECK(holds(refusal(name, 128, given("noise_vocab", 0)), "task.noise_vocab"));
    CHECK(holds(refusal(name, 128, given("key_vocab", 0)), "task.key_vocab"));
    CHECK(holds(refusal(name, 128, given("value_vocab", (1 << 20) + 1)), "task.value_vocab"));
  }
  CHECK(holds(refusal("needle_single", 128, given("value_tokens", 0)), "task.value_tokens"));
  CHECK(holds(refusal("needle_multikey", 128, given("keys", 41)), "task.keys"));
  CHECK(holds(refusal("needle_multivalue", 1280, given("values", 0)), "task.values"));
  CHECK(holds(refusal("needle_multiquery", 1280, given("queries", 41)), "task.queries"));
  CHECK(holds(refusal("needle_multikey", 128, given("key_vocab", 3)), "task.key_vocab: 4 different keys"));
  const std::string haystack = refusal("needle_haystack", 128, given("key_vocab", 40));
  CHECK(holds(haystack, "task.key_vocab: 41 different keys are needed at a context of 128, not 40"));
  CHECK(holds(refusal("needle_tracking", 1280, {{"chains", std::int64_t{9}}}), "45 needles are more than the 40"));
  CHECK(holds(refusal("needle_tracking", 1280, given("hops", 40)), "task.hops"));
  CHECK(holds(refusal("needle_tracking", 128, {{"chains", std::int64_t{3}}, {"value_vocab", std::int64_t{2}}}),
              "task.value_vocab: 3 different values"));
  CHECK(holds(refusal("needle_tracking", 128, given("value_tokens", 2)), "value_tokens"));
}

}  // namespace
}  // namespace hylas::model
