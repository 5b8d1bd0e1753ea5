// See study_runs.hpp.
#include "search/study/study_runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

#include "db/error.hpp"
#include "search/advise/recommend.hpp"
#include "search/report/design_json.hpp"
#include "search/study/best_recipe.hpp"

namespace hylas::search {
namespace {

StudyRun make_run(const db::Trial& trial, std::vector<RunPoint> curve, double threshold) {
  std::vector<CapabilityPoint> points;
  points.reserve(curve.size());
  for (const auto& point : curve) points.push_back({point.tokens, point.value});
  return {trial.trial_key,  trial.design_id,
          trial.seed,       recipe_without_seeds(trial.recipe_json),
          trial.state,      trial.steps * trial.tokens_per_step,
          std::move(curve), emergence_of(points, threshold)};
}

// Why there is nothing to fit.
[[noreturn]] void no_runs(const StudyRuns& runs, const std::vector<db::Trial>& trials) {
  const auto count = [&](db::TrialState state) {
    return std::count_if(trials.begin(), trials.end(), [&](const auto& trial) { return trial.state == state; });
  };
  throw model::InputError(
      fmt::format("no run of study '{}' can be used: of {} trials {} diverged, {} failed, and the others are not "
                  "evaluated twice yet; see: hylas status",
                  runs.study.name, trials.size(), count(db::TrialState::diverged), count(db::TrialState::failed)));
}

}  // namespace

model::Design read_design(const db::Design& record) {
  const auto refuse = [&](const std::string& what) {
    throw db::StoreError(db::StoreErrorKind::corrupt, "design " + record.design_id + " of the store " + what +
                                                          "; was it written by another program or version?");
  };
  try {
    auto design = model::Design::make(record.layout, shape_from_json(record.shape_json));
    if (design.id() != record.design_id) refuse("reads back as " + design.id());
    return design;
  } catch (const model::InputError& error) {
    refuse(std::string("cannot be read: ") + error.what());
    throw;
  }
}

const model::Design& StudyRuns::design(const std::string& design_id) const {
  const auto found = std::find_if(designs.begin(), designs.end(), [&](const auto& d) { return d.id() == design_id; });
  if (found == designs.end()) throw std::logic_error("StudyRuns: a run of a design that is not in the study");
  return *found;
}

std::vector<const StudyRun*> StudyRuns::runs_of(const std::string& design_id) const {
  std::vector<const StudyRun*> chosen;
  for (const auto& run : runs) {
    if (run.design_id == design_id) chosen.push_back(&run);
  }
  return chosen;
}

std::string StudyRuns::label(const model::Design& design) const {
  const bool one_shape =
      std::all_of(designs.begin(), designs.end(), [&](const auto& d) { return d.shape == designs.front().shape; });
  return one_shape ? design.layout_text()
                   : fmt::format("{} d{} T{}", design.layout_text(), design.shape.d_model, design.shape.context);
}

db::Study choose_study(const db::Store& store, const std::string& name) {
  const auto studies = store.studies();
  if (studies.empty()) throw model::InputError(store.file().string() + " holds no study yet: run hylas sweep first");
  std::vector<std::string> names;
  for (const auto& study : studies) {
    if (study.name == name) return study;
    names.push_back(study.name);
  }
  if (name.empty()) {  // a study that only tunes another one is not what is meant
    const auto tunes = [&](const db::Study& study) {
      return std::any_of(names.begin(), names.end(),
                         [&](const auto& other) { return study.name == other + "-tuning"; });
    };
    const auto is_study = [&](const db::Study& study) { return !tunes(study); };
    if (std::count_if(studies.begin(), studies.end(), is_study) == 1) {
      return *std::find_if(studies.begin(), studies.end(), is_study);
    }
  }
  if (!name.empty()) {
    const auto guess = model::nearest(name, names);
    throw model::InputError(fmt::format(
        "{} has no study '{}'; {}", store.file().string(), name,
        guess.empty() ? fmt::format("it has: {}", fmt::join(names, ", ")) : "did you mean '" + guess + "'?"));
  }
  throw model::InputError(fmt::format("{} holds {} studies; choose one with --study: {}", store.file().string(),
                                      names.size(), fmt::join(names, ", ")));
}

void no_such_metric(const db::Store& store, const db::Study& study, const std::string& metric) {
  std::set<std::string> known;
  for (const auto& point : store.study_points(study.id)) known.insert(point.metric);
  const std::vector<std::string> names(known.begin(), known.end());
  const auto guess = model::nearest(metric, names);
  std::string message = "no trial of this study recorded the metric '" + metric + "'";
  if (!guess.empty()) message += "; did you mean '" + guess + "'?";
  if (guess.empty() && !names.empty()) message += fmt::format("; there are: {}", fmt::join(names, ", "));
  if (names.empty()) message += "; nothing has been evaluated yet: run hylas sweep first";
  throw model::InputError(message);
}

StudyRuns load_study_runs(const db::Store& store, const std::string& study, const std::string& metric,
                          std::optional<double> threshold) {
  if (threshold && !std::isfinite(*threshold)) throw model::InputError("the threshold must be a finite number");
  StudyRuns result;
  result.study = choose_study(store, study);
  for (const auto& record : store.designs(result.study.id)) result.designs.push_back(read_design(record));
  const auto trials = store.trials(result.study.id);
  if (trials.empty()) throw model::InputError("study '" + result.study.name + "' has no trials");
  const auto& swept_for = trials.front();
  result.metric = metric.empty() ? swept_for.capability_metric : metric;
  result.threshold =
      threshold.value_or(result.metric == swept_for.capability_metric ? swept_for.capability_threshold : 0.5);
  std::map<std::int64_t, std::vector<RunPoint>> curves;
  for (const auto& point : store.study_points(result.study.id, result.metric)) {
    curves[point.trial].push_back({point.tokens, point.value, point.count});
  }
  if (curves.empty()) no_such_metric(store, result.study, result.metric);
  for (const auto& trial : trials) {
    const bool broken = trial.state == db::TrialState::diverged || trial.state == db::TrialState::failed;
    auto curve = std::move(curves[trial.id]);
    if (broken || curve.size() < 2) {
      ++result.left_out;
    } else {
      result.runs.push_back(make_run(trial, std::move(curve), result.threshold));
    }
  }
  if (result.runs.empty()) no_runs(result, trials);
  return result;
}

fitting::Crossing as_crossing(const Emergence& d50) {
  return {static_cast<double>(d50.lower), d50.emerged ? static_cast<double>(d50.upper) : fitting::kInfinity,
          static_cast<double>(d50.last)};
}

EmergenceData emergence_data(const StudyRuns& runs) {
  EmergenceData data;
  data.title = "study " + runs.study.name;
  data.study = runs.study.name;
  data.metric = runs.metric;
  data.threshold = runs.threshold;
  data.left_out = runs.left_out;
  data.other_recipes = runs.other_recipes;
  std::map<std::string, std::size_t> index;
  for (const auto& design : runs.designs) {
    index.emplace(design.id(), data.designs.size());
    data.designs.push_back({design.id(), runs.label(design), law_covariates(design), design});
  }
  for (const auto& run : runs.runs) {
    DataRun r;
    r.design = index.at(run.design_id);
    r.seed = run.seed;
    r.trial_key = run.trial_key;
    std::vector<double> tokens, values;
    for (const auto& point : run.curve) {
      r.curve.push_back({static_cast<double>(point.tokens), point.value, static_cast<double>(point.count)});
      tokens.push_back(r.curve.back().tokens);
      values.push_back(point.value);
    }
    r.crossing = fitting::crossing_of(tokens, values, runs.threshold);
    data.runs.push_back(std::move(r));
  }
  make_labels_unique(data);
  leave_out_silent(data);
  return data;
}

}  // namespace hylas::search
