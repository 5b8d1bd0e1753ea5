// Induction: its parameters (see induction.hpp).
#include "model/data/tasks/induction.hpp"

#include <fmt/format.h>

#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;

std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context) {
  if (context < 4 || context > kMaxContext) {
    throw InputError(fmt::format("task induction needs a context of 4 to {} tokens, not {}", kMaxContext, context));
  }
  Induction induction;
  induction.vocab = spec.whole("vocab");
  induction.length = context;
  return std::make_unique<GeneratedTask<Induction>>(spec, induction, MetricPlan{.distance = true}, 1);
}

}  // namespace

TaskType induction_type() {
  return {.name = "induction",
          .summary = "repeat the token that stood after the trigger, when the trigger comes again at the end (H3)",
          .protocol =
              "uniform tokens of [0, vocab - 1), the trigger (token vocab - 1) at a uniform place before the "
              "last two of them and once more at the end; only the token after the first trigger, predicted at "
              "the last position, is trained and scored; port of arXiv 2212.14052",
          .parameters = {{"vocab", "tokens, the last one is the trigger", std::int64_t{20}, 2, 1 << 30},
                         train_sequences_parameter()},
          .context = 31,
          .make = make};
}

}  // namespace hylas::model
