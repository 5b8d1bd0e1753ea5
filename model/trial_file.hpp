// A trial's state as a checkpoint file: weights under their Hugging Face names, AdamW's moments as "optimizer.m.<name>"
// and "optimizer.v.<name>", and in the metadata the step, the running training loss (exact, as hexadecimal floats) and
// the trial's identity.
//
// Errors: CheckpointError for a file that cannot be read, belongs to another trial, or lacks a tensor; the trial is
// then unchanged. Thread-safety: one call a trial at a time.
#pragma once

#include <filesystem>

#include "model/trainer.hpp"

namespace hylas::model {

void save_trial(const ParameterTable& table, const TrialState& trial, const std::filesystem::path& file);
void load_trial(const ParameterTable& table, TrialState& trial, const std::filesystem::path& file);

}  // namespace hylas::model
