// Receptive-field cuts of the core's trained runs: far accuracy as trained, with the full layers cut to cut_window
// keys, and with the window layers cut to half of that. What judge_cuts() judges.
//
// Made once from the checkpoints that the sweep left, by the registration's cut_window, and kept in the store as a fit
// of the core's study (kind "cuts"); found there again, they are not made again. Runs: the core's hybrids with RoPE
// full layers that emerged. Errors: InputError where a checkpoint is gone, CheckpointError, StoreError. Thread-safety:
// one call a store at a time.
#pragma once

#include <string>
#include <vector>

#include "db/store.hpp"
#include "model/cohort.hpp"
#include "search/findings/statement.hpp"

namespace hylas::search {

// Those in the store; none where they were not made for just these runs.
[[nodiscard]] std::vector<CutRun> stored_cuts(const db::Store& store, const FindingRuns& runs,
                                              const std::string& study);
[[nodiscard]] std::vector<CutRun> make_cuts(db::Store& store, const FindingRuns& runs, const std::string& study,
                                            const model::CohortOptions& engine, const std::string& program_version);

}  // namespace hylas::search
