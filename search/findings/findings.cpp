// See findings.hpp: training and judging. The report is in report.cpp.
#include "search/findings/findings.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "search/run/devices.hpp"
#include "search/study/tuned_sweep.hpp"

namespace hylas::search {
namespace {

// Whether every trial of the study has ended; false where there is no such study.
bool has_ended(const db::Store& store, const std::string& study) {
  const auto studies = store.studies();
  const auto found = std::find_if(studies.begin(), studies.end(), [&](const auto& s) { return s.name == study; });
  if (found == studies.end()) return false;
  const auto trials = store.trials(found->id);
  return !trials.empty() &&
         std::all_of(trials.begin(), trials.end(), [](const db::Trial& trial) { return db::is_finished(trial.state); });
}

PartSummary summary_of(const db::Store& store, const Space& space) {
  PartSummary part{.part = space.registration->part, .study = space.study};
  part.designs = std::ssize(space.designs);
  const auto add = [&](const std::string& study) {
    const auto trials = store.trials(store.study(study).id);
    for (const db::Trial& trial : trials) part.tokens += static_cast<double>(trial.step * trial.tokens_per_step);
    return std::ssize(trials);
  };
  part.trials = add(space.study);
  if (space.tuning) part.tuning_trials = add(space.tuning->study);
  return part;
}

// The device of the runs that filled the store; several are all named, once each. Of "cuda:0 NAME" the name.
std::string device_of_store(const db::Store& store) {
  std::vector<std::string> names;
  for (const db::Run& run : store.runs()) {
    const std::string name = run.device.starts_with("cuda:") && run.device.find(' ') != std::string::npos
                                 ? run.device.substr(run.device.find(' ') + 1)
                                 : run.device;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::vector<Statement> judge_all(const FindingRuns& runs, const std::vector<CutRun>& cuts,
                                 const JudgeOptions& options) {
  using Judge = Statement (*)(const FindingRuns&, const JudgeOptions&);
  std::vector<Statement> statements;
  const auto judge = [&](Judge one) {
    statements.push_back(one(runs, options));
    options.progress("judged: " + statements.back().claim);
  };
  for (const Judge one : {judge_speed, judge_plateau, judge_laziness, judge_heads}) judge(one);
  statements.push_back(judge_cuts(runs, cuts));
  for (const Judge one : {judge_nope_speed, judge_nope_short, judge_prediction, judge_recurrent, judge_ratios,
                          judge_sinks, judge_growth, judge_sizes}) {
    judge(one);
  }
  return statements;
}

}  // namespace

Training train_parts(const std::vector<Part>& parts, db::Store& store, SweepOptions options) {
  for (const Part& part : parts) store.ensure_study(part.space.study, part.space.canonical_json(), part.text);
  Training training;
  const auto took = [&](const SweepSummary& sweep) {
    training.last = sweep;
    training.exit_code = std::max(training.exit_code, sweep.exit_code());
  };
  for (const Part& part : parts) {
    options.space_text = part.text;
    // Cuts are made of what the core has learnt; the weights of the other parts are not needed again.
    options.keep_final_checkpoint = part.name == "core" && part.space.registration->cut_window > 0;
    if (part.space.tuning) {
      const TunedSweep tuned = run_tuned_sweep(part.space, store, options);
      took(tuned.tuning);
      if (tuned.reached_study) took(tuned.study);
    } else {
      took(run_sweep(part.space, store, options));
    }
    if (training.last.interrupted) break;
  }
  return training;
}

Findings judge_findings(const std::vector<Part>& parts, db::Store& store, const model::CohortOptions& engine,
                        const std::string& program_version, const JudgeOptions& options) {
  Findings findings;
  findings.program_version = program_version;
  std::vector<Space> ended;
  for (const Part& part : parts) {
    if (!has_ended(store, part.space.study)) {
      findings.waiting.push_back(part.name);
      continue;
    }
    if (store.study(part.space.study).space_json != part.space.canonical_json()) {
      throw model::InputError(fmt::format(
          "study '{}' was registered and trained with another space file than '{}' is now; "
          "judge it with the one it was begun with (the column space_text of the store's table studies holds it)",
          part.space.study, part.name));
    }
    ended.push_back(part.space);
    findings.parts.push_back(summary_of(store, part.space));
  }
  if (ended.empty() || ended.front().registration->part != "core") {
    throw model::InputError(
        fmt::format("{} holds no finished study '{}' (part core), which everything else is compared with; run hylas "
                    "findings without --judge, as often as it takes",
                    store.file().string(), parts.front().space.study));
  }
  findings.device = device_of_store(store);
  findings.runs = load_finding_runs(store, ended);
  options.progress(fmt::format("{} runs of {} parts", findings.runs.runs.size(), ended.size()));
  const auto cuts = make_cuts(store, findings.runs, ended.front().study, engine, program_version);
  findings.statements = judge_all(findings.runs, cuts, options);
  return findings;
}

}  // namespace hylas::search
