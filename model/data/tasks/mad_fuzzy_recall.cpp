// The table's entry of MAD's fuzzy in-context recall (see mad_fuzzy_recall.hpp).
#include "model/data/tasks/mad_fuzzy_recall.hpp"

#include <fmt/format.h>

#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context) {
  const std::int64_t vocab = spec.whole("vocab"), key_motif = spec.whole("key_motif"),
                     value_motif = spec.whole("value_motif");
  const std::int64_t keys = (vocab - 1) / 2, values = vocab - 1 - keys;
  check_mad_context(spec, context, 3 * (key_motif + value_motif), false);
  if (keys < key_motif || values < value_motif) {
    throw InputError(fmt::format(
        "task.vocab = {} has {} key and {} value tokens besides padding: too few for task.key_motif = {} and "
        "task.value_motif = {} different tokens",
        vocab, keys, values, key_motif, value_motif));
  }
  MadFuzzyRecall generator;
  generator.vocab = vocab;
  generator.length = context;
  generator.scratch_words = MadFuzzyRecall::scratch_for(context);
  generator.keys = static_cast<std::uint32_t>(keys);
  generator.values = static_cast<std::uint32_t>(values);
  generator.key_motif = static_cast<std::uint32_t>(key_motif);
  generator.value_motif = static_cast<std::uint32_t>(value_motif);
  generator.next_tokens = spec.whole("next_tokens") == 1;
  return std::make_unique<GeneratedTask<MadFuzzyRecall>>(spec, generator, MetricPlan{.macro = true, .distance = true},
                                                         generator.next_tokens ? context : 0);
}

}  // namespace

TaskType mad_fuzzy_recall_type() {
  return {.name = "mad_fuzzy_recall",
          .summary = "MAD's fuzzy recall: in-context recall of keys and values of one to three tokens",
          .protocol =
              "port of MAD's fuzzy in-context recall (arXiv 2403.17844): pairs of a key of 1 to key_motif and a "
              "value of 1 to value_motif different tokens, sizes uniform, keys of evaluation sequences key_motif "
              "long; keys from the first half of the vocabulary less one, values from the second, the last token "
              "is padding, put in front; the map is drawn once a sequence; the last pair repeats an earlier one; "
              "all tokens of values of keys seen before are scored; next_tokens 1: all next tokens are trained, "
              "0: the scored ones",
          .parameters = {{"vocab", "tokens: keys, values and padding", std::int64_t{16}, 3, MadFuzzyRecall::kMaxVocab},
                         {"key_motif", "most tokens of a key", std::int64_t{3}, 1, 3},
                         {"value_motif", "most tokens of a value", std::int64_t{3}, 1, 3},
                         next_tokens_parameter(),
                         train_sequences_parameter(kMadTrainSequences)},
          .context = 128,
          .make = make};
}

}  // namespace hylas::model
