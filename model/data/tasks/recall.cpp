// The recall stream on the CPU (see recall.hpp); recall_draw.hpp holds the draws.
#include "model/data/tasks/recall.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "model/data/tasks/recall_draw.hpp"
#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;
constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();

void check(const RecallTask& task, std::int64_t context) {
  if (context < 2 || context > kMaxContext || context % 2 != 0) {
    throw InputError("context must be an even number from 2 to " + std::to_string(kMaxContext) +
                     " for the recall task (pairs of key and value), not " + std::to_string(context));
  }
  if (task.keys < 1 || task.values < 1 || task.keys > kMaxTokens || task.values > kMaxTokens - task.keys) {
    throw InputError("the recall task needs at least one key and one value, together at most " +
                     std::to_string(kMaxTokens) + ", not " + std::to_string(task.keys) + " keys and " +
                     std::to_string(task.values) + " values");
  }
  if (!(task.repeat >= 0 && task.repeat <= 1)) {
    throw InputError("the recall task's repeat is a probability, 0 to 1, not " + std::to_string(task.repeat));
  }
}

}  // namespace

RecallTask recall_parameters(const TaskSpec& spec) {
  return {.keys = spec.whole("keys"), .values = spec.whole("values"), .repeat = spec.real("repeat")};
}

RecallStream::RecallStream(const RecallTask& task, std::int64_t context)
    : RecallStream(TaskSpec{.name = "recall",
                            .values = {{"keys", task.keys},
                                       {"values", task.values},
                                       {"repeat", task.repeat},
                                       {"train_sequences", std::int64_t{0}}}},
                   context) {}

RecallStream::RecallStream(const TaskSpec& spec, std::int64_t context)
    : Task(spec, context), task_(recall_parameters(spec)), slots_(context / 2) {
  check(task_, context);
  threshold_ = static_cast<std::uint64_t>(std::ldexp(task_.repeat, 32));
  prefix_.assign(static_cast<std::size_t>(slots_) + 1, 0);
  for (std::size_t m = 1; m < prefix_.size(); ++m) prefix_[m] = prefix_[m - 1] + (std::uint64_t{1} << 40) / m;
}

void RecallStream::make(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens,
                        std::int32_t* targets, std::int32_t* distance) const {
  const bool eval = split == Split::eval;
  const RecallDraws draws{eval ? 0 : data_seed, index, eval ? 1u : 0u};
  const auto keys = static_cast<std::uint32_t>(task_.keys), values = static_cast<std::uint32_t>(task_.values);
  std::vector<std::int32_t> last(keys, -1);  // slot of a key's last occurrence
  const auto slots = static_cast<std::uint32_t>(slots_);
  for (std::uint32_t i = 0; i < slots; ++i) {
    const RecallSlot slot = recall_slot(draws, i, prefix_.data(), threshold_, keys);
    const auto here = static_cast<std::int32_t>(i);
    const std::int32_t key = slot.back > 0 ? tokens[2 * (i - slot.back)] : static_cast<std::int32_t>(slot.fresh);
    const std::int32_t before = last[static_cast<std::size_t>(key)];
    const std::int32_t value =
        before >= 0 ? tokens[2 * before + 1]
                    : static_cast<std::int32_t>(keys + recall_value(draws, static_cast<std::uint32_t>(key), values));
    last[static_cast<std::size_t>(key)] = here;
    tokens[2 * i] = key;
    tokens[2 * i + 1] = value;
    targets[2 * i] = value;
    if (i > 0) targets[2 * i - 1] = key;
    distance[2 * i] = before >= 0 ? 2 * (here - before) : 0;
    distance[2 * i + 1] = 0;
  }
  targets[2 * slots_ - 1] = -1;
}

TaskType recall_type() {
  return {.name = "recall",
          .summary = "a stream of key-value pairs whose keys come back at all distances: the main proxy task",
          .protocol =
              "context / 2 pairs (key, value); pair i repeats the key of pair i - delta with probability repeat, "
              "delta log-uniform on [1, i], else its key is uniform; the value of a key is drawn once a "
              "sequence; all next tokens are trained, values of keys seen before are scored at the key",
          .parameters = {{"keys", "different keys", std::int64_t{16}, 1, 1 << 30},
                         {"values", "different values", std::int64_t{16}, 1, 1 << 30},
                         {"repeat", "probability that a pair repeats an earlier key", 0.4, 0, 1},
                         train_sequences_parameter()},
          .context = 64,
          .make = [](const TaskSpec& spec, std::int64_t context) -> std::unique_ptr<Task> {
            return std::make_unique<RecallStream>(spec, context);
          }};
}

}  // namespace hylas::model
