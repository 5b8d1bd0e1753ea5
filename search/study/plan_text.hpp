// What a person and a program read before a sweep starts: how much there is to train, and how long it takes on this
// machine (run/throughput.hpp). Pure functions; every command that trains says it in these words.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "search/run/controller.hpp"
#include "search/run/throughput.hpp"

namespace hylas::search {

// Designs, trials, cohorts, evaluations; tokens and FLOPs at most. Two lines.
[[nodiscard]] std::string plan_text(const SweepPlan& plan);
// Then a row a cohort kind (a column for the study where there is a tuning before it), the sum of the hours of one
// device, and what they leave out.
[[nodiscard]] std::string plan_text(const TrainingPlan& plan);

// Keys: designs, trials, cohorts, largest_cohort, evaluations, tokens, flops.
[[nodiscard]] nlohmann::ordered_json plan_json(const SweepPlan& plan);
// + device, devices, device_hours (of one device, all kinds), kinds [{study, cohort, cohort_key, trials, together,
// tokens, flops, tokens_per_second, hours, steps_timed}].
[[nodiscard]] nlohmann::ordered_json plan_json(const TrainingPlan& plan);

}  // namespace hylas::search
