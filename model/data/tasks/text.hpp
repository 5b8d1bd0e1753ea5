// Real text: the bytes of any file, or a token file (corpus.hpp), as training and evaluation sequences (text_draw.hpp).
// All next tokens are trained and scored, by position; needles can be put into byte texts.
//
// Errors: InputError naming file, parameter or context. Thread-safety: as Task's.
#pragma once

#include <memory>

#include "model/data/corpus.hpp"
#include "model/data/task.hpp"
#include "model/data/tasks/text_draw.hpp"

namespace hylas::model {

class TextTask final : public Task {
 public:
  // Opens the corpus; fails where it is another than the one whose identity spec.content names.
  TextTask(const TaskSpec& spec, std::int64_t context);

  [[nodiscard]] std::int64_t vocab() const override { return vocab_; }
  void check_vocab(std::int64_t vocab) const override;
  [[nodiscard]] MetricPlan metrics() const override;
  [[nodiscard]] std::int64_t fixed_targets() const override { return context(); }
  [[nodiscard]] std::int64_t evaluation_sequences() const override { return windows_; }
  [[nodiscard]] std::vector<Companion> companions() const override;

  [[nodiscard]] const Corpus& corpus() const { return *corpus_; }
  [[nodiscard]] std::uint64_t needle_threshold() const { return needle_threshold_; }

 private:
  void make(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens, std::int32_t* targets,
            std::int32_t* distance) const override;

  std::shared_ptr<const Corpus> corpus_;
  std::int64_t vocab_ = 256;
  std::int64_t windows_ = 0;  // of the validation part
  std::int64_t window_step_ = 1;
  std::uint64_t needle_threshold_ = 0;  // floor(needles 2^32)
  bool needle_evaluation_ = false;      // this is the needle companion
};

}  // namespace hylas::model
