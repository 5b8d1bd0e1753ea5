// The six MAD tasks: bit for bit the independent reference, what all of them promise, refusals. Their distributions and
// structure are in test_task_mad_*.cpp.
#include <random>
#include <set>
#include <type_traits>

#include "model/data/tasks/mad_compression.hpp"
#include "model/data/tasks/mad_fuzzy_recall.hpp"
#include "model/data/tasks/mad_memorization.hpp"
#include "model/data/tasks/mad_recall.hpp"
#include "model/data/tasks/mad_selective_copy.hpp"
#include "tests/model/test_task_golden.hpp"

namespace hylas::model {
namespace {

using namespace task_test;
using Given = std::map<std::string, TaskValue>;

// A kernel takes them by value.
static_assert(std::is_trivially_copyable_v<MadRecall> && std::is_trivially_copyable_v<MadNoisyRecall>);
static_assert(std::is_trivially_copyable_v<MadFuzzyRecall> && std::is_trivially_copyable_v<MadSelectiveCopy>);
static_assert(std::is_trivially_copyable_v<MadCompression> && std::is_trivially_copyable_v<MadMemorization>);

const char* const names[] = {"mad_recall",         "mad_noisy_recall", "mad_fuzzy_recall",
                             "mad_selective_copy", "mad_compression",  "mad_memorization"};

TEST_CASE("MAD sequences are those of the independent Python reference, bit for bit", "[task][mad]") {
  CHECK(check_golden("mad_sequences.json", 25) == std::set<std::string>(std::begin(names), std::end(names)));
}

TEST_CASE("No two MAD tasks share their draws, nor the memorization map any task's", "[task][mad]") {
  std::set<std::uint64_t> tags = {task_tag("mad_map")};
  for (const char* name : names) tags.insert(task_tag(name));
  CHECK(tags.size() == 1 + std::size(names));
}

TEST_CASE("MAD generators need no clean scratch memory, none beyond what they ask for, and no distances",
          "[task][mad]") {
  check_on_dirty_scratch<MadRecall>("mad_recall", 128);
  check_on_dirty_scratch<MadRecall>("mad_recall", 1024, {{"vocab", 2}});
  check_on_dirty_scratch<MadNoisyRecall>("mad_noisy_recall", 128);
  check_on_dirty_scratch<MadFuzzyRecall>("mad_fuzzy_recall", 128);
  check_on_dirty_scratch<MadFuzzyRecall>("mad_fuzzy_recall", 257,  // every pair is two tokens and most keys are new
                                         {{"vocab", 2048}, {"key_motif", 1}, {"value_motif", 1}});
  check_on_dirty_scratch<MadSelectiveCopy>("mad_selective_copy", 256);
  check_on_dirty_scratch<MadCompression>("mad_compression", 32);
  check_on_dirty_scratch<MadMemorization>("mad_memorization", 32);
}

TEST_CASE("Defaults are MAD's baselines", "[task][mad]") {
  const auto vocab = [](const char* name) { return std::get<std::int64_t>(task_spec(name).values.at("vocab")); };
  const auto train = [](const char* name) { return task_spec(name).whole("train_sequences"); };
  for (const char* name : {"mad_recall", "mad_fuzzy_recall", "mad_selective_copy", "mad_compression"}) {
    CHECK(vocab(name) == 16);
    CHECK(train(name) == 12800);
  }
  CHECK(vocab("mad_noisy_recall") == 32);
  CHECK(task_spec("mad_noisy_recall").whole("noise_vocab") == 16);
  CHECK(task_spec("mad_noisy_recall").real("noise") == 0.2);
  CHECK(train("mad_noisy_recall") == 12800);
  CHECK(vocab("mad_memorization") == 256);
  CHECK(train("mad_memorization") == 256);
  CHECK(task_spec("mad_selective_copy").whole("copy") == 16);
  CHECK(task_type("mad_recall").context == 128);
  CHECK(task_type("mad_noisy_recall").context == 128);
  CHECK(task_type("mad_fuzzy_recall").context == 128);
  CHECK(task_type("mad_selective_copy").context == 256);
  CHECK(task_type("mad_compression").context == 32);
  CHECK(task_type("mad_memorization").context == 32);
}

// At the baseline and at the ends of every factor of the protocol.
TEST_CASE("10,000 sequences of each MAD task keep the promises of a task", "[task][mad]") {
  const struct {
    const char* name;
    std::vector<std::pair<std::int64_t, Given>> settings;  // context, parameters
  } tasks[] = {
      {"mad_recall", {{128, {}}, {128, {{"vocab", 128}}}, {1024, {}}, {64, {{"next_tokens", 0}}}}},
      {"mad_noisy_recall", {{128, {}}, {128, {{"vocab", 144}}}, {128, {{"noise", 0.8}}}, {64, {{"next_tokens", 0}}}}},
      {"mad_fuzzy_recall", {{128, {}}, {128, {{"vocab", 128}}}, {1024, {}}, {18, {{"next_tokens", 0}}}}},
      {"mad_selective_copy", {{256, {}}, {256, {{"vocab", 128}}}, {1024, {}}, {256, {{"copy", 96}}}}},
      {"mad_compression", {{32, {}}, {32, {{"vocab", 128}}}, {256, {}}, {2, {{"vocab", 2}}}}},
      {"mad_memorization", {{32, {}}, {32, {{"vocab", 8192}}}, {2, {{"vocab", 3}}}, {128, {}}}},
  };
  std::mt19937_64 random(2024);
  for (const auto& [name, settings] : tasks) {
    for (const auto& [context, given] : settings) {
      auto endless = given;
      endless["train_sequences"] = 0;
      const auto made = task(name, context, endless);
      for (int i = 0; i < 2500; ++i) {
        const std::uint64_t data_seed = random(), index = random();
        const std::string problem =
            broken_promise(*made, make(*made, data_seed, i % 2 ? Split::train : Split::eval, index));
        CAPTURE(name, context, data_seed, index, problem);
        REQUIRE(problem.empty());
      }
    }
  }
}

TEST_CASE("MAD sequences depend on split, index and, in training, data seed; training ones are recycled",
          "[task][mad]") {
  for (const char* name : names) {
    CAPTURE(name);
    check_splits(name, task_type(name).context);
  }
}

// The original warns when over one in a thousand of the test sequences are among the training sequences.
TEST_CASE("No test sequence of a MAD baseline is a training sequence, and none comes twice", "[task][mad]") {
  for (const char* name : names) {
    CAPTURE(name);
    const auto made = task(name, task_type(name).context);
    std::set<std::vector<std::int32_t>> sequences;
    const std::uint64_t train = made->train_sequences(), test = 1280;
    for (std::uint64_t i = 0; i < train; ++i) sequences.insert(make(*made, 1, Split::train, i).tokens);
    for (std::uint64_t i = 0; i < test; ++i) sequences.insert(make(*made, 1, Split::eval, i).tokens);
    CHECK(sequences.size() == train + test);
  }
}

TEST_CASE("Parameters of MAD tasks that cannot hold are refused by name", "[task][mad]") {
  const struct {
    const char* name;
    std::int64_t context;
    Given given;
    const char* named;
  } bad[] = {
      {"mad_recall", 127, {}, "even context"},
      {"mad_recall", 2, {}, "context"},
      {"mad_recall", 0, {}, "context"},
      {"mad_recall", -128, {}, "context"},
      {"mad_recall", (1 << 20) + 2, {}, "context"},
      {"mad_recall", 128, {{"vocab", 17}}, "task.vocab"},
      {"mad_recall", 128, {{"vocab", 0}}, "task.vocab"},
      {"mad_recall", 128, {{"vocab", -16}}, "task.vocab"},
      {"mad_recall", 128, {{"next_tokens", 2}}, "task.next_tokens"},
      {"mad_recall", 128, {{"train_sequences", -1}}, "task.train_sequences"},
      {"mad_noisy_recall", 126, {{"vocab", 31}}, "task.vocab"},
      {"mad_noisy_recall", 128, {{"noise_vocab", 32}}, "task.noise_vocab"},
      {"mad_noisy_recall", 128, {{"noise_vocab", 100}}, "task.noise_vocab"},
      {"mad_noisy_recall", 128, {{"noise_vocab", 0}}, "task.noise_vocab"},
      {"mad_noisy_recall", 128, {{"noise", 1.5}}, "task.noise"},
      {"mad_noisy_recall", 128, {{"noise", -0.1}}, "task.noise"},
      {"mad_noisy_recall", 128, {{"noise", std::nan("")}}, "task.noise"},
      {"mad_fuzzy_recall", 17, {}, "context of 18"},
      {"mad_fuzzy_recall", 128, {{"vocab", 6}}, "task.vocab"},
      {"mad_fuzzy_recall", 128, {{"vocab", 4096}}, "task.vocab"},
      {"mad_fuzzy_recall", 128, {{"key_motif", 4}}, "task.key_motif"},
      {"mad_fuzzy_recall", 128, {{"value_motif", 0}}, "task.value_motif"},
      {"mad_selective_copy", 33, {}, "task.copy"},
      {"mad_selective_copy", 256, {{"copy", 128}}, "task.copy"},
      {"mad_selective_copy", 256, {{"copy", 300}}, "task.copy"},
      {"mad_selective_copy", 256, {{"copy", 0}}, "task.copy"},
      {"mad_selective_copy", 3, {{"copy", 1}}, "context"},
      {"mad_selective_copy", 256, {{"vocab", 2}}, "task.vocab"},
      {"mad_compression", 1, {}, "context"},
      {"mad_compression", 32, {{"vocab", 1}}, "task.vocab"},
      {"mad_memorization", 31, {}, "even context"},
      {"mad_memorization", 0, {}, "context"},
      {"mad_memorization", 32, {{"vocab", 2}}, "task.vocab"},
  };
  for (const auto& [name, context, given, named] : bad) {
    const std::string message = refusal(name, context, given);
    CAPTURE(name, context, message);
    CHECK(holds(message, named));
  }
  CHECK(refusal("mad_selective_copy", 34, {}).empty());  // 2 copy + 1 < context holds from here on
  CHECK(refusal("mad_fuzzy_recall", 18, {{"vocab", 7}}).empty());
  CHECK(refusal("mad_noisy_recall", 4, {{"vocab", 18}, {"noise", 1.0}}).empty());
}

}  // namespace
}  // namespace hylas::model
