// The table's entry of MAD's selective copying (see mad_selective_copy.hpp).
#include "model/data/tasks/mad_selective_copy.hpp"

#include <fmt/format.h>

#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context) {
  const std::int64_t copy = spec.whole("copy");
  check_mad_context(spec, context, 4, false);
  if (2 * copy + 1 >= context) {
    throw InputError(
        fmt::format("task.copy must be at most {} in a context of {} tokens, not {}: the tokens to copy, "
                    "the copy token, the copies and one blank need 2 copy + 2 tokens",
                    (context - 2) / 2, context, copy));
  }
  MadSelectiveCopy generator;
  generator.vocab = spec.whole("vocab");
  generator.length = context;
  generator.scratch_words = 2 * copy;
  generator.copy = static_cast<std::uint32_t>(copy);
  return std::make_unique<GeneratedTask<MadSelectiveCopy>>(spec, generator, MetricPlan{.macro = true, .distance = true},
                                                           copy);
}

}  // namespace

TaskType mad_selective_copy_type() {
  return {.name = "mad_selective_copy",
          .summary = "MAD's selective copying: tokens among blanks, repeated in order at the end",
          .protocol =
              "port of MAD's selective copying (arXiv 2403.17844): copy uniform tokens, each blank of context - 2 "
              "copy - 1 in front of a uniform one of them, then the copy token and copy blanks; the last two "
              "tokens of the vocabulary are blank and copy; trained and scored are the last copy positions, "
              "whose targets are the tokens in order",
          .parameters = {{"vocab", "tokens: content, blank and copy", std::int64_t{16}, 3, 1 << 30},
                         {"copy", "tokens to copy", std::int64_t{16}, 1, 1 << 20},
                         train_sequences_parameter(kMadTrainSequences)},
          .context = 256,
          .make = make};
}

}  // namespace hylas::model
