// The engine of a GPU: all trials of a cohort go through every operator together.
//
// Everything a cohort needs lies in one allocation whose size is known before it is made: the same code that trains is
// run once with a Context that plans (kernels/context.hpp), which takes memory and launches nothing. The batch goes
// through in micro-batches of at most kMicroBatchTokens tokens a trial, a function of batch and context only, so that a
// trial's sums do not depend on its neighbours; only where a single trial does not fit are they made smaller.
// Slot s of the blocks holds trial slots_[s]. Trials that have left stay there until an eighth of the slots is free;
// then the rest moves together and the graphs are recorded anew.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "kernels/adamw.hpp"
#include "kernels/cuda/runtime.hpp"
#include "kernels/memory.hpp"
#include "kernels/parallel.hpp"
#include "model/cuda/buffers.hpp"
#include "model/cuda/graph.hpp"
#include "model/cuda/step.hpp"
#include "model/cuda/suite.hpp"
#include "model/data/task_device.hpp"
#include "model/engine.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/init.hpp"
#include "model/proxy_at.hpp"
#include "model/schedule.hpp"

namespace hylas::model {
namespace {

using kernels::Arena;
using kernels::Context;
using kernels::Device;
using kernels::DType;
using kernels::Tensor;

constexpr std::int64_t kMicroBatchTokens = 32768;
constexpr double kShareOfFreeMemory = 0.92;
constexpr std::size_t kMostTrials = 256;

class CudaEngine final : public Engine {
 public:
  CudaEngine(const TrialSpec& first, std::int64_t trials, int device, const CohortOptions& options)
      : recipe_(first.recipe),
        device_{kernels::DeviceKind::cuda, device},
        threads_(options.threads),
        runtime_(device),
        proxy_(first.design, first.recipe.precision == "bf16" ? DType::bf16 : DType::f32, device_,
               head_of(first.recipe.task)),
        proxies_(proxy_, first.design, first.recipe.precision == "bf16" ? DType::bf16 : DType::f32, device_),
        task_(make_task(first.recipe.task, proxy_.shape().context)),
        suite_(*task_, recipe_.eval),
        heads_(first.design, suite_.sets(), recipe_.eval.probe_sequences) {
    ctx_.device = device_;
    ctx_.gpu = &runtime_;
    ctx_.arena = Arena(device_);
    sequences_ = make_task_device(ctx_, *task_);
    sizes_ = {.trials = trials,
              .parameters = proxy_.parameters().size(),
              .depth = proxy_.depth(),
              .batch = recipe_.batch,
              .context = proxy_.shape().context,
              .bf16 = recipe_.precision == "bf16",
              .fixed_targets = task_->fixed_targets() > 0};
    // As few equal micro-batches as there must be.
    const std::int64_t most = std::max<std::int64_t>(1, kMicroBatchTokens / sizes_.context);
    const std::int64_t parts = (sizes_.batch + most - 1) / most;
    micro_batch_ = (sizes_.batch + parts - 1) / parts;
    const auto info = runtime_.info();
    name_ = info.name;
    budget_ = static_cast<std::size_t>(kShareOfFreeMemory * static_cast<double>(info.free_bytes));
    const std::size_t most_bytes = options.gpu_bytes - std::min(options.gpu_bytes, runtime_.workspace_bytes());
    if (options.gpu_bytes > 0) budget_ = std::min(budget_, most_bytes);
  }

  [[nodiscard]] std::size_t bytes_for(std::int64_t trials) {
    Context planner;
    planner.device = device_;
    planner.gpu = &runtime_;
    planner.planning = true;
    planner.arena = Arena::planner(device_);
    cuda::Sizes sizes = sizes_;
    sizes.trials = trials;
    const cuda::Buffers buffers = cuda::take_buffers(planner.arena, sizes, suite_, heads_);
    const std::vector<const Layout*> any(static_cast<std::size_t>(trials), nullptr);
    train_step(planner, buffers, layout_of(any, sizes.context));
    evaluation(planner, buffers, eval_layouts(any));
    return planner.arena.peak();
  }

