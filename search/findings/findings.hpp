// `hylas findings`: trains the parts of a scale, judges the statements, and makes the report.
//
// Every part is an ordinary study (tuned_sweep.hpp), so that stopping and starting again, several workers and `hylas
// status` work as everywhere. Judging takes the parts that have ended, with the registrations that the store holds; it
// reads the store and, once, the core's checkpoints for the cuts, which it then stores: the same store gives the same
// report to the last bit.
// Errors: those of run_sweep() and of the statements' files. Thread-safety: one call a store at a time.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "search/findings/cuts.hpp"
#include "search/findings/scales.hpp"
#include "search/findings/statement.hpp"
#include "search/report/plot.hpp"
#include "search/run/controller.hpp"

namespace hylas::search {

// Registers every part, tuning or not, and then trains them in order: no registration is younger than the first step of
// any. The exit code is the worst of the sweeps.
struct Training {
  SweepSummary last;
  int exit_code = 0;
};
[[nodiscard]] Training train_parts(const std::vector<Part>& parts, db::Store& store, SweepOptions options);

struct PartSummary {
  std::string part, study;
  std::int64_t designs = 0, trials = 0, tuning_trials = 0;
  double tokens = 0;  // trained for, tuning included
};

struct Findings {
  std::string scale, device, program_version;
  std::vector<PartSummary> parts;
  std::vector<std::string> waiting;  // parts that have not ended
  FindingRuns runs;
  std::vector<Statement> statements;
};

// Parts that have not ended are left out (`waiting`); without the core there is nothing to judge (InputError). A part
// whose space is not the stored one is refused (InputError): what was registered is what is judged.
[[nodiscard]] Findings judge_findings(const std::vector<Part>& parts, db::Store& store,
                                      const model::CohortOptions& engine, const std::string& program_version,
                                      const JudgeOptions& options);

// What a person reads: verdicts, then the evidence of each, then every arm.
[[nodiscard]] std::string findings_text(const Findings& findings);
// {findings {scale, device, version, capability}, parts [...], registration {part: {...}}, statements [...], arms
// [...]}. No times and no dates in it.
[[nodiscard]] nlohmann::ordered_json findings_json(const Findings& findings);
// By file name: D50 against window, and the core's curves.
[[nodiscard]] std::vector<std::pair<std::string, Plot>> findings_plots(const Findings& findings);

}  // namespace hylas::search
