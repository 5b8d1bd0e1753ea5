// What tests of the needle tasks share: the parts of a sequence, read from its tokens and the task's parameters alone.
#pragma once

#include <array>

#include "tests/model/test_task_support.hpp"

namespace hylas::model::task_test {

inline constexpr std::array needle_tasks = {"needle_single",     "needle_multikey",   "needle_haystack",
                                            "needle_multivalue", "needle_multiquery", "needle_tracking"};

// What a needle task's sequences consist of, read from its parameters.
struct Frame {
  explicit Frame(const Task& made) : spec(made.spec()), T(made.context()) {
    N = spec.whole("noise_vocab");
    K = spec.whole("key_vocab");
    U = spec.whole("value_vocab");
    if (spec.values.contains("value_tokens")) v = spec.whole("value_tokens");
  }
  [[nodiscard]] bool noise(std::int32_t token) const { return token < N; }
  [[nodiscard]] bool key(std::int32_t token) const { return token >= N && token < N + K; }
  [[nodiscard]] bool value(std::int32_t token) const { return token >= N + K && token < N + K + U; }
  [[nodiscard]] std::int32_t ask() const { return static_cast<std::int32_t>(N + K + U); }
  [[nodiscard]] std::int64_t number(const char* name) const {
    return spec.values.contains(name) ? spec.whole(name) : 1;
  }

  TaskSpec spec;
  std::int64_t T = 0, N = 0, K = 0, U = 0, v = 1;
};

struct Needle {
  std::size_t at;
  std::int32_t key;                 // of an assignment: the variable
  std::vector<std::int32_t> value;  // of an assignment: what it is given
};

// The haystack as needles between noise; empty where anything else stands in it. `end`: the first "ask".
[[nodiscard]] inline std::vector<Needle> parse(const Frame& f, const Sequence& s, std::size_t& end) {
  const bool tracking = f.spec.name == "needle_tracking";
  std::vector<Needle> needles;
  const auto width = tracking ? 3 : 1 + static_cast<std::size_t>(f.v);
  for (end = 0; end < s.tokens.size() && s.tokens[end] != f.ask();) {
    if (f.noise(s.tokens[end])) {
      ++end;
      continue;
    }
    if (end + width > s.tokens.size()) return {};
    Needle needle{end,
                  s.tokens[end],
                  {s.tokens.begin() + static_cast<std::ptrdiff_t>(end) + 1,
                   s.tokens.begin() + static_cast<std::ptrdiff_t>(end + width)}};
    if (tracking) {
      if (needle.key != f.ask() + 1) return {};
      needle.key = needle.value.front();
      needle.value = {needle.value.back()};
    }
    if (!f.key(needle.key)) return {};
    for (const std::int32_t token : needle.value) {
      if (!f.value(token) && !(tracking && f.key(token))) return {};
    }
    needles.push_back(needle);
    end += width;
  }
  return needles;
}

}  // namespace hylas::model::task_test