  [[nodiscard]] std::int64_t trials_that_fit() {
    const std::size_t one = bytes_for(1), another = bytes_for(2) - one;
    auto fitting = static_cast<std::int64_t>(one >= budget_ ? 1 : std::min(kMostTrials, 1 + (budget_ - one) / another));
    while (fitting > 1 && bytes_for(fitting) > budget_) --fitting;
    return fitting;
  }

  void allocate() {
    for (;;) {
      const std::size_t bytes = bytes_for(sizes_.trials);
      const bool smaller = sizes_.trials == 1 && (micro_batch_ > 1 || eval_tokens_ > 1);
      if (bytes <= budget_) {
        try {
          ctx_.arena.reserve(bytes);
          planned_ = bytes;
          break;
        } catch (const kernels::cuda::OutOfDeviceMemory&) {
          if (!smaller) throw;
        }
      } else if (!smaller) {
        throw kernels::cuda::OutOfDeviceMemory(fmt::format(
            "{} trials need {:.1f} MiB of GPU {}'s memory with micro-batches of {} sequences, {:.1f} MiB may be used; "
            "train fewer together (--max-cohort) or use a smaller batch",
            sizes_.trials, mebibytes(bytes), device_.index, micro_batch_, mebibytes(budget_)));
      }
      micro_batch_ = (micro_batch_ + 1) / 2;
      eval_tokens_ = (eval_tokens_ + 1) / 2;
    }
    all_ = cuda::take_buffers(ctx_.arena, sizes_, suite_, heads_);
    cuda::send_sequences(suite_, all_.eval);
    cuda::send_head_queries(cuda::head_chunks(heads_, eval_tokens_), all_.heads);
  }

  [[nodiscard]] const ParameterTable& parameters() const override { return proxy_.parameters(); }
  void place(std::vector<TrialState>& trials) override {
    const std::int64_t N = sizes_.parameters;
    const std::size_t weights = proxy_.parameters().stored().size();
    for (const Tensor* t : {&all_.m, &all_.v, &all_.grads}) kernels::zero(ctx_, *t);
    kernels::ThreadPool pool(threads_);
    // A few trials at a time: their weights are made in the host's memory.
    const std::size_t group = std::max<std::size_t>(1, (std::size_t{64} << 20) / static_cast<std::size_t>(N));
    std::vector<float> block;
    for (std::size_t first = 0; first < trials.size(); first += group) {
      const std::size_t count = std::min(group, trials.size() - first);
      block.assign(count * static_cast<std::size_t>(N), 0.0F);
      pool.run(static_cast<std::int64_t>(count * weights), [&](std::int64_t item, Context&) {
        const std::size_t p = static_cast<std::size_t>(item) / weights, k = static_cast<std::size_t>(item) % weights;
        initialise_weight(proxy_.parameters(), k, trials[first + p].spec.recipe, proxy_.depth(),
                          block.data() + static_cast<std::int64_t>(p) * N + proxy_.parameters().stored()[k].offset);
      });
      kernels::cuda::upload(all_.weights.trial<float>(static_cast<std::int64_t>(first)), block.data(),
                            block.size() * sizeof(float), device_.index);
    }
    for (std::size_t i = 0; i < trials.size(); ++i) slots_.push_back(i);
    view_blocks(trials);
    dirty_ = true;
  }

  void run(std::vector<TrialState>& trials, std::int64_t steps) override {
    runtime_.make_current();
    for (std::int64_t done = 0; done < steps;) {
      const std::int64_t n = std::min(steps - done, cuda::kTableSteps);
      if (!send_state(trials)) return;
      for (std::int64_t i = 0; i < n; ++i) {
        step_graph_.run(ctx_, [&] { train_step(ctx_, buffers_, *layout_); });
      }
      receive_state(trials);
      done += n;
    }
  }

