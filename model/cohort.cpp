// Cohort on the CPU, trial-major (see cohort.hpp; one step is trainer.hpp, evaluation evaluator.hpp, files
// trial_file.hpp).
//
// Time goes in segments of about a second, at whose ends every active trial stands at one common step and an interrupt
// is seen. In a segment as many trials as fill all threads evenly are handed to threads whole, for cache's sake; the
// remainder (all of them when trials are fewer than threads) goes step by step, its batch chunks shared by the threads.
#include "model/cohort.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <stdexcept>

#include "model/checkpoint.hpp"
#include "model/evaluator.hpp"
#include "model/init.hpp"
#include "model/mixer/mixer.hpp"
#include "model/trial_file.hpp"

namespace hylas::model {
namespace {

using kernels::DType;
using kernels::Tensor;

constexpr double kSegmentSeconds = 1.0;

void check(const std::vector<TrialSpec>& specs, const CohortOptions& options) {
  if (specs.empty()) throw InputError("a cohort needs at least one trial");
  const std::string key = cohort_key(specs.front().design, specs.front().recipe);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    check_trainable(specs[i], options);
    if (cohort_key(specs[i].design, specs[i].recipe) != key) {
      throw InputError(
          fmt::format("trial {} ({}) cannot share a cohort with trial 0 ({}): shape, depth, operators, batch, steps, "
                      "evaluation plan, "
                      "task or precision differ",
                      i, specs[i].design.layout_text(), specs.front().design.layout_text()));
    }
  }
}

}  // namespace

void check_trainable(const TrialSpec& trial, const CohortOptions& options) {
  if (options.device == "cuda") {
    throw DeviceError("device 'cuda' is not available: this build has no CUDA and trains on the CPU; use --device cpu");
  }
  if (options.device != "cpu") throw InputError(fmt::format("device '{}' is none of cpu, cuda", options.device));
  validate(trial.recipe, trial.design.shape);
  if (trial.recipe.precision != "fp32") {
    throw InputError(fmt::format("precision '{}': the CPU trains in fp32", trial.recipe.precision));
  }
  for (std::size_t i = 0; i < trial.design.layout.layers.size(); ++i) {
    try {
      check_mixer(trial.design.layout.layers[i].mixer, static_cast<int>(i));
    } catch (const InputError& error) {
      throw InputError(trial.design.layout_text() + ": " + error.what());
    }
  }
}

struct Cohort::Impl {
  kernels::ThreadPool pool;
  Proxy proxy;
  RecallStream stream;
  Trainer trainer;
  Evaluator evaluator;
  kernels::Arena store;  // [3][P][N]: weights, m, v
  std::vector<TrialState> trials;
  std::int64_t step = 0;
  std::int64_t segment_steps = 1;

  Impl(std::vector<TrialSpec> specs, const CohortOptions& options)
      : pool(options.threads),
        proxy(specs.front().design),
        stream(specs.front().recipe.task, proxy.shape().context),
        trainer(proxy, stream, specs.front().recipe.batch),
        evaluator(proxy, stream, specs.front().recipe.eval.sequences) {
    const auto count = static_cast<std::int64_t>(specs.size());
    const std::int64_t N = proxy.parameters().size();
    const Tensor weights = store.tensor(DType::f32, {count, N});
    const Tensor m = store.tensor(DType::f32, {count, N});
    const Tensor v = store.tensor(DType::f32, {count, N});
    for (std::int64_t p = 0; p < count; ++p) {
      TrialSpec& spec = specs[static_cast<std::size_t>(p)];
      const Layout* layout = &spec.design.layout;
      LayoutData data({&layout, 1}, proxy.shape().context);
      trials.push_back({.spec = std::move(spec),
                        .layout = std::move(data),
                        .blocks = {weights.trials_from(p, 1), m.trials_from(p, 1), v.trials_from(p, 1)},
                        .last_loss = std::numeric_limits<double>::quiet_NaN(),
                        .diverged = std::nullopt});
    }
    pool.run(count, [&](std::int64_t p, kernels::Context&) {
      const TrialState& trial = trials[static_cast<std::size_t>(p)];
      initialise(proxy.parameters(), trial.spec.recipe, proxy.depth(), trial.blocks.weights);
      std::fill_n(trial.blocks.m.trial<float>(), N, 0.0F);
      std::fill_n(trial.blocks.v.trial<float>(), N, 0.0F);
    });
  }

  [[nodiscard]] std::vector<TrialState*> active() {
    std::vector<TrialState*> list;
    for (TrialState& trial : trials) {
      if (trial.active) list.push_back(&trial);
    }
    return list;
  }

  TrialState& at(std::size_t trial) {
    if (trial >= trials.size()) throw std::logic_error("Cohort: no such trial");
    return trials[trial];
  }

