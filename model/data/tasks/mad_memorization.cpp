// MAD's memorization: its map and the table's entry (see mad_memorization.hpp).
#include "model/data/tasks/mad_memorization.hpp"

#include <numeric>
#include <utility>

#include "model/data/tasks/types.hpp"

namespace hylas::model {
namespace {

std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context) {
  check_mad_context(spec, context, 2, true);
  MadMemorization generator;
  generator.vocab = spec.whole("vocab");
  generator.length = context;
  return std::make_unique<GeneratedTask<MadMemorization>>(spec, generator, MetricPlan{.macro = true}, context / 2,
                                                          memorization_map(generator.vocab));
}

}  // namespace

std::vector<std::uint64_t> memorization_map(std::int64_t vocab) {
  const auto keys = static_cast<std::size_t>((vocab - 1) / 2), num_values = static_cast<std::size_t>(vocab - 1) - keys;
  std::vector<std::uint64_t> values(num_values);
  std::iota(values.begin(), values.end(), keys);
  Draws draws(task_tag("mad_map"), 0, 0, false);
  for (std::size_t i = 0; i < keys; ++i) {
    std::swap(values[i], values[i + draws.below(static_cast<std::uint32_t>(num_values - i))]);
  }
  values.resize(keys);
  return values;
}

TaskType mad_memorization_type() {
  return {.name = "mad_memorization",
          .summary = "MAD's memorization: a fixed map from keys to values, learnt in the weights",
          .protocol =
              "port of MAD's memorization (arXiv 2403.17844): context / 2 uniform keys, each followed by the insert "
              "token, the vocabulary's last; keys are the first half of the others, values the second; one "
              "random injective map for each vocabulary, the same in all sequences, splits and data seeds; "
              "trained and scored are the insert tokens, whose targets are the keys' values",
          .parameters = {{"vocab", "tokens: keys, values and insert", std::int64_t{256}, 3, MadMemorization::kMaxVocab},
                         train_sequences_parameter(MadMemorization::kTrainSequences)},
          .context = 32,
          .make = make};
}

}  // namespace hylas::model
