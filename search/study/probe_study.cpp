// Probes of one stored trial (see probe_study.hpp).
#include "search/study/probe_study.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "search/run/checkpoint_files.hpp"
#include "search/run/controller.hpp"
#include "search/study/study_runs.hpp"

namespace hylas::search {
namespace {

model::Design design_of(const db::Store& store, const db::Trial& trial) {
  for (const db::Study& study : store.studies()) {
    for (const db::Design& record : store.designs(study.id)) {
      if (record.design_id == trial.design_id) return read_design(record);
    }
  }
  throw db::StoreError(db::StoreErrorKind::corrupt, "the design of trial " + trial.trial_key + " is not in the store");
}

std::vector<KeptCheckpoint> checkpoints_of(const db::Store& store, const db::Trial& trial) {
  std::vector<KeptCheckpoint> kept;
  if (trial.checkpoint) {
    for (KeptCheckpoint& one : CheckpointFiles(checkpoint_directory(store.file())).list(trial.trial_key)) {
      if (one.step <= trial.checkpoint->step) kept.push_back(std::move(one));
    }
  }
  if (!kept.empty()) return kept;
  throw model::InputError(fmt::format(
      "trial {} has no checkpoint to probe: it was swept with --no-final-checkpoints, its files under {} are gone, or "
      "it has not been trained yet; sweep its space file into a fresh store without that option",
      trial.trial_key, checkpoint_directory(store.file()).string()));
}

std::int32_t default_cut(const model::Design& design) {
  std::int32_t largest = 0;
  for (const model::Layer& layer : design.layout.layers) {
    if (layer.mixer == model::Mixer::swa) largest = std::max(largest, layer.window);
  }
  return largest > 0 ? largest : static_cast<std::int32_t>(std::max<std::int64_t>(1, design.shape.context / 8));
}

bool has(const model::Design& design, model::Mixer mixer) {
  return std::any_of(design.layout.layers.begin(), design.layout.layers.end(),
                     [&](const model::Layer& layer) { return layer.mixer == mixer; });
}

// Variants and the interventions that make them, evaluated in one go.
class Variants {
 public:
  void add(ProbedVariant& to, model::Intervention intervention) {
    owners_.push_back(&to);
    interventions_.push_back(std::move(intervention));
  }
  void evaluate(model::Prober& prober) {
    auto points = prober.evaluate(interventions_);
    for (std::size_t i = 0; i < owners_.size(); ++i) owners_[i]->points.push_back(std::move(points[i]));
  }