  // All active trials, `steps` steps on.
  void run_segment(std::int64_t steps) {
    const std::vector<TrialState*> list = active();
    const auto threads = static_cast<std::size_t>(pool.size());
    const std::size_t whole = list.size() / threads * threads;
    pool.run(static_cast<std::int64_t>(whole), [&](std::int64_t item, kernels::Context& ctx) {
      for (std::int64_t i = 0; i < steps; ++i) trainer.step(ctx, *list[static_cast<std::size_t>(item)]);
    });
    std::vector<TrialState*> rest(list.begin() + static_cast<std::ptrdiff_t>(whole), list.end());
    // Just enough trials at a time to feed all threads: each needs a gradient block a chunk.
    const auto chunks = static_cast<std::size_t>(trainer.chunks());
    const std::size_t group = (threads + chunks - 1) / chunks;
    for (std::int64_t i = 0; i < steps; ++i) {
      std::erase_if(rest, [](const TrialState* trial) { return trial->diverged.has_value(); });
      for (std::size_t first = 0; first < rest.size(); first += group) {
        trainer.step_shared(pool, std::span(rest).subspan(first, std::min(group, rest.size() - first)));
      }
    }
  }

  void require_common_step() {
    const std::vector<TrialState*> list = active();
    for (const TrialState* trial : list) {
      if (trial->step != list.front()->step) {
        throw CheckpointError(
            fmt::format("trials of a cohort must continue from one step, but were loaded at {} and {}",
                        list.front()->step, trial->step));
      }
    }
    if (!list.empty()) step = list.front()->step;
  }

  // Takes the diverged trials out.
  void collect(std::vector<Divergence>& divergences) {
    for (std::size_t i = 0; i < trials.size(); ++i) {
      if (!trials[i].active || !trials[i].diverged) continue;
      trials[i].active = false;
      divergences.push_back({i, *trials[i].diverged});
    }
  }
};

Cohort::Cohort(std::vector<TrialSpec> trials, const CohortOptions& options) {
  check(trials, options);
  impl_ = std::make_unique<Impl>(std::move(trials), options);
}
Cohort::~Cohort() = default;
Cohort::Cohort(Cohort&&) noexcept = default;
Cohort& Cohort::operator=(Cohort&&) noexcept = default;

std::size_t Cohort::trials() const {
  return impl_->trials.size();
}

std::vector<std::size_t> Cohort::active() const {
  std::vector<std::size_t> list;
  for (std::size_t i = 0; i < impl_->trials.size(); ++i) {
    if (impl_->trials[i].active) list.push_back(i);
  }
  return list;
}

std::int64_t Cohort::step() const {
  return impl_->step;
}
std::int64_t Cohort::steps() const {
  return impl_->trials.front().spec.recipe.steps;
}
std::int64_t Cohort::tokens_per_step() const {
  return impl_->trials.front().spec.recipe.batch * impl_->proxy.shape().context;
}

std::vector<Divergence> Cohort::train_to(std::int64_t step, const std::atomic<bool>* interrupt) {
  using Clock = std::chrono::steady_clock;
  impl_->require_common_step();
  std::vector<Divergence> divergences;
  while (impl_->step < step && !active().empty() && !(interrupt != nullptr && interrupt->load())) {
    const std::int64_t n = std::min(step - impl_->step, impl_->segment_steps);
    const auto start = Clock::now();
    impl_->run_segment(n);
    impl_->step += n;
    impl_->collect(divergences);
    const double seconds = std::max(1e-6, std::chrono::duration<double>(Clock::now() - start).count());
    const auto fitting = static_cast<std::int64_t>(static_cast<double>(n) * kSegmentSeconds / seconds);
    impl_->segment_steps = std::clamp<std::int64_t>(fitting, 1, std::max(2 * n, impl_->segment_steps));
  }
  return divergences;
}

std::vector<Evaluation> Cohort::evaluate() {
  impl_->require_common_step();
  const std::vector<std::size_t> list = active();
  std::vector<const TrialState*> states;
  states.reserve(list.size());
  for (std::size_t i : list) states.push_back(&impl_->trials[i]);
  std::vector<std::vector<Point>> points = impl_->evaluator.run(impl_->pool, states);

  std::vector<Evaluation> evaluations;
  for (std::size_t k = 0; k < list.size(); ++k) {
    TrialState& trial = impl_->trials[list[k]];
    Evaluation evaluation{
        .trial = list[k], .step = trial.step, .tokens = trial.step * tokens_per_step(), .points = std::move(points[k])};
    if (trial.train_positions > 0) {
      evaluation.points.push_back(
          {"train_loss", trial.train_loss_sum / static_cast<double>(trial.train_positions), trial.train_positions});
    }
    trial.train_loss_sum = 0;
    trial.train_positions = 0;
    evaluations.push_back(std::move(evaluation));
  }
  return evaluations;
}

void Cohort::remove(std::size_t trial) {
  impl_->at(trial).active = false;
}

void Cohort::save(std::size_t trial, const std::filesystem::path& file) const {
  save_trial(impl_->proxy.parameters(), impl_->at(trial), file);
}

void Cohort::load(std::size_t trial, const std::filesystem::path& file) {
  TrialState& state = impl_->at(trial);
  load_trial(impl_->proxy.parameters(), state, file);
  impl_->step = state.step;
}

std::size_t Cohort::peak_bytes() const {
  return impl_->store.capacity() + impl_->pool.arena_bytes();
}

std::vector<double> Cohort::last_losses() const {
  std::vector<double> losses;
  for (const TrialState& trial : impl_->trials) {
    if (trial.active) losses.push_back(trial.last_loss);
  }
  return losses;
}

}  // namespace hylas::model
