// A training step: batch, chunks, ordered gradient sum, clip, AdamW (see trainer.hpp).
#include "model/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/adamw.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

namespace {

constexpr std::int64_t kChunkTokens = 256;
constexpr std::int64_t kMaxChunks = 8;

Tensor new_block(Context& ctx, const ParameterTable& table) {
  return ctx.arena.tensor(DType::f32, {1, table.size()});
}

// Sequences [first, first + count) of a [1, B, T] tensor.
Tensor sequences(const Tensor& batch, std::int64_t first, std::int64_t count) {
  return Tensor::of(batch.trial<std::int32_t>() + first * batch.dim(2), {1, count, batch.dim(2)});
}

}  // namespace

Trainer::Trainer(const Proxy& proxy, const Task& task, std::int64_t batch) : proxy_(proxy), task_(task), batch_(batch) {
  const std::int64_t wanted = batch * proxy.shape().context / kChunkTokens;
  chunks_ = std::clamp<std::int64_t>(wanted, 1, std::min(batch, kMaxChunks));
}

Trainer::Batch Trainer::make_batch(Context& ctx, const TrialState& trial) const {
  const std::int64_t T = proxy_.shape().context;
  Batch batch{.tokens = ctx.arena.tensor(DType::i32, {1, batch_, T}),
              .targets = ctx.arena.tensor(DType::i32, {1, batch_, T})};
  kernels::ArenaScope scope(ctx.arena);
  auto* distance = ctx.arena.take<std::int32_t>(T);
  auto* targets = batch.targets.trial<std::int32_t>();
  for (std::int64_t b = 0; b < batch_; ++b) {
    task_.sequence(static_cast<std::uint64_t>(trial.spec.recipe.data_seed), Split::train,
                   static_cast<std::uint64_t>(trial.step * batch_ + b), batch.tokens.trial<std::int32_t>() + b * T,
                   targets + b * T, distance);
  }
  const auto trained = std::count_if(targets, targets + batch_ * T, [](std::int32_t t) { return t >= 0; });
  batch.scored = std::max<std::int64_t>(1, trained);
  return batch;
}

double Trainer::run_chunk(Context& ctx, const TrialState& trial, const Batch& batch, std::int64_t chunk,
                          const Tensor& grads) const {
  kernels::ArenaScope scope(ctx.arena);
  const std::int64_t first = chunk * batch_ / chunks_;
  const std::int64_t count = (chunk + 1) * batch_ / chunks_ - first;
  const Tensor loss = ctx.arena.tensor(DType::f32, {1, count, proxy_.shape().context});
  std::memset(grads.data(), 0, static_cast<std::size_t>(grads.size()) * sizeof(float));
  proxy_.loss_and_gradients(ctx, trial.layout_data, trial.blocks.weights, sequences(batch.tokens, first, count),
                            sequences(batch.targets, first, count), 1.0 / static_cast<double>(batch.scored), loss,
                            grads);
  const float* values = loss.trial<float>();
  double sum = 0;
  for (std::int64_t i = 0; i < loss.size(); ++i) sum += static_cast<double>(values[i]);
  return sum;
}

std::optional<UpdatePlan> Trainer::plan(Context& ctx, TrialState& trial, const Batch& batch, double loss_sum,
                                        const Tensor& grads) const {
  const std::int64_t step = trial.step + 1;
  const UpdatePlan update = plan_update(ctx, trial.spec.recipe, step, grads);
  if (!std::isfinite(loss_sum) || !std::isfinite(update.grad_norm)) {
    trial.diverged = step;
    return std::nullopt;
  }
  trial.step = step;
  trial.last_loss = loss_sum / static_cast<double>(batch.scored);
  trial.train_loss_sum += loss_sum;
  trial.train_positions += batch.scored;
  return update;
}

void Trainer::step(Context& ctx, TrialState& trial) const {
  if (trial.diverged) return;
  kernels::ArenaScope scope(ctx.arena);
  const ParameterTable& table = proxy_.parameters();
  const Batch batch = make_batch(ctx, trial);
  const Tensor grads = new_block(ctx, table);
  double loss_sum = run_chunk(ctx, trial, batch, 0, grads);
  if (chunks_ > 1) {
    const Tensor part = new_block(ctx, table);
    for (std::int64_t chunk = 1; chunk < chunks_; ++chunk) {
      loss_sum += run_chunk(ctx, trial, batch, chunk, part);
      kernels::add_into(ctx, part, grads);
    }
  }
  if (const auto update = plan(ctx, trial, batch, loss_sum, grads)) {
    apply_update(ctx, table, trial.spec.recipe, *update, grads, trial.blocks, 0, table.size());
  }
}

void Trainer::step_shared(kernels::ThreadPool& pool, std::span<TrialState* const> trials) const {
  Context& main = pool.main_context();
  kernels::ArenaScope scope(main.arena);
  const ParameterTable& table = proxy_.parameters();
  const auto count = static_cast<std::int64_t>(trials.size());
  std::vector<Batch> batches;
  batches.reserve(trials.size());
  for (TrialState* trial : trials) batches.push_back(make_batch(main, *trial));
  std::vector<Tensor> parts;
  for (std::int64_t i = 0; i < count * chunks_; ++i) parts.push_back(new_block(main, table));
  std::vector<double> losses(parts.size());
  pool.run(count * chunks_, [&](std::int64_t item, Context& ctx) {
    const auto at = static_cast<std::size_t>(item), trial = static_cast<std::size_t>(item / chunks_);
    losses[at] = run_chunk(ctx, *trials[trial], batches[trial], item % chunks_, parts[at]);
  });

  // From here on by ranges of elements: the sum over chunks in order, then the update.
  const std::int64_t blocks = (table.size() + kRangeAlignment - 1) / kRangeAlignment;
  const std::int64_t ranges = std::min<std::int64_t>(pool.size(), blocks);
  const auto over_ranges = [&](const auto& body) {
    pool.run(count * ranges, [&](std::int64_t item, Context& ctx) {
      const std::int64_t first = blocks * (item % ranges) / ranges * kRangeAlignment;
      const std::int64_t end = std::min(table.size(), blocks * (item % ranges + 1) / ranges * kRangeAlignment);
      body(static_cast<std::size_t>(item / ranges), first, end - first, ctx);
    });
  };
  over_ranges([&](std::size_t trial, std::int64_t first, std::int64_t n, Context& ctx) {
    const std::size_t base = trial * static_cast<std::size_t>(chunks_);
    for (std::size_t c = 1; c < static_cast<std::size_t>(chunks_); ++c) {
      kernels::add_into(ctx, range_of(parts[base + c], first, n), range_of(parts[base], first, n));
    }
  });
  std::vector<std::optional<UpdatePlan>> updates(trials.size());
  for (std::size_t trial = 0; trial < trials.size(); ++trial) {
    const std::size_t base = trial * static_cast<std::size_t>(chunks_);
    double loss_sum = losses[base];
    for (std::size_t c = 1; c < static_cast<std::size_t>(chunks_); ++c) loss_sum += losses[base + c];
    updates[trial] = plan(main, *trials[trial], batches[trial], loss_sum, parts[base]);
  }
  over_ranges([&](std::size_t trial, std::int64_t first, std::int64_t n, Context& ctx) {
    if (!updates[trial]) return;
    apply_update(ctx, table, trials[trial]->spec.recipe, *updates[trial],
                 parts[trial * static_cast<std::size_t>(chunks_)], trials[trial]->blocks, first, n);
  });
}

}  // namespace hylas::model
