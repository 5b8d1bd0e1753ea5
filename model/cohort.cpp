// Cohort: the trials, one engine that computes (engine.hpp), and what is common to all devices.
//
// Time goes in segments of about a second, at whose ends every active trial stands at one common step and an interrupt
// is seen.
#include "model/cohort.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <limits>
#include <stdexcept>

#include "kernels/build.hpp"
#include "kernels/cuda/runtime.hpp"
#include "model/checkpoint.hpp"
#include "model/engine.hpp"
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
                      "evaluation plan, window growth, task or precision differ",
                      i, specs[i].design.layout_text(), specs.front().design.layout_text()));
    }
  }
}

}  // namespace

namespace {

// Whether hylas can use this GPU at all; a full one is another matter.
void check_usable(int gpu) {
  try {
    const kernels::cuda::Runtime runtime(gpu);
  } catch (const kernels::cuda::OutOfDeviceMemory&) {
    throw;
  } catch (const kernels::cuda::CudaError& error) {
    throw DeviceError(fmt::format("device 'cuda:{}' cannot be used: {}", gpu, error.what()));
  }
}

// What the GPU's kernels and counters hold.
void check_gpu_limits(const TrialSpec& trial) {
  const Shape& shape = trial.design.shape;
  const auto check_limit = [](std::int64_t value, std::int64_t most, const char* name) {
    if (value > most) throw InputError(fmt::format("{} is {}, but a GPU takes at most {}", name, value, most));
  };
  check_limit(shape.head_dim, 256, "shape.head_dim");
  check_limit(shape.d_model, 8192, "shape.d_model");
  check_limit(shape.context, 65536, "shape.context");
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  check_limit(trial.recipe.steps, most - 1024, "recipe.steps");
  check_limit(trial.recipe.eval.sequences * shape.context, most, "recipe.eval.sequences x context");
}

}  // namespace

kernels::Device device_of(const std::string& text) {
  if (text == "cpu") return {};
  const bool automatic = text == "auto";
  if (automatic && kernels::cuda::gpu_count() == 0) return {};
  int index = 0;
  const bool numbered = text.starts_with("cuda:");
  if (numbered) {
    const auto [end, error] = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size() || index < 0) {
      throw InputError(fmt::format("device '{}' is none of auto, cpu, cuda, cuda:N", text));
    }
  } else if (text != "cuda" && !automatic) {
    throw InputError(fmt::format("device '{}' is none of auto, cpu, cuda, cuda:N", text));
  }
  const int count = kernels::cuda::gpu_count();
  if (count == 0) {
    throw DeviceError(
        fmt::format("device '{}' is not available: {}; use --device cpu", text, kernels::cuda::gpu_absence()));
  }
  if (index >= count) {
    throw DeviceError(
        fmt::format("device '{}' is not available: this machine's GPUs are numbered 0 to {}", text, count - 1));
  }
  return {kernels::DeviceKind::cuda, index};
}

std::size_t trials_that_fit(const TrialSpec& trial, const CohortOptions& options) {
  if constexpr (kernels::with_cuda) {
    const kernels::Device device = device_of(options.device);
    if (device.kind == kernels::DeviceKind::cuda) {
      check_usable(device.index);
      return static_cast<std::size_t>(cuda_trials_that_fit(trial, device.index, options));
    }
  }
  return std::numeric_limits<std::size_t>::max();
}

void check_trainable(const TrialSpec& trial, const CohortOptions& options) {
  const kernels::Device device = device_of(options.device);
  validate(trial.recipe, trial.design.shape);
  const bool bf16 = trial.recipe.precision == "bf16";
  if (bf16 && device.kind == kernels::DeviceKind::cpu) {
    throw InputError(
        "recipe.precision is bf16, but the CPU trains in fp32; use --device cuda, or precision = \"fp32\"");
  }
  const std::int64_t head = trial.design.shape.head_dim;
  if (bf16 && head != 32 && head != 64 && head != 128) {
    throw InputError(
        fmt::format("shape.head_dim is {}, but bf16 attention needs 32, 64 or 128; or use precision = "
                    "\"fp32\"",
                    head));
  }
  if (device.kind == kernels::DeviceKind::cuda) check_gpu_limits(trial);
  for (std::size_t i = 0; i < trial.design.layout.layers.size(); ++i) {
    try {
      check_mixer(trial.design.layout.layers[i].mixer, static_cast<int>(i), trial.design.shape, device.kind);
    } catch (const InputError& error) {
      throw InputError(trial.design.layout_text() + ": " + error.what());
    }
  }
}

struct Cohort::Impl {
  std::vector<TrialState> trials;
  std::unique_ptr<Engine> engine;
  std::int64_t step = 0;
  std::int64_t segment_steps = 1;

