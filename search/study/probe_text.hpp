// What a person and a program read about probes of mechanism (probe_study.hpp): one trial in tables, several as one
// table of results, and everything as JSON. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "search/study/probe_study.hpp"

namespace hylas::search {

// Top heads with their layers, their scores over training where several checkpoints are kept, cuts, ablation.
[[nodiscard]] std::string probe_text(const TrialProbe& probe);
// A row a trial: the accuracy that retrieval needs under each cut and ablation.
[[nodiscard]] std::string probe_results(std::span<const TrialProbe> probes);
// {trial_key, layout, seed, ..., checkpoints [{step, tokens, heads [..], weight_distance [..]}], top_heads,
// previous_token_heads, as_trained, cuts [..], ablations [..]}: every head of every checkpoint, every draw.
[[nodiscard]] nlohmann::ordered_json probe_json(const TrialProbe& probe);

}  // namespace hylas::search