  [[nodiscard]] std::vector<std::vector<Point>> evaluate(std::span<const TrialState* const> trials) override {
    runtime_.make_current();
    refresh();
    evaluation_graph_.run(ctx_, [&] { evaluation(ctx_, buffers_, eval_layouts_); });
    std::vector<std::size_t> slots;
    for (const TrialState* trial : trials) slots.push_back(slot_of(trial));
    return cuda::with_head_points(cuda::suite_points(suite_, buffers_.eval, slots, threads_), heads_, buffers_.heads,
                                  slots);
  }

  void trials_changed(std::vector<TrialState>& trials) override {
    runtime_.make_current();
    states_ = trials.data(), dirty_ = true;
    std::vector<std::size_t> staying;
    for (const std::size_t trial : slots_) {
      if (trials[trial].active) staying.push_back(trial);
    }
    if (staying.empty() || 8 * staying.size() > 7 * slots_.size()) return;
    for (std::size_t slot = 0, to = 0; slot < slots_.size(); ++slot) {
      if (!trials[slots_[slot]].active) {
        trials[slots_[slot]].blocks = {};  // its memory goes to others
        continue;
      }
      if (to != slot) move_slot(static_cast<std::int64_t>(slot), static_cast<std::int64_t>(to));
      ++to;
    }
    slots_ = staying;
    view_blocks(trials);
  }
  void windows_changed(std::vector<TrialState>& trials) override { view_blocks(trials); }

  [[nodiscard]] std::size_t peak_bytes() const override { return planned_ + runtime_.workspace_bytes(); }
  [[nodiscard]] std::string plan_text() const override {
    return fmt::format("cuda:{} {}: {} trials together, micro-batches of {} of {} sequences, {:.1f} MiB planned",
                       device_.index, name_, sizes_.trials, micro_batch_, sizes_.batch, mebibytes(planned_));
  }

 private:
  static double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }
  // nullptr stands for any layout (planning).
  [[nodiscard]] LayoutData layout_of(std::vector<const Layout*> layouts, std::int64_t context) const {
    Layout any;
    for (int i = 0; i < proxy_.depth(); ++i) any.layers.emplace_back();
    for (const Layout*& layout : layouts) {
      if (layout == nullptr) layout = &any;
    }
    return {layouts, context};
  }
  // What the layouts come to at the context of each set.
  [[nodiscard]] std::vector<LayoutData> eval_layouts(const std::vector<const Layout*>& layouts) const {
    std::vector<LayoutData> result;
    for (const EvalSet& set : suite_.sets()) result.push_back(layout_of(layouts, set.context));
    return result;
  }

  [[nodiscard]] Weights weights_of(const cuda::Buffers& b) const {
    return b.copy.defined() ? Weights(b.copy, b.weights) : Weights(b.weights);
  }

  // One update of every trial. Reads nothing from the host.
  void train_step(Context& ctx, const cuda::Buffers& b, const LayoutData& layout) const {
    const kernels::ArenaScope scope(ctx.arena);
    const std::int64_t B = sizes_.batch, T = sizes_.context;
    const std::int64_t scored = B * (task_->fixed_targets() > 0 ? task_->fixed_targets() : T);
    const cuda::TrialArrays& a = b.arrays;
    sequences_->generate(ctx, a.seeds, a.sequence, b.tokens, b.targets);
    if (a.trained.defined()) cuda::count_targets(ctx, b.targets, a.trained);
    kernels::zero(ctx, b.grads);
    for (std::int64_t first = 0; first < B; first += micro_batch_) {
      const std::int64_t count = std::min(micro_batch_, B - first);
      proxy_.loss_and_gradients(ctx, layout, weights_of(b), cuda::sequences(b.tokens, first, count),
                                cuda::sequences(b.targets, first, count), 1.0 / static_cast<double>(scored),
                                cuda::sequences(b.loss, first, count), b.grads, task_->fixed_targets());
    }
    cuda::sum_losses(ctx, b.loss, b.loss_parts);
    kernels::grad_norm(ctx, b.grads, a.norm);
    cuda::plan_updates(ctx, a, b.loss_parts, B, scored);
    const kernels::AdamW adamw{recipe_.beta1, recipe_.beta2, recipe_.eps, proxy_.parameters().decay_count()};
    kernels::adamw_update(ctx, adamw,
                          {.lr = a.lr, .weight_decay = a.weight_decay, .clip_scale = a.clip_scale, .step = a.update},
                          b.weights, b.grads, b.m, b.v, b.copy, a.apply);
  }

