// What a sweep prints at its end, for people and programs; `sweep` and `demo` share it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "search/run/controller.hpp"

namespace hylas::cli {

[[nodiscard]] std::string sweep_text(const search::SweepSummary& summary, const std::string& db);
// Keys: trials {state: count}, trained, already_finished, tokens, seconds, interrupted, profile {...}.
[[nodiscard]] nlohmann::ordered_json sweep_json(const search::SweepSummary& summary);

}  // namespace hylas::cli
