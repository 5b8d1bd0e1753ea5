// Induction: bit for bit the independent reference, structure, distributions, refusals.
#include "model/data/tasks/induction.hpp"

#include <type_traits>

#include "tests/model/test_task_golden.hpp"

namespace hylas::model {
namespace {

using namespace task_test;

using Counts = std::vector<double>;

TEST_CASE("Induction sequences are those of the independent Python reference, bit for bit", "[task][induction]") {
  CHECK(check_golden("induction_sequences.json", 15) == std::set<std::string>{"induction"});
}

TEST_CASE("In 10,000 induction sequences the trigger stands twice, and the answer behind the first",
          "[task][induction]") {
  for (const auto& [vocab, context] : {std::pair{20, 31}, {16, 256}, {2, 4}, {3, 5}}) {
    const auto made = task("induction", context, {{"vocab", std::int64_t{vocab}}});
    CHECK(made->vocab() == vocab);
    CHECK(made->fixed_targets() == 1);
    CHECK(made->metrics().accuracy);
    CHECK(made->metrics().distance);
    for (std::uint64_t index = 0; index < 2500; ++index) {
      const Sequence s = make(*made, 11, index % 2 == 0 ? Split::train : Split::eval, index);
      const std::string problem = broken_promise(*made, s);
      CAPTURE(vocab, context, index, problem);
      REQUIRE(problem.empty());
      REQUIRE(std::count(s.tokens.begin(), s.tokens.end(), vocab - 1) == 2);
      REQUIRE(s.tokens.back() == vocab - 1);
      const auto first = std::find(s.tokens.begin(), s.tokens.end(), vocab - 1) - s.tokens.begin();
      REQUIRE(first < context - 3);
      REQUIRE(s.targets.back() == s.tokens[static_cast<std::size_t>(first + 1)]);
      REQUIRE(s.distance.back() == context - 1 - first);
      REQUIRE(std::count(s.distance.begin(), s.distance.end(), 0) == context - 1);
    }
  }
}

TEST_CASE("Places of the trigger, tokens and answers of induction are uniform", "[task][induction]") {
  const auto made = task("induction", 31);
  Counts place(28, 0), token(19, 0), answer(19, 0);
  Counts at_place(28 * 19, 0);  // the answer whatever the place
  for (std::uint64_t index = 0; index < 10000; ++index) {
    const Sequence s = make(*made, 5, Split::train, index);
    const auto p = static_cast<std::size_t>(30 - s.distance.back());
    ++place[p];
    ++answer[static_cast<std::size_t>(s.targets.back())];
    ++at_place[p * 19 + static_cast<std::size_t>(s.targets.back())];
    for (const std::int32_t t : s.tokens) {
      if (t < 19) ++token[static_cast<std::size_t>(t)];
    }
  }
  CHECK(uniform(place));
  CHECK(uniform(token));
  CHECK(uniform(answer));
  CHECK(uniform(at_place));
}

static_assert(std::is_trivially_copyable_v<Induction>);  // a kernel takes it by value

TEST_CASE("Induction needs no scratch memory and no distances", "[task][induction]") {
  check_on_dirty_scratch<Induction>("induction", 31);
}

TEST_CASE("Induction recycles its training sequences, and splits and seeds differ", "[task][induction]") {
  check_splits("induction", 31);
}

TEST_CASE("Induction's bad parameters are refused by name", "[task][induction]") {
  CHECK(refusal("induction", 4).empty());
  CHECK(holds(refusal("induction", 3), "context of 4 to"));
  CHECK(holds(refusal("induction", 0), "not 0"));
  CHECK(holds(refusal("induction", (1 << 24) + 1), "context"));
  CHECK(holds(refusal("induction", 31, {{"vocab", std::int64_t{1}}}), "task.vocab"));
  CHECK(task_spec("induction").whole("vocab") == 20);
  CHECK(task_type("induction").context == 31);
}

}  // namespace
}  // namespace hylas::model
