// The tables' entries of MAD's in-context recall and noisy recall (see mad_recall.hpp).
#include "model/data/tasks/mad_recall.hpp"

#include <fmt/format.h>

#include <cmath>

#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

template <class Generator>
std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context, std::int64_t noise_vocab, double noise) {
  check_mad_context(spec, context, 4, true);
  const std::int64_t vocab = spec.whole("vocab"), pairs_vocab = vocab - noise_vocab;
  if (pairs_vocab < 2 || pairs_vocab % 2 != 0) {
    throw InputError(
        fmt::format("task.vocab {}must be even and at least 2, not {}; keys are one half of it, values the "
                    "other",
                    noise_vocab > 0 ? fmt::format("less task.noise_vocab ({}) ", noise_vocab) : "", pairs_vocab));
  }
  Generator generator;
  generator.vocab = vocab;
  generator.length = context;
  generator.scratch_words = pairs_vocab;
  generator.keys = static_cast<std::uint32_t>(pairs_vocab / 2);
  generator.noise_vocab = static_cast<std::uint32_t>(noise_vocab);
  generator.noise_threshold = static_cast<std::uint64_t>(std::ldexp(noise, 32));
  generator.next_tokens = spec.whole("next_tokens") == 1;
  return std::make_unique<GeneratedTask<Generator>>(spec, generator, MetricPlan{.macro = true, .distance = true},
                                                    generator.next_tokens ? context - 1 : 0);
}

}  // namespace

TaskType mad_recall_type() {
  return {.name = "mad_recall",
          .summary = "MAD's in-context recall: the values of keys seen before, among random pairs",
          .protocol =
              "port of MAD's in-context recall (arXiv 2403.17844): context / 2 pairs (key, value), keys the first "
              "half of the vocabulary and uniform, values the second half, the map drawn once a sequence; the "
              "last pair repeats a key seen before, uniform among them; values of keys seen before are scored at "
              "the key; next_tokens 1: all next tokens are trained, 0: the scored ones",
          .parameters = {{"vocab", "tokens: keys and values, half each", std::int64_t{16}, 2, 65536},
                         next_tokens_parameter(),
                         train_sequences_parameter(kMadTrainSequences)},
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) { return make<MadRecall>(spec, context, 0, 0); }};
}

TaskType mad_noisy_recall_type() {
  return {.name = "mad_noisy_recall",
          .summary = "MAD's noisy recall: in-context recall in which some pairs are noise tokens",
          .protocol =
              "port of MAD's noisy in-context recall (arXiv 2403.17844): context / 2 slots; each but the last and "
              "a random one is two noise tokens with probability noise, else a pair (key, value); the last "
              "noise_vocab tokens are noise, keys the first half of the others and uniform, values the second "
              "half, the map drawn once a sequence; the last pair repeats a key seen before, uniform among them; "
              "values of keys seen before are scored at the key; next_tokens 1: all next tokens are trained, 0: "
              "the scored ones",
          .parameters = {{"vocab", "tokens: keys and values, half each, and noise", std::int64_t{32}, 3, 65536},
                         {"noise_vocab", "noise tokens among them", std::int64_t{16}, 1, 65536},
                         {"noise", "probability that a slot is noise", 0.2, 0, 1},
                         next_tokens_parameter(),
                         train_sequences_parameter(kMadTrainSequences)},
          .context = 128,
          .make = [](const TaskSpec& spec, std::int64_t context) {
            return make<MadNoisyRecall>(spec, context, spec.whole("noise_vocab"), spec.real("noise"));
          }};
}

}  // namespace hylas::model
