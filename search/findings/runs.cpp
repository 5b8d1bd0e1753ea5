// See runs.hpp.
#include "search/findings/runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "model/recipe.hpp"
#include "search/advise/recommend.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::search {
namespace {

using Metrics = std::map<std::string, std::map<double, DataPoint>>;  // metric: tokens: point

// All that one trial recorded, and the most that any head looks at far answers, evaluation by evaluation.
struct Recorded {
  Metrics metrics;
  std::map<double, double> most_on_far_answer;
};

std::map<std::int64_t, Recorded> recorded(const db::Store& store, std::int64_t study) {
  std::map<std::int64_t, Recorded> trials;
  for (const db::Point& point : store.study_points(study)) {
    Recorded& trial = trials[point.trial];
    const auto tokens = static_cast<double>(point.tokens);
    if (point.metric.starts_with("head/")) {
      if (!point.metric.ends_with("/answer_far")) continue;
      double& most = trial.most_on_far_answer.try_emplace(tokens, 0.0).first->second;
      most = std::max(most, point.value);
    } else {
      trial.metrics[point.metric][tokens] = {tokens, point.value, static_cast<double>(point.count)};
    }
  }
  return trials;
}

fitting::Crossing crossing(const std::vector<DataPoint>& curve, double threshold) {
  std::vector<double> tokens, values;
  for (const DataPoint& point : curve) tokens.push_back(point.tokens), values.push_back(point.value);
  return fitting::crossing_of(tokens, values, threshold);
}

// The shape of the first arm needs no words; others say how they differ from it.
std::string arm_name(const model::Design& design, const model::Shape& usual, int usual_depth, std::int64_t start) {
  std::string name = design.layout_text();
  if (design.shape.d_model != usual.d_model || design.depth() != usual_depth) {
    name += fmt::format(" d{} L{}", design.shape.d_model, design.depth());
  }
  return start > 0 ? name + fmt::format(" from {}", start) : name;
}

void add_study(FindingRuns& all, const db::Store& store, const Space& space) {
  const Registration& registration = *space.registration;
  const db::Study study = store.study(space.study);
  std::map<std::string, model::Design> designs;
  for (const db::Design& record : store.designs(study.id)) designs.emplace(record.design_id, read_design(record));
  auto points = recorded(store, study.id);
  std::map<std::string, std::string> owners;  // arm: design
  std::set<double> rates;                     // that tuning tried
  if (space.tuning) {
    for (const model::Recipe& recipe : space.tuning->recipes) rates.insert(recipe.learning_rate);
  }
  for (const db::Trial& trial : store.trials(study.id)) {
    if (trial.state != db::TrialState::done && trial.state != db::TrialState::stopped) {
      ++all.left_out;
      continue;
    }
    const auto recipe = model::recipe_from_json(trial.recipe_json);
    Recorded& r = points[trial.id];
    ArmRun run;
    run.part = registration.part;
    run.trial_key = trial.trial_key;
    run.seed = trial.seed;
    run.design = designs.at(trial.design_id);
    run.x = law_covariates(run.design);
    run.learning_rate = recipe.learning_rate;
    run.rate_at_edge = rates.contains(run.learning_rate) &&
                       (run.learning_rate == *rates.begin() || run.learning_rate == *rates.rbegin());
    run.start_window = recipe.window_growth.start;
    run.grown_at = static_cast<double>(recipe.window_growth.steps * trial.tokens_per_step);
    if (all.runs.empty()) all.metric = trial.capability_metric, all.threshold = trial.capability_threshold;
    if (trial.capability_metric != all.metric || trial.capability_threshold != all.threshold) {
      throw model::InputError(
          fmt::format("study '{}' asks for {} at {:g}, the first part for {} at {:g}: they cannot be judged together",
                      space.study, trial.capability_metric, trial.capability_threshold, all.metric, all.threshold));
    }
    const ArmRun& first = all.runs.empty() ? run : all.runs.front();
    run.arm = arm_name(run.design, first.design.shape, first.design.depth(), run.start_window);
    // Designs that a name does not tell apart get their ids.
    const std::string& owner = owners.try_emplace(run.arm, trial.design_id).first->second;
    if (owner != trial.design_id) run.arm += " " + trial.design_id;
    for (const auto& entry : r.metrics[all.metric]) run.curve.push_back(entry.second);
    if (run.curve.size() < 2) throw model::InputError("trial " + trial.trial_key + " was not evaluated twice");
    run.far = crossing(run.curve, all.threshold);
    std::vector<DataPoint> heads;
    for (const auto& [tokens, value] : r.most_on_far_answer) heads.push_back({tokens, value, 0});
    if (!heads.empty()) run.heads = crossing(heads, registration.head_mass);
    run.tokens = run.curve.back().tokens;
    run.planned = static_cast<double>(trial.steps * trial.tokens_per_step);
    for (const auto& [metric, values] : r.metrics) run.end[metric] = values.rbegin()->second.value;
    all.runs.push_back(std::move(run));
  }
}

bool every_full_layer(const ArmRun& run, bool rope) {
  const auto& layers = run.design.layout.layers;
  return std::all_of(layers.begin(), layers.end(), [&](const model::Layer& layer) {
    return layer.mixer != model::Mixer::full || layer.rope == rope;
  });
}

}  // namespace

