// See cuts.hpp.
#include "search/findings/cuts.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/probe/prober.hpp"
#include "search/run/checkpoint_files.hpp"
#include "search/run/controller.hpp"

namespace hylas::search {
namespace {

using Json = nlohmann::ordered_json;

std::vector<const ArmRun*> runs_to_cut(const FindingRuns& runs) {
  if (runs.core().cut_window == 0) return {};
  return runs.where(
      [](const ArmRun& run) { return run.part == "core" && is_hybrid(run) && is_rope(run) && run.emerged(); });
}

double far_accuracy(const std::vector<model::Point>& points, const std::string& metric) {
  const auto found = std::find_if(points.begin(), points.end(), [&](const auto& p) { return p.metric == metric; });
  if (found == points.end()) throw model::InputError("a cut run was not scored on " + metric);
  return found->value;
}

CutRun cut_run(const db::Store& store, const ArmRun& run, const Registration& by, const std::string& metric,
               const model::CohortOptions& engine) {
  const auto trials = store.find_trials(run.trial_key);
  const auto files = CheckpointFiles(checkpoint_directory(store.file())).list(run.trial_key);
  if (trials.empty() || files.empty()) {
    throw model::InputError("the checkpoint of trial " + run.trial_key + " (" + run.arm + ") under " +
                            checkpoint_directory(store.file()).string() +
                            " is gone; its receptive field cannot be cut");
  }
  const model::TrialSpec spec{run.design, model::recipe_from_json(trials.front().recipe_json)};
  model::Prober prober(spec, spec.recipe.eval.sequences, engine);
  prober.load(files.back().file);
  const auto window = static_cast<std::int32_t>(by.cut_window);
  const std::vector<model::Intervention> cuts = {model::intact(run.design),
                                                 model::cut_full_layers(run.design, window, 0),
                                                 model::cut_window_layers(run.design, (window + 1) / 2)};
  const auto points = prober.evaluate(cuts);
  return {run.arm, run.seed, far_accuracy(points[0], metric), far_accuracy(points[1], metric),
          far_accuracy(points[2], metric)};
}

}  // namespace

std::vector<CutRun> stored_cuts(const db::Store& store, const FindingRuns& runs, const std::string& study) {
  const auto wanted = runs_to_cut(runs);
  const auto fits = store.fits(store.study(study).id, "cuts");
  std::vector<CutRun> cuts;
  if (wanted.empty() || fits.empty()) return cuts;
  try {
    const Json json = Json::parse(fits.back().json);
    if (json.at("cut_window") != runs.core().cut_window || json.at("runs").size() != wanted.size()) return {};
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Json& one = json.at("runs").at(i);
      if (one.at("trial_key") != wanted[i]->trial_key) return {};
      cuts.push_back({wanted[i]->arm, wanted[i]->seed, one.at("whole"), one.at("full_cut"), one.at("window_cut")});
    }
  } catch (const Json::exception&) {
    return {};  // not as this version writes it: made again
  }
  return cuts;
}

std::vector<CutRun> make_cuts(db::Store& store, const FindingRuns& runs, const std::string& study,
                              const model::CohortOptions& engine, const std::string& program_version) {
  std::vector<CutRun> cuts = stored_cuts(store, runs, study);
  const auto wanted = runs_to_cut(runs);
  if (!cuts.empty() || wanted.empty()) return cuts;
  Json list = Json::array();
  for (const ArmRun* run : wanted) {
    cuts.push_back(cut_run(store, *run, runs.core(), runs.metric, engine));
    const CutRun& cut = cuts.back();
    list.push_back({{"trial_key", run->trial_key},
                    {"whole", cut.whole},
                    {"full_cut", cut.full_cut},
                    {"window_cut", cut.window_cut}});
  }
  const Json json = {{"cut_window", runs.core().cut_window}, {"runs", list}};
  store.add_fit(store.study(study).id, "cuts", json.dump(), program_version);
  return cuts;
}

}  // namespace hylas::search
