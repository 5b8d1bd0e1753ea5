// See throughput.hpp.
#include "search/run/throughput.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "kernels/cuda/runtime.hpp"
#include "model/design/cost.hpp"
#include "search/run/devices.hpp"
#include "search/run/group_size.hpp"

namespace hylas::search {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double sample_seconds = 0.020;
constexpr std::int64_t warm_up_steps = 2;
constexpr std::size_t least_samples = 2;
// A cohort that is measured may train for longer than its recipe says, at a rate that changes nothing.
constexpr std::int64_t many_steps = 1'000'000'000;
constexpr double no_rate = 1e-12;

struct Kind {
  CohortPlan plan;
  std::vector<const model::TrialSpec*> trials;
};

std::vector<Kind> kinds_of(const std::string& study, const std::vector<model::TrialSpec>& trials) {
  std::vector<Kind> kinds;
  std::unordered_map<std::string, std::size_t> known;
  for (const model::TrialSpec& trial : trials) {
    const std::string key = model::cohort_key(trial.design, trial.recipe);
    const auto found = known.try_emplace(key, kinds.size());
    if (found.second) kinds.emplace_back();
    Kind& kind = kinds[found.first->second];
    const std::int64_t tokens = planned_tokens(trial);
    kind.plan.study = study;
    kind.plan.cohort_key = key;
    kind.plan.tokens += tokens;
    kind.plan.flops += static_cast<double>(tokens) * model::cost_of(trial.design).flops_train;
    ++kind.plan.trials;
    kind.trials.push_back(&trial);
  }
  return kinds;
}

std::string text_of(const Kind& kind) {
  std::set<model::Mixer> mixers;
  for (const model::TrialSpec* trial : kind.trials) {
    for (const model::Layer& layer : trial->design.layout.layers) mixers.insert(layer.mixer);
  }
  std::string operators;
  for (const model::Mixer mixer : mixers) {
    if (!operators.empty()) operators += '+';
    operators += model::name_of(mixer);
  }
  const model::Design& design = kind.trials.front()->design;
  return fmt::format("{} x {}, context {}, {}", design.shape.d_model, design.depth(), design.shape.context, operators);
}

// A kind says more of itself where others of its study look the same.
void name_kinds(std::vector<Kind>& kinds) {
  std::map<std::pair<std::string, std::string>, int> seen;
  for (Kind& kind : kinds) {
    kind.plan.text = text_of(kind);
    ++seen[{kind.plan.study, kind.plan.text}];
  }
  for (Kind& kind : kinds) {
    if (seen.at({kind.plan.study, kind.plan.text}) < 2) continue;
    const model::TrialSpec& trial = *kind.trials.front();
    kind.plan.text +=
        fmt::format(", ffn {}, {}, vocabulary {}, batch {}, {} steps", trial.design.shape.ffn, trial.recipe.task.name,
                    trial.design.shape.vocab, trial.recipe.batch, trial.recipe.steps);
  }
}

// `count` of a kind's trials, spread evenly, ready to be trained for as long as it takes.
std::vector<model::TrialSpec> sample_of(const Kind& kind, std::size_t count) {
  std::vector<model::TrialSpec> trials;
  for (std::size_t i = 0; i < count; ++i) {
    trials.push_back(*kind.trials[i * kind.trials.size() / count]);
    model::Recipe& recipe = trials.back().recipe;
    const std::int64_t most_steps = model::kMostTokens / (recipe.batch * trials.back().design.shape.context);
    recipe.steps = recipe.eval.min_steps = std::min(many_steps, most_steps);
    recipe.learning_rate = no_rate;
  }
  return trials;
}

class Meter {
 public:
  Meter(const SweepOptions& sweep, double seconds)
      : sweep_(sweep),
        devices_(sweep.devices.empty() ? worker_devices(sweep.device) : sweep.devices),
        seconds_(seconds) {}

  // flops_left: of the whole study, which a share of several devices depends on.
  void measure(Kind& kind, double flops_left);
  [[nodiscard]] const std::vector<std::string>& devices() const { return devices_; }

 private:
  struct Speed {
    double tokens_per_second = 0;
    std::int64_t steps = 0;
    std::size_t together = 0;  // fewer than were asked for where those did not fit
  };
  [[nodiscard]] std::size_t together(const Kind& kind, double flops_left) const;
  [[nodiscard]] Speed speed_of(const Kind& kind, std::size_t count) const;