 private:
  std::vector<ProbedVariant*> owners_;
  std::vector<model::Intervention> interventions_;
};

std::vector<ProbedVariant> cuts_of(const model::Design& design, const ProbeOptions& options) {
  const auto window = static_cast<std::int32_t>(
      options.cut_window > 0 ? std::min(options.cut_window, design.shape.context) : default_cut(design));
  const auto first = static_cast<std::int32_t>(options.first_keys);
  std::vector<ProbedVariant> cuts;
  const auto add = [&](const char* name, std::string text, std::int32_t keys, std::int32_t first_keys) {
    cuts.push_back(
        {.name = name, .text = std::move(text), .window = keys, .first_keys = first_keys, .heads = {}, .points = {}});
  };
  if (has(design, model::Mixer::full)) {
    if (first > 0) add("full layers", fmt::format("full layers see {} keys + first {}", window, first), window, first);
    // In a short context the first keys hold answers themselves.
    add(first > 0 ? "full layers, no first keys" : "full layers", fmt::format("full layers see {} keys", window),
        window, 0);
  }
  if (has(design, model::Mixer::swa)) {
    const std::int32_t half = std::max(1, window / 2);
    add("window layers", fmt::format("swa layers see {} keys at most", half), half, 0);
  }
  return cuts;
}

std::vector<ProbedVariant> ablations_of(const TrialProbe& probe, const ProbeOptions& options) {
  const std::int64_t heads = probe.heads(), count = std::ssize(probe.top);
  const auto seed = static_cast<std::uint64_t>(options.seed);
  std::vector<int> both = probe.top;
  both.insert(both.end(), probe.previous.begin(), probe.previous.end());
  const auto variant = [](const char* name, std::string text, std::vector<std::vector<int>> off) {
    return ProbedVariant{
        .name = name, .text = std::move(text), .window = 0, .first_keys = 0, .heads = std::move(off), .points = {}};
  };
  const char* by = options.by_copy ? "copy score" : "answer mass";
  std::vector<ProbedVariant> all = {
      variant("top", fmt::format("top {} by {}", count, by), {probe.top}),
      variant("previous", fmt::format("top {} by previous-token mass", count), {probe.previous}),
      variant("random", fmt::format("{} random", count), model::random_heads(heads, count, options.draws, seed)),
      variant("random without top", fmt::format("{} random, none of the top", count),
              model::random_heads(heads, count, options.draws, seed, probe.top)),
      variant("random without both", fmt::format("{} random, none of both", count),
              model::random_heads(heads, count, options.draws, seed, both))};
  std::erase_if(all, [](const ProbedVariant& one) { return one.heads.empty(); });
  return all;
}

void intervene(TrialProbe& probe, model::Prober& prober, const ProbeOptions& options) {
  probe.whole.name = "none", probe.whole.text = "as trained";
  probe.cuts = cuts_of(probe.design, options);
  probe.ablations = ablations_of(probe, options);
  Variants variants;
  variants.add(probe.whole, model::intact(probe.design));
  for (ProbedVariant& cut : probe.cuts) {
    variants.add(cut, cut.name != "window layers" ? model::cut_full_layers(probe.design, cut.window, cut.first_keys)
                                                  : model::cut_window_layers(probe.design, cut.window));
  }
  for (ProbedVariant& ablation : probe.ablations) {
    for (const std::vector<int>& off : ablation.heads) variants.add(ablation, model::without_heads(probe.design, off));
  }
  variants.evaluate(prober);
}

std::vector<double> column(const std::vector<model::HeadScore>& scores, double model::HeadScore::*which) {
  std::vector<double> values;
  values.reserve(scores.size());
  for (const model::HeadScore& score : scores) values.push_back(score.*which);
  return values;
}

void score(TrialProbe& probe, model::Prober& prober, const std::vector<KeptCheckpoint>& kept) {
  std::vector<std::vector<std::vector<float>>> weights;
  for (const KeptCheckpoint& one : kept) {
    prober.load(one.file);
    probe.checkpoints.push_back({prober.step(), prober.step() * probe.trial.tokens_per_step, prober.scores(), {}});
    weights.push_back(prober.query_key_weights());
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    probe.checkpoints[i].distances = prober.distances(weights[i], weights.back());
  }
}

// The scores of all heads at every evaluation, where the sweep took them.
std::vector<ProbedCheckpoint> stored_scores(const db::Store& store, const TrialProbe& probe) {
  std::map<std::int64_t, ProbedCheckpoint> by_step;
  std::map<std::string, std::pair<std::size_t, double model::HeadScore::*>> places;
  for (int head = 0; head < probe.heads(); ++head) {
    const auto at = static_cast<std::size_t>(head);
    const std::string name = "head/" + probe.head_name(head) + "/";
    places[name + "answer"] = {at, &model::HeadScore::answer};
    places[name + "answer_far"] = {at, &model::HeadScore::answer_far};
    places[name + "copy"] = {at, &model::HeadScore::copy};
    places[name + "previous"] = {at, &model::HeadScore::previous};
    places[name + "entropy"] = {at, &model::HeadScore::entropy};
  }
  for (const db::Point& point : store.points(probe.trial.id)) {
    const auto place = places.find(point.metric);
    if (place == places.end()) continue;
    ProbedCheckpoint& one = by_step[point.step];
    one.step = point.step, one.tokens = point.tokens;
    one.scores.resize(static_cast<std::size_t>(probe.heads()), {NAN, NAN, NAN, NAN, NAN});
    one.scores[place->second.first].*(place->second.second) = point.value;
  }
  std::vector<ProbedCheckpoint> stored;
  stored.reserve(by_step.size());
  for (auto& [step, one] : by_step) stored.push_back(std::move(one));
  return stored;
}

}  // namespace

Spread spread_of(const ProbedVariant& variant, const std::string& metric) {
  std::vector<double> values;
  for (const auto& points : variant.points) {
    for (const model::Point& point : points) {
      if (point.metric == metric) values.push_back(point.value);
    }
  }
  if (values.empty()) return {NAN, NAN, NAN, NAN};
  Spread spread{.mean = 0, .deviation = 0, .least = values.front(), .most = values.front()};
  for (const double value : values) {
    spread.mean += value / static_cast<double>(values.size());
    spread.least = std::min(spread.least, value);
    spread.most = std::max(spread.most, value);
  }
  double squares = 0;
  for (const double value : values) squares += (value - spread.mean) * (value - spread.mean);
  if (values.size() > 1) spread.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return spread;
}

std::string TrialProbe::head_name(int head) const {
  return fmt::format("{}.{}", layer_of(head), head % design.shape.heads);
}

std::string TrialProbe::head_kind(int head) const {
  return model::to_string(design.layout.layers[static_cast<std::size_t>(layer_of(head))]);
}

std::vector<std::string> TrialProbe::metrics() const {
  std::vector<std::string> names;
  for (const char* name : {"loss", "loss/long", "accuracy", "accuracy/near", "accuracy/far", "needle/accuracy"}) {
    for (const model::Point& point : whole.points.front()) {
      if (point.metric == name) names.emplace_back(name);
    }
  }
  return names;
}

std::string TrialProbe::warning() const {
  if (heads() >= kFewestHeads) return "";
  return fmt::format(
      "trial {} has {} heads; in a model of so few nearly every cut hurts, so compare top with random heads only from "
      "{} heads on",
      trial.trial_key, heads(), kFewestHeads);
}

TrialProbe probe_trial(const db::Store& store, const db::Trial& trial, const ProbeOptions& options) {
  const std::vector<KeptCheckpoint> kept = checkpoints_of(store, trial);
  TrialProbe probe;
  probe.trial = trial;
  probe.design = design_of(store, trial);
  if (model::attention_layers(probe.design.layout) == 0) {
    throw model::InputError(fmt::format("trial {} has no attention layer ({}), so there are no heads to probe",
                                        trial.trial_key, trial.layout));
  }
  const model::TrialSpec spec{probe.design, model::recipe_from_json(trial.recipe_json)};
  probe.sequences = options.sequences > 0 ? options.sequences : spec.recipe.eval.sequences;
  model::Prober prober(spec, probe.sequences, options.engine);
  probe.queries = prober.heads().queries().size();
  if (probe.queries == 0) {
    throw model::InputError(fmt::format(
        "trial {} was trained on the task {}, which says of no scored position where its answer stands; probes need a "
        "task of retrieval, such as recall",
        trial.trial_key, spec.recipe.task.name));
  }
  probe.by_copy = options.by_copy;
  probe.layers = prober.heads().layers();
  probe.device = prober.device_text();
  score(probe, prober, kept);
  probe.stored = stored_scores(store, probe);
  const auto& last = probe.checkpoints.back().scores;
  const std::int64_t count = std::max<std::int64_t>(1, probe.heads() / 8);
  probe.top =
      model::top_heads(column(last, options.by_copy ? &model::HeadScore::copy : &model::HeadScore::answer), count);
  probe.previous = model::top_heads(column(last, &model::HeadScore::previous), count);
  intervene(probe, prober, options);
  return probe;
}

}  // namespace hylas::search
