// The table's entry of MAD's compression (see mad_compression.hpp).
#include "model/data/tasks/mad_compression.hpp"

#include "model/data/tasks/types.hpp"

namespace hylas::model {
namespace {

std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context) {
  check_mad_context(spec, context, 2, false);
  MadCompression generator;
  generator.vocab = spec.whole("vocab");
  generator.length = context;
  return std::make_unique<GeneratedTask<MadCompression>>(spec, generator, MetricPlan{.macro = true}, context - 1);
}

}  // namespace

TaskType mad_compression_type() {
  return {.name = "mad_compression",
          .summary = "MAD's compression: all tokens of a sequence from its last hidden state",
          .protocol =
              "port of MAD's compression (arXiv 2403.17844): context - 1 uniform tokens and the compression token, "
              "the vocabulary's last; from the last hidden state plus a sine-cosine code of position t a decoder "
              "predicts token t; the decoder is one pre-norm SwiGLU branch of the layers' width (3 d_model where they "
              "have none), in the original two layers of norm, linear and GELU; a design's parameters and FLOPs do not "
              "count it; trained and scored are all tokens but the compression token",
          .parameters = {{"vocab", "tokens: content and compression", std::int64_t{16}, 2, 1 << 30},
                         train_sequences_parameter(kMadTrainSequences)},
          .context = 32,
          .make = make,
          .decodes_last = true};
}

}  // namespace hylas::model