  const SweepOptions& sweep_;
  std::vector<std::string> devices_;
  double seconds_;
  std::map<std::pair<std::string, std::size_t>, Speed> known_;  // by cohort key and trials together
};

std::size_t Meter::together(const Kind& kind, double flops_left) const {
  const auto of_kind = static_cast<double>(kind.trials.size());
  std::size_t limit =
      std::min(kind.trials.size(), share_of_group(devices_.size(), of_kind, flops_left, kind.plan.flops / of_kind));
  if (limit > 1) limit = std::min(limit, group_limit(*kind.trials.front(), sweep_, devices_.front()));
  return limit;
}

Meter::Speed Meter::speed_of(const Kind& kind, std::size_t count) const {
  for (;;) {
    try {
      model::Cohort cohort(sample_of(kind, count), {sweep_.threads, devices_.front(), sweep_.gpu_bytes});
      const StepTiming timing = time_steps(cohort, seconds_, least_samples);
      const auto tokens = static_cast<double>(cohort.tokens_per_step()) * static_cast<double>(count);
      return {tokens / timing.seconds, timing.steps, count};
    } catch (const kernels::cuda::OutOfDeviceMemory&) {
      if (count == 1) throw;
    }
    count = (count + 1) / 2;
  }
}

void Meter::measure(Kind& kind, double flops_left) {
  const std::size_t count = together(kind, flops_left);
  const auto found = known_.try_emplace({kind.plan.cohort_key, count});
  if (found.second) found.first->second = speed_of(kind, count);
  const Speed& speed = found.first->second;
  kind.plan.together = static_cast<std::int64_t>(speed.together);
  kind.plan.tokens_per_second = speed.tokens_per_second;
  kind.plan.steps = speed.steps;
}

// Studies come one after the other, each with kinds and work of its own.
std::vector<CohortPlan> measured(std::vector<Kind>& kinds, Meter& meter) {
  std::map<std::string, double> flops;
  for (const Kind& kind : kinds) flops[kind.plan.study] += kind.plan.flops;
  name_kinds(kinds);
  std::vector<CohortPlan> plans;
  for (Kind& kind : kinds) {
    meter.measure(kind, flops.at(kind.plan.study));
    plans.push_back(std::move(kind.plan));
  }
  return plans;
}

double seconds_each(const MeasureOptions& options, const std::vector<Kind>& kinds) {
  return std::min(options.seconds, options.total_seconds / static_cast<double>(std::max<std::size_t>(1, kinds.size())));
}

}  // namespace

StepTiming time_steps(model::Cohort& cohort, double seconds, std::size_t least) {
  const std::size_t training = cohort.active().size();
  const auto timed = [&cohort](std::int64_t steps) {
    const auto start = Clock::now();
    cohort.train_to(cohort.step() + steps);
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  cohort.train_to(cohort.step() + warm_up_steps);
  const auto begin = Clock::now();
  const double one = timed(1);
  const auto sample = std::max<std::int64_t>(1, static_cast<std::int64_t>(sample_seconds / std::max(one, 1e-9)));
  std::vector<double> samples;
  if (sample == 1) samples.push_back(one);
  while (samples.size() < least || std::chrono::duration<double>(Clock::now() - begin).count() < seconds) {
    samples.push_back(timed(sample) / static_cast<double>(sample));
  }
  if (cohort.active().size() < training) {
    throw std::runtime_error("a trial diverged while its speed was measured: what is left tells nothing");
  }
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return {*middle, sample * static_cast<std::int64_t>(samples.size())};
}

double TrainingPlan::hours() const {
  double sum = 0;
  for (const CohortPlan& cohort : cohorts) sum += cohort.hours();
  return sum;
}

std::vector<CohortPlan> measure_cohorts(const std::vector<model::TrialSpec>& trials, const SweepOptions& sweep,
                                        const MeasureOptions& options) {
  std::vector<Kind> kinds = kinds_of("", trials);
  Meter meter(sweep, seconds_each(options, kinds));
  return measured(kinds, meter);
}

TrainingPlan measure_plan(const Space& space, const SweepOptions& sweep, const MeasureOptions& options) {
  std::vector<Kind> kinds;
  if (space.tuning) kinds = kinds_of(space.tuning->study, space.tuning->trials);
  for (Kind& kind : kinds_of(space.study, space.trials)) kinds.push_back(std::move(kind));
  Meter meter(sweep, seconds_each(options, kinds));
  TrainingPlan plan;
  plan.totals = plan_study(space);
  plan.devices = meter.devices().size();
  plan.device = device_text(meter.devices().front());
  plan.cohorts = measured(kinds, meter);
  return plan;
}

}  // namespace hylas::search
