// A checkpoint's weights on a device, and evaluations of it (see prober.hpp).
//
// On the CPU the items (intervention, chunk of sequences) are spread over threads, each with P = 1. On a GPU as many
// interventions as kBatchTokens holds go through together, over copies of the weights.
#include "model/probe/prober.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cuda/runtime.hpp"
#include "kernels/memory.hpp"
#include "kernels/parallel.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/probe/probe_batch.hpp"
#include "model/trial_file.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

namespace {

constexpr std::int64_t kCpuChunkTokens = 256;
constexpr std::int64_t kBatchTokens = 65536;                  // of all interventions together
constexpr std::int64_t kWeightBytes = std::int64_t{1} << 31;  // of all copies
constexpr std::int64_t kMostTogether = 64;

std::span<const std::int32_t> part_of(const std::vector<std::int32_t>& values, std::int64_t first, std::int64_t count) {
  return std::span(values).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
}

}  // namespace

struct Prober::Impl {
  Impl(const TrialSpec& trial, std::int64_t sequences, const CohortOptions& options)
      : device(device_of(options.device)),
        bf16(device.kind == kernels::DeviceKind::cuda && trial.recipe.precision == "bf16"),
        pool(options.threads),
        task(make_task(trial.recipe.task, trial.design.shape.context)),
        sets(sets_of(*task, sequences)),
        proxy(trial.design, bf16 ? DType::bf16 : DType::f32, device, head_of(trial.recipe.task)),
        heads(trial.design, sets, sequences),
        state{.spec = trial,
              .layout = trial.design.layout,
              .layout_data = layout_of(trial.design),
              .blocks = {},
              .diverged = std::nullopt} {
    const std::int64_t N = proxy.parameters().size();
    state.blocks = {host.tensor(DType::f32, {1, N}), host.tensor(DType::f32, {1, N}), host.tensor(DType::f32, {1, N})};
    if (device.kind == kernels::DeviceKind::cuda) {
      runtime = std::make_unique<kernels::cuda::Runtime>(device.index);
      gpu.device = device;
      gpu.gpu = runtime.get();
      gpu.arena = kernels::Arena(device);
      weights_arena = kernels::Arena(device);
      const std::int64_t fitting = kWeightBytes / (N * 6);
      copies = std::clamp<std::int64_t>(fitting, 1, kMostTogether);
      weights = weights_arena.tensor(DType::f32, {copies, N});
      if (bf16) rounded = weights_arena.tensor(DType::bf16, {copies, N});
    }
  }

  static LayoutData layout_of(const Design& design) {
    const Layout* layout = &design.layout;
    return {{&layout, 1}, design.shape.context};
  }

  [[nodiscard]] bool on_gpu() const { return device.kind == kernels::DeviceKind::cuda; }
  [[nodiscard]] std::int64_t context() const { return task->context(); }
  // Those of the suite at the training context.
  static std::vector<EvalSet> sets_of(const Task& task, std::int64_t sequences) {
    const EvalSuite suite(task, {.sequences = sequences});
    std::vector<EvalSet> sets;
    for (const EvalSet& set : suite.sets()) {
      if (set.context == task.context()) sets.push_back(set);
    }
    return sets;
  }

  void load(const std::filesystem::path& file) {
    load_trial(proxy.parameters(), state, file);
    if (!on_gpu()) return;
    runtime->make_current();
    for (std::int64_t p = 0; p < copies; ++p) {
      kernels::cuda::upload(weights.trial<float>(p), state.blocks.weights.trial<float>(),
                            static_cast<std::size_t>(weights.trial_size()) * sizeof(float), device.index);
    }
    if (bf16) kernels::cast(gpu, weights, rounded);
  }

  [[nodiscard]] Weights gpu_weights(std::int64_t count) const {
    const Tensor vectors = weights.trials_from(0, count);
    return bf16 ? Weights(rounded.trials_from(0, count), vectors) : Weights(vectors);
  }