  void evaluation(Context& ctx, const cuda::Buffers& b, const std::vector<LayoutData>& layouts) {
    cuda::evaluate_suite(ctx, proxies_, suite_, layouts, weights_of(b), b.weights.trials(), eval_tokens_, b.eval);
    cuda::score_heads(ctx, proxies_, heads_, suite_, layouts, weights_of(b), eval_tokens_, b.eval, b.heads);
  }

  void view_blocks(std::vector<TrialState>& trials) {
    states_ = trials.data();
    const auto count = static_cast<std::int64_t>(slots_.size());
    for (std::int64_t slot = 0; slot < count; ++slot) {
      trials[slots_[static_cast<std::size_t>(slot)]].blocks = {
          all_.weights.trials_from(slot, 1), all_.m.trials_from(slot, 1), all_.v.trials_from(slot, 1)};
    }
    buffers_ = cuda::first_trials(all_, count);
    std::vector<const Layout*> layouts;
    for (const std::size_t trial : slots_) layouts.push_back(&trials[trial].layout);
    layout_.emplace(layout_of(layouts, sizes_.context));
    send_values(all_.layout, layout_->values());
    layout_->move_to(all_.layout);
    eval_layouts_ = eval_layouts(layouts);
    for (std::size_t i = 0; i < eval_layouts_.size(); ++i) {
      send_values(all_.eval[i].layout, eval_layouts_[i].values());
      eval_layouts_[i].move_to(all_.eval[i].layout);
    }
    step_graph_.forget();
    evaluation_graph_.forget();
  }

  void move_slot(std::int64_t from, std::int64_t to) {
    for (const Tensor* t : {&all_.weights, &all_.m, &all_.v}) {
      kernels::copy(ctx_, t->trials_from(from, 1), t->trials_from(to, 1));
    }
  }

  [[nodiscard]] std::size_t slot_of(const TrialState* trial) const {
    const auto index = static_cast<std::size_t>(trial - states_);
    const auto at = std::find(slots_.begin(), slots_.end(), index);
    if (at == slots_.end()) throw std::logic_error("CudaEngine: a trial without a slot");
    return static_cast<std::size_t>(at - slots_.begin());
  }

  template <class T>
  void send_values(const Tensor& to, const std::vector<T>& values) const {
    if (!values.empty()) kernels::cuda::upload(to.data(), values.data(), values.size() * sizeof(T), device_.index);
  }
  template <class T>
  [[nodiscard]] std::vector<T> receive(const Tensor& from) const {
    std::vector<T> values(static_cast<std::size_t>(from.size()));
    kernels::cuda::download(values.data(), from.data(), values.size() * sizeof(T), device_.index);
    return values;
  }

  // The rounded copies of weights that were set from outside.
  void refresh() {
    if (dirty_ && buffers_.copy.defined()) kernels::cast(ctx_, buffers_.weights, buffers_.copy);
    dirty_ = false;
  }

