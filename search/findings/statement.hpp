// Statement: one thing that `hylas findings` was asked, what the runs say of it, and on which evidence.
//
// Verdicts are mechanical: each statement's file says beside its function which evidence makes which verdict.
// Thresholds are the registration's, or stand beside the function. Verdicts are not corrected for the number of
// statements. Units stand in `unit`: "factor" (of D50), "slope" (of ln D50 on ln window), "difference" (of accuracies),
// "nats", "p", "log10", "share", "tokens". Thread-safety: plain values.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fitting/result.hpp"
#include "search/findings/runs.hpp"

namespace hylas::search {

enum class Verdict { supported, refuted, undecided };
[[nodiscard]] const char* to_string(Verdict verdict);

// One number with its interval, and what it says.
struct Measure {
  std::string what;
  double estimate = fitting::kNaN;
  double low = fitting::kNaN, high = fitting::kNaN;  // NaN: no interval
  std::string unit = {};
  std::string reading = {};  // "" or what follows from it
};

struct Statement {
  std::string id;     // "speed", "plateau", "laziness", ...
  std::string claim;  // as a sentence
  Verdict verdict = Verdict::undecided;
  std::string why = {};  // the sentence behind the verdict
  std::vector<Measure> evidence = {};
  std::vector<std::string> notes = {};  // what was left out, what cannot be decided
};

struct JudgeOptions {
  int threads = 0;
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

// The paper's statements, each of its own evidence (one file each).
[[nodiscard]] Statement judge_speed(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_plateau(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_laziness(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_heads(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_nope_speed(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_nope_short(const FindingRuns& runs, const JudgeOptions& options);
// Which layers carry far recall; `cuts` as made by search/findings/cuts.hpp.
struct CutRun {
  std::string arm;
  std::int64_t seed = 0;
  double whole = 0, full_cut = 0, window_cut = 0;  // far accuracy: as trained, and with layers of one kind cut
};
[[nodiscard]] Statement judge_cuts(const FindingRuns& runs, const std::vector<CutRun>& cuts);
// What the paper leaves open; each where its part was run.
[[nodiscard]] Statement judge_recurrent(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_ratios(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_sinks(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_growth(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_sizes(const FindingRuns& runs, const JudgeOptions& options);
[[nodiscard]] Statement judge_prediction(const FindingRuns& runs, const JudgeOptions& options);

// {id, claim, verdict, why, evidence [{what, estimate, low, high, unit, reading}], notes}; what is not finite is null.
[[nodiscard]] nlohmann::ordered_json to_json(const Statement& statement);

}  // namespace hylas::search