  // The results of interventions over sequences [first, first + count), at the places of the scored positions.
  void run(Context& ctx, const EvalSet& set, std::span<const Intervention> interventions, const Weights& w,
           std::int64_t first, std::int64_t count, std::span<SetResult> results) const {
    const kernels::ArenaScope scope(ctx.arena);
    const auto P = static_cast<std::int64_t>(interventions.size());
    const std::int64_t T = context();
    const ProbeBatch batch(ctx, interventions, state.spec.design.shape);
    const auto shared = [&](const std::vector<std::int32_t>& values) {
      const Tensor one = place(ctx, part_of(values, first * T, count * T), {1, count, T});
      Tensor all(one.data(), one.dtype(), {P, count, T}, one.device());
      return all.set_trial_stride(0);
    };
    const Tensor loss = ctx.arena.tensor(DType::f32, {P, count, T});
    const Tensor predicted = ctx.arena.tensor(DType::i32, {P, count, T});
    proxy.evaluate(ctx, batch.layout(), w, shared(set.tokens), shared(set.targets), loss, predicted, batch.layers(),
                   set.most_targets);
    std::vector<float> all_loss(static_cast<std::size_t>(loss.size()));
    std::vector<std::int32_t> all_predicted(static_cast<std::size_t>(predicted.size()));
    fetch(all_loss.data(), loss);
    fetch(all_predicted.data(), predicted);
    const auto begin = std::lower_bound(set.scored.begin(), set.scored.end(), first * T);
    const auto end = std::lower_bound(begin, set.scored.end(), (first + count) * T);
    for (std::int64_t p = 0; p < P; ++p) {
      for (auto at = begin; at != end; ++at) {
        const auto to = static_cast<std::size_t>(at - set.scored.begin());
        const auto from = static_cast<std::size_t>(p * count * T + *at - first * T);
        results[static_cast<std::size_t>(p)].loss[to] = all_loss[from];
        results[static_cast<std::size_t>(p)].predicted[to] = all_predicted[from];
      }
    }
  }

  static void fetch(void* to, const Tensor& from) {
    const auto bytes = static_cast<std::size_t>(from.size() * kernels::size_of(from.dtype()));
    if (from.device().kind == kernels::DeviceKind::cpu) {
      std::memcpy(to, from.data(), bytes);
    } else {
      kernels::cuda::download(to, from.data(), bytes, from.device().index);
    }
  }

  void run_on_cpu(const EvalSet& set, std::span<const Intervention> interventions, std::span<SetResult> results) {
    const std::int64_t chunk = std::max<std::int64_t>(1, kCpuChunkTokens / context());
    const std::int64_t chunks = (set.sequences + chunk - 1) / chunk;
    pool.run(static_cast<std::int64_t>(interventions.size()) * chunks, [&](std::int64_t item, Context& ctx) {
      const auto which = static_cast<std::size_t>(item / chunks);
      const std::int64_t first = item % chunks * chunk;
      run(ctx, set, interventions.subspan(which, 1), state.blocks.weights, first,
          std::min(chunk, set.sequences - first), results.subspan(which, 1));
    });
  }

  void run_on_gpu(const EvalSet& set, std::span<const Intervention> interventions, std::span<SetResult> results) {
    runtime->make_current();
    const std::int64_t all = std::ssize(interventions);
    for (std::int64_t i = 0; i < all; i += copies) {
      const std::int64_t P = std::min(copies, all - i);
      const std::int64_t chunk = std::max<std::int64_t>(1, kBatchTokens / (P * context()));
      for (std::int64_t first = 0; first < set.sequences; first += chunk) {
        run(gpu, set, interventions.subspan(static_cast<std::size_t>(i), static_cast<std::size_t>(P)), gpu_weights(P),
            first, std::min(chunk, set.sequences - first),
            results.subspan(static_cast<std::size_t>(i), static_cast<std::size_t>(P)));
      }
    }
  }

  // The sums of one chunk's queries into sums [1, heads, HeadSum::count], in the Context's memory.
  void add_scores(Context& ctx, const HeadChunks& chunks, std::int64_t c, const Weights& w, const LayoutData& layout,
                  const Tensor& sums) const {
    const kernels::ArenaScope scope(ctx.arena);
    const EvalSet& set = sets[head_set(sets, context())];
    const std::int64_t T = context(), first = c * chunks.chunk;
    const std::int64_t count = std::min(chunks.chunk, heads.queries().sequences - first);
    const std::int64_t begin = chunks.first[static_cast<std::size_t>(c)];
    const std::int64_t n = chunks.first[static_cast<std::size_t>(c) + 1] - begin;
    if (n == 0) return;
    const kernels::ProbeQueries queries{place(ctx, part_of(chunks.query, begin, n), {1, n}),
                                        place(ctx, part_of(chunks.answer, begin, n), {1, n})};
    heads.run(ctx, proxy, layout, w, place(ctx, part_of(set.tokens, first * T, count * T), {1, count, T}),
              place(ctx, part_of(set.targets, first * T, count * T), {1, count, T}), queries, sums);
  }

  std::vector<double> sums_on_cpu() {
    const HeadChunks chunks(heads.queries(), std::max<std::int64_t>(1, kCpuChunkTokens / context()));
    const auto size = static_cast<std::size_t>(heads.heads() * HeadSum::count);
    std::vector<double> parts(static_cast<std::size_t>(chunks.chunks()) * size), sums(size);
    pool.run(chunks.chunks(), [&](std::int64_t c, Context& ctx) {
      double* to = parts.data() + static_cast<std::size_t>(c) * size;
      add_scores(ctx, chunks, c, state.blocks.weights, layout_of(state.spec.design),
                 Tensor::of(to, {1, heads.heads(), HeadSum::count}));
    });
    for (std::size_t i = 0; i < parts.size(); ++i) sums[i % size] += parts[i];
    return sums;
  }

