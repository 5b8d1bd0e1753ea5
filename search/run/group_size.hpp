// How many trials of one cohort key a sweep trains together: by what was asked for, by the device's memory, and by what
// leaves other workers their part. The worker (worker.hpp) forms its groups by it, a plan (throughput.hpp) foresees
// them.
//
// Errors: those of model::trials_that_fit() on a GPU. Thread-safety: pure functions of their arguments and of the
// memory that is free at the time.
#pragma once

#include <cstddef>
#include <string>

#include "model/cohort.hpp"
#include "search/run/controller.hpp"

namespace hylas::search {

inline constexpr std::size_t most_in_lockstep = 256;

// Trials like this one that fit together on the device, options.max_cohort at most; at least 1.
[[nodiscard]] std::size_t group_limit(const model::TrialSpec& trial, const SweepOptions& options,
                                      const std::string& device);

// How many trials of a key one of several workers may take so that no other is left without work: an equal part of
// them, or, where other keys give the others enough to do, as many as make up an equal part of all the work left.
// of_key: open trials of the key; flops_left: of all open trials; flops_of_one: of one trial of the key.
[[nodiscard]] std::size_t share_of_group(std::size_t workers, double of_key, double flops_left, double flops_of_one);

}  // namespace hylas::search
