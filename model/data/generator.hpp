// Generator: the form in which a task's sequences are written once for both devices, and the Task around it.
//
// A generator is a plain struct (trivially copyable: it goes to a kernel by value) with
//   static constexpr const char* name;                        its draws' tag
//   HYLAS_HOST_DEVICE void make(Draws&, const Place&) const;   writes one sequence, every token and every target
//   std::int64_t vocab, length;                               length: the context
//   std::int64_t scratch_words;                               32-bit words of scratch memory that make() may use
//   const std::uint64_t* table; std::int64_t table_size;      a table made once on the host; on a GPU, its copy there
// One thread makes a whole sequence, in order: equal bits need no further thought, and 1,000 sequences at once keep a
// GPU busy enough for what a training step takes. Place::score() and Place::train() set a position's target.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "model/data/draws.hpp"
#include "model/data/task.hpp"

namespace hylas::model {

// Where one sequence goes. `distance` may be null (training on a GPU does not need it).
struct Place {
  std::int32_t *tokens, *targets, *distance;
  std::uint32_t* scratch;
  std::int32_t length;

  // Nothing is trained anywhere.
  HYLAS_HOST_DEVICE void clear() const {
    for (std::int32_t t = 0; t < length; ++t) {
      targets[t] = -1;
      if (distance != nullptr) distance[t] = 0;
    }
  }
  // Position t predicts `target`, and is scored; the answer stands at position `answer`, or nowhere (-1).
  HYLAS_HOST_DEVICE void score(std::int32_t t, std::int32_t target, std::int32_t answer) const {
    targets[t] = target;
    if (distance != nullptr) distance[t] = answer >= 0 ? t + 1 - answer : unknown_distance;
  }
};

// What every generator has besides make().
struct GeneratorBase {
  std::int64_t vocab = 0, length = 0, scratch_words = 0;
  const std::uint64_t* table = nullptr;
  std::int64_t table_size = 0;
};

template <class Generator>
class GeneratedTask final : public Task {
 public:
  // `table` becomes the generator's table.
  GeneratedTask(TaskSpec spec, const Generator& generator, MetricPlan metrics, std::int64_t fixed_targets,
                std::vector<std::uint64_t> table = {})
      : Task(std::move(spec), generator.length),
        generator_(generator),
        metrics_(metrics),
        fixed_targets_(fixed_targets),
        table_(std::move(table)) {
    generator_.table = table_.data();
    generator_.table_size = static_cast<std::int64_t>(table_.size());
  }

  [[nodiscard]] std::int64_t vocab() const override { return generator_.vocab; }
  [[nodiscard]] MetricPlan metrics() const override { return metrics_; }
  [[nodiscard]] std::int64_t fixed_targets() const override { return fixed_targets_; }
  [[nodiscard]] const Generator& generator() const { return generator_; }

 private:
  void make(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens, std::int32_t* targets,
            std::int32_t* distance) const override {
    std::vector<std::uint32_t> scratch(static_cast<std::size_t>(generator_.scratch_words));
    Draws draws(task_tag(Generator::name), data_seed, index, split == Split::eval);
    generator_.make(draws, {tokens, targets, distance, scratch.data(), static_cast<std::int32_t>(generator_.length)});
  }

  Generator generator_;
  MetricPlan metrics_;
  std::int64_t fixed_targets_;
  std::vector<std::uint64_t> table_;
};

}  // namespace hylas::model