  Impl(std::vector<TrialSpec> specs, const CohortOptions& options) {
    const TrialSpec first = specs.front();
    const auto device = device_of(options.device);
    const auto count = static_cast<std::int64_t>(specs.size());
    for (TrialSpec& spec : specs) {
      Layout layout = layout_at(spec.design.layout, spec.recipe.window_growth, 0);
      LayoutData data = layout_data(layout, spec.design.shape.context);
      trials.push_back({.spec = std::move(spec),
                        .layout = std::move(layout),
                        .layout_data = std::move(data),
                        .blocks = {},
                        .last_loss = std::numeric_limits<double>::quiet_NaN(),
                        .diverged = std::nullopt});
    }
    if constexpr (kernels::with_cuda) {
      if (device.kind == kernels::DeviceKind::cuda) {
        check_usable(device.index);
        engine = make_cuda_engine(first, count, device.index, options);
      }
    }
    if (!engine) engine = make_cpu_engine(first, options);
    engine->place(trials);
  }

  static LayoutData layout_data(const Layout& layout, std::int64_t context) {
    const Layout* one = &layout;
    return {{&one, 1}, context};
  }

  // From now on every trial sees the windows of this update (design/window_growth.hpp).
  void use_windows(std::int64_t update) {
    bool changed = false;
    for (TrialState& trial : trials) {
      Layout layout = layout_at(trial.spec.design.layout, trial.spec.recipe.window_growth, update);
      if (layout == trial.layout) continue;
      trial.layout_data = layout_data(layout, trial.spec.design.shape.context);
      trial.layout = std::move(layout);
      changed = true;
    }
    if (changed) engine->windows_changed(trials);
  }

  TrialState& at(std::size_t trial) {
    if (trial >= trials.size()) throw std::logic_error("Cohort: no such trial");
    return trials[trial];
  }

  void require_common_step() {
    const TrialState* first = nullptr;
    for (const TrialState& trial : trials) {
      if (!trial.active) continue;
      if (first == nullptr) first = &trial;
      if (trial.step != first->step) {
        throw CheckpointError(fmt::format(
            "trials of a cohort must continue from one step, but were loaded at {} and {}", first->step, trial.step));
      }
    }
    if (first != nullptr) step = first->step;
  }

  // Takes the diverged trials out.
  void collect(std::vector<Divergence>& divergences) {
    const std::size_t before = divergences.size();
    for (std::size_t i = 0; i < trials.size(); ++i) {
      if (!trials[i].active || !trials[i].diverged) continue;
      trials[i].active = false;
      divergences.push_back({i, *trials[i].diverged});
    }
    if (divergences.size() > before) engine->trials_changed(trials);
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
  const TrialSpec& spec = impl_->trials.front().spec;
  return spec.recipe.batch * spec.design.shape.context;
}

std::vector<Divergence> Cohort::train_to(std::int64_t step, const std::atomic<bool>* interrupt) {
  using Clock = std::chrono::steady_clock;
  impl_->require_common_step();
  const WindowGrowth& growth = impl_->trials.front().spec.recipe.window_growth;  // the cohort's
  std::vector<Divergence> divergences;
  while (impl_->step < step && !active().empty() && !(interrupt != nullptr && interrupt->load())) {
    const std::int64_t end = same_windows_until(growth, impl_->step, step);
    const std::int64_t n = std::min(end - impl_->step, impl_->segment_steps);
    const auto start = Clock::now();
    impl_->use_windows(impl_->step + 1);
    impl_->engine->run(impl_->trials, n);
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
  impl_->use_windows(impl_->step);
  const std::vector<std::size_t> list = active();
  std::vector<const TrialState*> states;
  states.reserve(list.size());
  for (std::size_t i : list) states.push_back(&impl_->trials[i]);
  std::vector<std::vector<Point>> points = impl_->engine->evaluate(states);

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
  TrialState& state = impl_->at(trial);
  if (!state.active) return;
  state.active = false;
  impl_->engine->trials_changed(impl_->trials);
}

void Cohort::save(std::size_t trial, const std::filesystem::path& file) const {
  save_trial(impl_->engine->parameters(), impl_->at(trial), file);
}

void Cohort::load(std::size_t trial, const std::filesystem::path& file) {
  TrialState& state = impl_->at(trial);
  load_trial(impl_->engine->parameters(), state, file);
  impl_->engine->trials_changed(impl_->trials);
  impl_->step = state.step;
}

std::size_t Cohort::peak_bytes() const {
  return impl_->engine->peak_bytes();
}

std::string Cohort::plan_text() const {
  return impl_->engine->plan_text();
}

std::vector<double> Cohort::last_losses() const {
  std::vector<double> losses;
  for (const TrialState& trial : impl_->trials) {
    if (trial.active) losses.push_back(trial.last_loss);
  }
  return losses;
}

}  // namespace hylas::model
