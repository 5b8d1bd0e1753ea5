// What a sweep prints at its end, for people and programs; `sweep` and `demo` share it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "search/run/controller.hpp"
#include "search/study/tuned_sweep.hpp"

namespace hylas::cli {

[[nodiscard]] std::string sweep_text(const search::SweepSummary& summary, const std::string& db);
// Of a study with [tuning]: the rates chosen, then as above.
[[nodiscard]] std::string sweep_text(const search::TunedSweep& sweep, const search::Space& space,
                                     const std::string& db);
[[nodiscard]] nlohmann::ordered_json sweep_json(
    const search::TunedSweep& sweep);  // + tuning {trials, ...}, rates {id: rate}
// Keys: trials {state: count}, trained, already_finished, tokens, seconds, interrupted, profile {...}.
[[nodiscard]] nlohmann::ordered_json sweep_json(const search::SweepSummary& summary);

}  // namespace hylas::cli