double ArmRun::d50() const {
  return emerged() ? std::sqrt(std::max(1.0, far.d_before) * far.d_after) : fitting::kInfinity;
}

Runs FindingRuns::part(const std::string& name) const {
  return where([&](const ArmRun& run) { return run.part == name; });
}

Runs FindingRuns::where(const std::function<bool(const ArmRun&)>& chosen) const {
  Runs list;
  for (const ArmRun& run : runs) {
    if (chosen(run)) list.push_back(&run);
  }
  return list;
}

std::vector<std::string> FindingRuns::arms(const Runs& runs) {
  std::vector<std::string> names;
  for (const ArmRun* run : runs) {
    if (std::find(names.begin(), names.end(), run->arm) == names.end()) names.push_back(run->arm);
  }
  return names;
}

FindingRuns load_finding_runs(const db::Store& store, const std::vector<Space>& spaces) {
  FindingRuns all;
  for (const Space& space : spaces) {
    all.parts[space.registration->part] = *space.registration;
    add_study(all, store, space);
  }
  if (all.runs.empty()) throw model::InputError(store.file().string() + " holds no finished run of these findings");
  return all;
}

bool has_mixer(const ArmRun& run, model::Mixer mixer) {
  const auto& layers = run.design.layout.layers;
  return std::any_of(layers.begin(), layers.end(), [&](const model::Layer& l) { return l.mixer == mixer; });
}
bool is_rope(const ArmRun& run) {
  return every_full_layer(run, true);
}
bool is_nope(const ArmRun& run) {
  return every_full_layer(run, false);
}
bool is_hybrid(const ArmRun& run) {
  const auto& layers = run.design.layout.layers;
  const bool plain = std::all_of(layers.begin(), layers.end(), [](const model::Layer& layer) {
    return (layer.mixer == model::Mixer::full || layer.mixer == model::Mixer::swa) && !layer.sink;
  });
  return plain && run.start_window == 0 && has_mixer(run, model::Mixer::swa) && has_mixer(run, model::Mixer::full);
}

Runs once_each(const Runs& runs) {
  std::set<std::string> seen;
  Runs list;
  std::copy_if(runs.begin(), runs.end(), std::back_inserter(list),
               [&](const ArmRun* run) { return seen.insert(run->trial_key).second; });
  return list;
}

std::vector<fitting::EmergenceRun> emergence_runs(const Runs& runs, Clock clock) {
  std::vector<fitting::EmergenceRun> list;
  for (const ArmRun* run : once_each(runs)) {
    const fitting::Crossing& c = clock == Clock::far ? run->far : run->heads;
    if (c.d_max <= 0 || (c.d_after == fitting::kInfinity && c.d_before <= 0)) continue;  // says nothing
    fitting::EmergenceRun r{run->part + ": " + run->arm, run->seed, run->x};
    r.d_before = c.d_before, r.d_after = c.d_after, r.d_max = c.d_max;
    for (const DataPoint& point : run->curve) {
      if (point.tokens > 0) r.evaluations.push_back(point.tokens);
    }
    list.push_back(std::move(r));
  }
  return list;
}

}  // namespace hylas::search
