// Checks that every task generator has to pass: golden files of tests/model/task_reference_*.py, bit for bit; splits
// and recycled sequences; the conditions under which kernels call it; refusals.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "model/data/generator.hpp"
#include "model/design/input_error.hpp"
#include "tests/model/test_task_support.hpp"

namespace hylas::model::task_test {

// Checks every sequence of tests/golden/`file`; returns the tasks that it holds. Indices beyond train_sequences are
// what the reference knows, so none are recycled.
inline std::set<std::string> check_golden(const std::string& file, std::size_t sequences) {
  std::ifstream stream(HYLAS_SOURCE_DIR "/tests/golden/" + file);
  const auto cases = nlohmann::json::parse(stream);
  REQUIRE(cases.size() == sequences);
  std::set<std::string> tasks;
  for (const auto& golden : cases) {
    CAPTURE(golden["task"].dump(), golden["context"].dump(), golden["parameters"].dump(), golden["data_seed"].dump(),
            golden["split"].dump(), golden["index"].dump());
    std::map<std::string, TaskValue> given = {{"train_sequences", std::int64_t{0}}};
    for (const auto& [name, value] : golden["parameters"].items()) {
      given[name] = value.is_number_float() ? TaskValue(value.get<double>()) : TaskValue(value.get<std::int64_t>());
    }
    const auto made = task(golden["task"], golden["context"], given);
    const Split split = golden["split"] == "eval" ? Split::eval : Split::train;
    const Sequence got = make(*made, golden["data_seed"], split, golden["index"]);
    CHECK(got.tokens == golden["tokens"].get<std::vector<std::int32_t>>());
    CHECK(got.targets == golden["targets"].get<std::vector<std::int32_t>>());
    CHECK(got.distance == golden["distance"].get<std::vector<std::int32_t>>());
    tasks.insert(golden["task"]);
  }
  return tasks;
}

// What task.hpp says of splits, seeds and recycling; the task is given train_sequences = 7.
inline void check_splits(const std::string& name, std::int64_t context, std::map<std::string, TaskValue> given = {}) {
  given["train_sequences"] = std::int64_t{0};
  const auto endless = task(name, context, given);
  given["train_sequences"] = std::int64_t{7};
  const auto recycled = task(name, context, given);
  const Sequence base = make(*endless, 1, Split::train, 5);
  CHECK(make(*endless, 1, Split::train, 5) == base);
  for (const Sequence& other :
       {make(*endless, 2, Split::train, 5), make(*endless, 1, Split::train, 6),
        make(*endless, 1, Split::train, 5 + (std::uint64_t{1} << 32)),
        make(*endless, 1 + (std::uint64_t{1} << 32), Split::train, 5), make(*endless, 1, Split::eval, 5)}) {
    CHECK(other.tokens != base.tokens);
  }
  CHECK(make(*endless, 1, Split::eval, 5) == make(*endless, 2, Split::eval, 5));
  CHECK(make(*endless, 0, Split::eval, 5).tokens != make(*endless, 0, Split::train, 5).tokens);
  for (const std::uint64_t index : {5, 12, 7005}) CHECK(make(*recycled, 1, Split::train, index) == base);
  CHECK(make(*endless, 1, Split::train, 12).tokens != base.tokens);
  CHECK(make(*recycled, 1, Split::eval, 12) == make(*endless, 1, Split::eval, 12));
  CHECK(make(*recycled, 1, Split::eval, 12).tokens != make(*recycled, 1, Split::eval, 5).tokens);
}

// As a kernel calls it: scratch memory holds what another sequence left there, and distances are not wanted.
template <class Generator>
void check_on_dirty_scratch(const std::string& name, std::int64_t context,
                            std::map<std::string, TaskValue> given = {}) {
  CAPTURE(name, context);
  given["train_sequences"] = 0;
  const auto made = task(name, context, given);
  const auto* generated = dynamic_cast<const GeneratedTask<Generator>*>(made.get());
  REQUIRE(generated != nullptr);
  const Generator& generator = generated->generator();
  const auto words = static_cast<std::size_t>(generator.scratch_words);
  constexpr std::uint32_t guard = 0xDEADBEEF;
  std::vector<std::uint32_t> scratch(words + 8, guard);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(context)), targets(tokens.size());
  for (std::uint64_t index = 0; index < 300; ++index) {
    Draws draws(task_tag(Generator::name), 7, index, false);
    generator.make(draws, {tokens.data(), targets.data(), nullptr, scratch.data(), static_cast<std::int32_t>(context)});
    const Sequence expected = make(*made, 7, Split::train, index);
    REQUIRE(tokens == expected.tokens);
    REQUIRE(targets == expected.targets);
    REQUIRE(std::count(scratch.begin() + static_cast<std::ptrdiff_t>(words), scratch.end(), guard) == 8);
  }
}

// The message with which a task is refused, or "" where it is made.
[[nodiscard]] inline std::string refusal(const std::string& name, std::int64_t context,
                                         const std::map<std::string, TaskValue>& given = {}) {
  try {
    (void)task(name, context, given);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

[[nodiscard]] inline bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace hylas::model::task_test