  std::vector<double> sums_on_gpu() {
    runtime->make_current();
    const kernels::ArenaScope scope(gpu.arena);
    const HeadChunks chunks(heads.queries(), std::max<std::int64_t>(1, kBatchTokens / context()));
    const Tensor sums = gpu.arena.tensor(DType::f64, {1, heads.heads(), HeadSum::count});
    kernels::zero(gpu, sums);
    LayoutData layout = layout_of(state.spec.design);
    layout.move_to(place(gpu, layout.values(), {static_cast<std::int64_t>(layout.values().size())}));
    for (std::int64_t c = 0; c < chunks.chunks(); ++c) add_scores(gpu, chunks, c, gpu_weights(1), layout, sums);
    std::vector<double> result(static_cast<std::size_t>(sums.size()));
    fetch(result.data(), sums);
    return result;
  }

  kernels::Device device;
  bool bf16;
  kernels::ThreadPool pool;
  std::unique_ptr<Task> task;
  std::vector<EvalSet> sets;
  Proxy proxy;
  HeadProbe heads;
  kernels::Arena host;
  TrialState state;  // its blocks are `host`'s
  // On a GPU:
  std::unique_ptr<kernels::cuda::Runtime> runtime;
  Context gpu;
  kernels::Arena weights_arena;
  std::int64_t copies = 1;
  Tensor weights, rounded;  // [copies, N]
};

Prober::Prober(const TrialSpec& trial, std::int64_t sequences, const CohortOptions& options)
    : impl_(std::make_unique<Impl>(TrialSpec{trial.design, trial.recipe}, sequences, options)) {}
Prober::~Prober() = default;
Prober::Prober(Prober&&) noexcept = default;
Prober& Prober::operator=(Prober&&) noexcept = default;

const HeadProbe& Prober::heads() const {
  return impl_->heads;
}

void Prober::load(const std::filesystem::path& file) {
  impl_->load(file);
}

std::int64_t Prober::step() const {
  return impl_->state.step;
}

std::string Prober::device_text() const {
  if (!impl_->on_gpu()) return "cpu, fp32";
  return "cuda:" + std::to_string(impl_->device.index) + " " + impl_->runtime->info().name +
         (impl_->bf16 ? ", bf16" : ", fp32");
}

std::vector<HeadScore> Prober::scores() {
  return impl_->heads.scores(impl_->on_gpu() ? impl_->sums_on_gpu() : impl_->sums_on_cpu());
}

std::vector<std::vector<Point>> Prober::evaluate(std::span<const Intervention> interventions) {
  std::vector<std::vector<Point>> points(interventions.size());
  for (const EvalSet& set : impl_->sets) {
    const std::size_t scored = set.scored.size();
    std::vector<SetResult> results(interventions.size(),
                                   {std::vector<std::int32_t>(scored), std::vector<float>(scored)});
    impl_->on_gpu() ? impl_->run_on_gpu(set, interventions, results) : impl_->run_on_cpu(set, interventions, results);
    for (std::size_t i = 0; i < results.size(); ++i) {
      for (Point& point : metric_points(set, results[i].predicted, results[i].loss)) {
        points[i].push_back(std::move(point));
      }
    }
  }
  return points;
}

std::vector<std::vector<float>> Prober::query_key_weights() const {
  std::vector<std::vector<float>> weights;
  for (const int layer : impl_->heads.layers()) {
    for (const char* matrix : {"q_proj", "k_proj"}) {
      const std::string name = "model.layers." + std::to_string(layer) + ".self_attn." + matrix + ".weight";
      for (const StoredWeight& weight : impl_->proxy.parameters().stored()) {
        if (weight.name != name) continue;
        const float* from = impl_->state.blocks.weights.trial<float>() + weight.offset;
        weights.emplace_back(from, from + weight.size());
      }
    }
  }
  return weights;
}

std::vector<WeightDistance> Prober::distances(const std::vector<std::vector<float>>& from,
                                              const std::vector<std::vector<float>>& to) const {
  const auto relative = [](const std::vector<float>& a, const std::vector<float>& b) {
    double apart = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      apart += difference * difference;
      norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return std::sqrt(apart / norm);
  };
  std::vector<WeightDistance> distances;
  for (std::size_t i = 0; i < impl_->heads.layers().size(); ++i) {
    distances.push_back({.layer = impl_->heads.layers()[i],
                         .q = relative(from[2 * i], to[2 * i]),
                         .k = relative(from[2 * i + 1], to[2 * i + 1])});
  }
  return distances;
}

}  // namespace hylas::model
