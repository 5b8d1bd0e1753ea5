// hylas show task NAME: one sequence of a task, readably, with the scored positions marked; or how far back its answers
// stand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hylas::cli {

struct ShowTask {
  std::string name;
  std::vector<std::string> set;  // "parameter=value"
  std::int64_t context = 0;      // 0: the task's own
  std::int64_t index = 0, data_seed = 1;
  bool eval = false;
  bool reach = false;  // instead of a sequence: how many of the scored answers stand inside windows
};

// Throws InputError. The text for people, or one JSON document.
[[nodiscard]] std::string show_task(const ShowTask& options, bool json);

}  // namespace hylas::cli
