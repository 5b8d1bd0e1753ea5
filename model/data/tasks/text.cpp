// Real text on the CPU (see text.hpp).
#include "model/data/tasks/text.hpp"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <numeric>
#include <tuple>

#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

constexpr std::int64_t kNeedleContext = 2 * (kNeedleBytes + kQuestionBytes);

// One map of a file serves all tasks of a process; a file that has changed is opened anew.
std::shared_ptr<const Corpus> open_corpus(const TaskSpec& spec) {
  static std::mutex mutex;
  static std::map<std::tuple<std::string, std::string, double, std::int64_t, std::uintmax_t>,
                  std::shared_ptr<const Corpus>>
      open;
  const std::string& path = spec.text("corpus");
  if (path.empty()) throw InputError("task.corpus is missing: the file to train on (or sweep --corpus FILE)");
  std::error_code none;
  const auto changed = std::filesystem::last_write_time(path, none).time_since_epoch().count();
  const std::lock_guard lock(mutex);
  auto& corpus =
      open[{path, spec.text("format"), spec.real("validation"), changed, std::filesystem::file_size(path, none)}];
  if (!corpus) {
    corpus = std::make_shared<const Corpus>(path, corpus_format(spec.text("format")), spec.real("validation"));
  }
  return corpus;
}

void complete(TaskSpec& spec) {
  const std::shared_ptr<const Corpus> corpus = open_corpus(spec);
  spec.set("corpus", std::filesystem::absolute(spec.text("corpus")).lexically_normal().string());
  spec.set("content", corpus->identity());
}

}  // namespace

TextTask::TextTask(const TaskSpec& spec, std::int64_t context) : Task(spec, context), corpus_(open_corpus(spec)) {
  const std::string& content = spec.text("content");
  if (!content.empty() && content != corpus_->identity()) {
    throw InputError(fmt::format("task.corpus {} is not the text the study was made with: it holds {}, not {}",
                                 spec.text("corpus"), corpus_->identity(), content));
  }
  vocab_ = corpus_->width() == 1 ? 256 : corpus_->largest() + 1;
  (void)corpus_->training_starts(context);  // refuse a part that is shorter than one sequence
  corpus_->check_validation(1, context);
  windows_ = corpus_->validation().size() / (context + 1);
  window_step_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(0.618 * static_cast<double>(windows_)));
  while (std::gcd(window_step_, windows_) != 1) ++window_step_;
  needle_threshold_ = static_cast<std::uint64_t>(std::ldexp(spec.real("needles"), 32));
  if (needle_threshold_ > 0 && corpus_->width() != 1) {
    throw InputError("task.needles must be 0 for a token file: needles are bytes");
  }
  if (needle_threshold_ > 0 && context < kNeedleContext) {
    throw InputError(fmt::format("context must be at least {} for task.needles, not {}", kNeedleContext, context));
  }
}

void TextTask::check_vocab(std::int64_t vocab) const {
  corpus_->check_vocabulary(vocab);
  if (corpus_->width() == 1 && vocab < 256) Task::check_vocab(vocab);
}

MetricPlan TextTask::metrics() const {
  if (needle_evaluation_) return {.distance = true, .depths = kNeedleDepths};
  return {.by_position = true, .bits_per_byte = corpus_->width() == 1};
}

std::vector<Companion> TextTask::companions() const {
  std::vector<Companion> list;
  if (needle_threshold_ > 0 && !needle_evaluation_) {
    auto needle = std::make_unique<TextTask>(spec(), context());
    needle->needle_evaluation_ = true;
    list.push_back({"needle/", std::move(needle), kNeedleDepths});
  }
  return list;
}

void TextTask::make(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens,
                    std::int32_t* targets, std::int32_t* distance) const {
  const auto T = static_cast<std::int32_t>(context());
  Draws draws(task_tag("text"), data_seed, index, split == Split::eval);
  const std::uint64_t random = draws.word64();
  TextNeedle needle;
  std::int64_t start = 0;
  if (split == Split::train) {
    start = corpus_->training_start(random, T);
    if (draws.chance(needle_threshold_)) needle = draw_needle(draws, T, -1);
  } else {
    const auto n = static_cast<std::uint64_t>(windows_);
    const auto window = static_cast<std::int64_t>(index % n * static_cast<std::uint64_t>(window_step_) % n);
    start = corpus_->validation().begin + window * (T + 1);
    (void)draws.word();
    if (needle_evaluation_) needle = draw_needle(draws, T, static_cast<std::int32_t>(index % kNeedleDepths));
  }
  for (std::int32_t t = 0; t <= T; ++t) {
    const std::int32_t from = text_source(needle, T, t);
    const std::int32_t token = from >= 0 ? corpus_->token(start + from) : needle.byte(-1 - from);
    if (t < T) tokens[t] = token;
    if (t > 0) targets[t - 1] = token;
  }
  for (std::int32_t t = 0; t < T; ++t) distance[t] = needle_evaluation_ ? 0 : unknown_distance;
  if (!needle_evaluation_) return;
  for (std::int32_t digit = 0; digit < 4; ++digit) {
    const std::int32_t t = T - 4 + digit;  // predicts stream position T - 3 + digit
    distance[t] = t + 1 - (needle.at + kNeedleDigitsAt + digit);
  }
}

TaskType text_type() {
  return {.name = "text",
          .summary = "real text: the bytes of any file, or the tokens of a .bin file (nanoGPT, llm.c)",
          .protocol =
              "context + 1 tokens of a corpus a sequence, at random places of its training part; evaluation on "
              "windows of its validation part (its last share); every next token is trained and scored. Needle "
              "metrics: a line '\\nThe code of KKKK is DDDD.\\n' in the text, asked for at the end",
          .parameters = {{"corpus", "the file", std::string()},
                         {"format", "auto (by name: *.bin holds tokens), bytes, tokens_u16 or tokens_u32",
                          std::string("auto")},
                         {"validation", "the last share of the tokens, which is not trained on", 0.1, 0, 1},
                         {"needles", "share of training sequences that carry a needle (byte texts)", 0.0, 0, 1},
                         {"content", "what the corpus holds; filled in when a study is made", std::string()},
                         train_sequences_parameter()},
          .context = 512,
          .make = [](const TaskSpec& spec, std::int64_t context) -> std::unique_ptr<Task> {
            return std::make_unique<TextTask>(spec, context);
          },
          .complete = complete};
}

}  // namespace hylas::model