  // False when there is nobody left to train.
  bool send_state(const std::vector<TrialState>& trials) {
    refresh();
    const std::size_t P = slots_.size();
    std::vector<float> lr(P * cuda::kTableSteps), max_norm(P), decay(P);
    std::vector<std::int32_t> step(P), diverged(P), seeds(2 * P), sequence(2 * P);
    std::vector<double> train_loss(P), last_loss(P), train_positions(P);
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    for (const std::size_t trial : slots_) {
      if (trials[trial].active && !trials[trial].diverged) first = std::min(first, trials[trial].step + 1);
    }
    if (first == std::numeric_limits<std::int64_t>::max()) return false;
    for (std::size_t s = 0; s < P; ++s) {
      const TrialState& trial = trials[slots_[s]];
      const Recipe& recipe = trial.spec.recipe;
      for (std::int64_t k = 0; k < cuda::kTableSteps; ++k) {
        lr[s * cuda::kTableSteps + static_cast<std::size_t>(k)] =
            static_cast<float>(recipe.learning_rate * schedule_multiplier(recipe.schedule, first + k, recipe.steps));
      }
      max_norm[s] = static_cast<float>(recipe.clip);
      decay[s] = static_cast<float>(recipe.weight_decay);
      step[s] = static_cast<std::int32_t>(trial.step);
      diverged[s] = trial.active && !trial.diverged ? 0 : 1;  // who has left is not updated
      cuda::put_words(static_cast<std::uint64_t>(recipe.data_seed), &seeds[2 * s]);
      cuda::put_words(static_cast<std::uint64_t>(trial.step * recipe.batch), &sequence[2 * s]);
      train_loss[s] = trial.train_loss_sum;
      last_loss[s] = trial.last_loss;
      train_positions[s] = static_cast<double>(trial.train_positions);
    }
    const cuda::TrialArrays& a = buffers_.arrays;
    send_values(a.lr_table, lr);
    send_values(a.first_update, std::vector<std::int32_t>{static_cast<std::int32_t>(first)});
    send_values(a.max_norm, max_norm);
    send_values(a.weight_decay, decay);
    send_values(a.step, step);
    send_values(a.diverged, diverged);
    send_values(a.seeds, seeds);
    send_values(a.sequence, sequence);
    send_values(a.train_loss, train_loss);
    send_values(a.last_loss, last_loss);
    send_values(a.train_positions, train_positions);
    return true;
  }

  void receive_state(std::vector<TrialState>& trials) const {
    const cuda::TrialArrays& a = buffers_.arrays;
    const auto step = receive<std::int32_t>(a.step), diverged = receive<std::int32_t>(a.diverged);
    const auto train_loss = receive<double>(a.train_loss), last_loss = receive<double>(a.last_loss);
    const auto train_positions = receive<double>(a.train_positions);
    for (std::size_t s = 0; s < slots_.size(); ++s) {
      TrialState& trial = trials[slots_[s]];
      if (!trial.active || trial.diverged) continue;
      trial.train_positions = static_cast<std::int64_t>(train_positions[s]);
      trial.step = step[s];
      trial.train_loss_sum = train_loss[s];
      trial.last_loss = last_loss[s];
      if (diverged[s] != 0) trial.diverged = diverged[s];
    }
  }

  Recipe recipe_;  // of the first trial: what all share
  Device device_;
  int threads_;
  kernels::cuda::Runtime runtime_;
  Context ctx_;
  Proxy proxy_;
  ProxyAt proxies_;
  std::unique_ptr<Task> task_;
  EvalSuite suite_;
  HeadProbe heads_;
  std::unique_ptr<TaskDevice> sequences_;
  cuda::Sizes sizes_;
  std::int64_t micro_batch_ = 1, eval_tokens_ = kMicroBatchTokens;
  std::size_t budget_ = 0, planned_ = 0;
  std::string name_;
  cuda::Buffers all_, buffers_;  // all slots; those in use
  std::vector<std::size_t> slots_;
  const TrialState* states_ = nullptr;
  std::optional<LayoutData> layout_;
  std::vector<LayoutData> eval_layouts_;  // of each set
  bool dirty_ = true;                     // blocks were set from outside
  cuda::StepGraph step_graph_, evaluation_graph_;
};

}  // namespace

std::unique_ptr<Engine> make_cuda_engine(const TrialSpec& first, std::int64_t trials, int device,
                                         const CohortOptions& options) {
  auto engine = std::make_unique<CudaEngine>(first, trials, device, options);
  engine->allocate();
  return engine;
}

std::int64_t cuda_trials_that_fit(const TrialSpec& trial, int device, const CohortOptions& options) {
  return CudaEngine(trial, 1, device, options).trials_that_fit();
}

}  // namespace hylas::model
