// Task: what a model is trained and tested on. A task makes sequences of tokens, says which positions are trained and
// which are scored, and by which metrics.
//
// A sequence has `context` tokens. For each position t it gives
//   tokens[t]    the input, in [0, vocab)
//   targets[t]   the token to predict at t, or -1 where nothing is trained
//   distance[t]  0: not scored. d > 0: scored, and the answer stands at position t + 1 - d (d: tokens from the answer
//                to the place where it is predicted; a window of W in one layer sees the token before the answer if
//                d <= W). unknown_distance (-1): scored, and the sequence does not hold the answer.
// Scored positions are trained ones. Training sequences are a function of (data seed, index), evaluation sequences of
// the index alone. With train_sequences = n > 0 training sequence i is that of index i mod n: n sequences, recycled.
//
// Every task is one header in data/tasks/ that states its protocol and compiles for both devices, and one line in the
// table of task_types.cpp. Determinism: integers only, the same bits on every machine and device.
// Errors: make_task() throws InputError naming the parameter. Thread-safety: const members may be called by several
// threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/data/task_spec.hpp"

namespace hylas::model {

enum class Split : std::uint8_t { train, eval };

inline constexpr std::int32_t unknown_distance = -1;

// Which metrics a task has besides "loss" (eval/task_metrics.hpp).
struct MetricPlan {
  bool accuracy = true;      // "accuracy": all scored positions
  bool macro = false;        // "accuracy/macro": mean over target tokens
  bool distance = false;     // "accuracy/near", "accuracy/far", "loss/near", "loss/far", "accuracy/(A,B]"
  std::int64_t depths = 0;   // "accuracy/depth:P": sequence i of the evaluation has depth class i mod depths
  bool by_position = false;  // "loss/short", "loss/long", "loss/(A,B]": by position in the context
  bool bits_per_byte = false;
};

class Task;

// Another task that the same model is evaluated on; its metrics' names begin with `prefix`.
struct Companion {
  std::string prefix;
  std::unique_ptr<Task> task;
  std::int64_t sequences = 0;
};

class Task {
 public:
  Task(TaskSpec spec, std::int64_t context);
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  [[nodiscard]] const TaskSpec& spec() const { return spec_; }
  [[nodiscard]] std::int64_t context() const { return context_; }
  [[nodiscard]] std::uint64_t train_sequences() const { return train_sequences_; }  // 0: without end
  [[nodiscard]] virtual std::int64_t vocab() const = 0;
  [[nodiscard]] virtual MetricPlan metrics() const = 0;
  // Targets of any one sequence where they are always as many; 0 where that differs.
  [[nodiscard]] virtual std::int64_t fixed_targets() const = 0;

  // How many different evaluation sequences there are; 0: without end.
  [[nodiscard]] virtual std::int64_t evaluation_sequences() const { return 0; }
  [[nodiscard]] virtual std::vector<Companion> companions() const { return {}; }
  // Throws InputError unless all tokens are below the model's vocabulary.
  virtual void check_vocab(std::int64_t vocab) const;

  // Writes T = context values to each array. data_seed is ignored by Split::eval.
  void sequence(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens, std::int32_t* targets,
                std::int32_t* distance) const;

 private:
  virtual void make(std::uint64_t data_seed, Split split, std::uint64_t index, std::int32_t* tokens,
                    std::int32_t* targets, std::int32_t* distance) const = 0;

  TaskSpec spec_;
  std::int64_t context_;
  std::uint64_t train_sequences_;
};

struct TaskParameter {
  enum class Type : std::uint8_t { whole, real, text };  // in the order of TaskValue's alternatives
  const char* name;
  const char* meaning;
  TaskValue default_value;     // its alternative is the type
  double least = 0, most = 0;  // of a number
  [[nodiscard]] Type type() const { return static_cast<Type>(default_value.index()); }
};

struct TaskType {
  const char* name;
  const char* summary;   // one line
  const char* protocol;  // stored with results: what a sequence is, what is scored, its source
  std::vector<TaskParameter> parameters;
  std::int64_t context = 0;  // what its source uses, or what suits it
  std::unique_ptr<Task> (*make)(const TaskSpec& spec, std::int64_t context) = nullptr;
  // Fills in what a study must keep of the world outside (which text a file holds); may be absent.
  void (*complete)(TaskSpec& spec) = nullptr;
  // Target t is predicted from the last position's hidden state and t: the model's head is a decoder
  // (model/decoder.hpp).
  bool decodes_last = false;
};

// In the order in which `hylas tasks` lists them.
[[nodiscard]] const std::vector<TaskType>& task_types();
[[nodiscard]] const TaskType& task_type(const std::string& name);  // throws InputError with the nearest name
// The spec with what its type's complete() adds.
[[nodiscard]] TaskSpec completed(TaskSpec spec);
// Throws InputError for parameters that cannot hold at this context.
[[nodiscard]] std::unique_ptr<Task> make_task(const TaskSpec& spec, std::int64_t context);

}  // namespace hylas::model
