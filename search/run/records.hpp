// Designs, trials and this machine as the plain records that db/ stores. Pure, but for machine_json() reading /proc.
#pragma once

#include <string>

#include "db/records.hpp"
#include "model/cohort.hpp"

namespace hylas::search {

[[nodiscard]] db::Design design_record(const model::Design& design);
[[nodiscard]] db::NewTrial trial_record(const model::TrialSpec& spec);
// {"cpu", "host", "logical_cpus", "memory_bytes", "system", "threads"}: where results were computed.
[[nodiscard]] std::string machine_json(int threads);
// Memory that could be had now without swapping; 0 if unknown.
[[nodiscard]] double available_memory_bytes();

}  // namespace hylas::search
