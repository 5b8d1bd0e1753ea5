// Registration: [findings] of a space file says beforehand what its study is to decide: which part of `hylas findings`
// it is, thresholds, margins and tests. It is stored with the space before the first step, and another one on an
// existing study is refused like any other change of the space.
//
//   part              core, recurrent, sizes, ratios, sinks or growth
//   level, alpha      of intervals (0.9), of tests (0.05)
//   small_window      the window that stands for a small-window hybrid
//   equal_factor      D50s whose ratio lies within this factor, both ways, count as equal
//   plateau_margin    arms whose far accuracy at the end differs by less count as equal
//   short_loss, short_margin   the short-context loss, and what NoPE may add to it (nats) and still not be worse
//   early_tokens      where far accuracy is also compared, before the end; 0: at the end alone
//   head_mass         attention weight on far answers from which a head counts as a retrieval head
//   cut_window        keys that cut layers see; 0: no cuts are made
//   law, cure         terms of the emergence law that predicts (fitting/covariates.hpp), and of its chance that a run
//                     ever emerges; no terms of cure: every run does
//   hold_out_windows  windows to predict from the others, each in turn; empty: none
//   median_error, coverage     what counts as a good prediction: median |log10|, share inside the intervals
//   simulations       of parametric bootstraps
//
// Errors: InputError with the file's place. Thread-safety: pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace hylas::search {

class TomlReader;

struct Registration {
  std::string part = "core";
  double level = 0.9, alpha = 0.05;
  std::int64_t small_window = 8;
  double equal_factor = 1.25;
  double plateau_margin = 0.02;
  std::string short_loss = "loss/near";
  double short_margin = 0.02;
  double early_tokens = 0;
  double head_mass = 0.3;
  std::int64_t cut_window = 0;
  std::vector<std::string> law = {"ln_window", "ln_window^2", "nope", "nope*ln_window", "nope*ln_window^2"};
  std::vector<std::string> cure;
  std::vector<std::int64_t> hold_out_windows;
  double median_error = 0.15, coverage = 0.8;
  std::int64_t simulations = 199;
};

// Absent where the file has no [findings].
[[nodiscard]] std::optional<Registration> read_registration(const TomlReader& root);
// Every field by its name above.
[[nodiscard]] nlohmann::ordered_json to_json(const Registration& registration);

}  // namespace hylas::search
