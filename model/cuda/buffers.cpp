// Device memory of a GPU cohort and the evaluation split (see buffers.hpp).
#include "model/cuda/buffers.hpp"

#include <algorithm>
#include <initializer_list>

#include "model/eval/recall_accuracy.hpp"

namespace hylas::model::cuda {

using kernels::Arena;
using kernels::DType;
using kernels::Tensor;

Tensor sequences(const Tensor& t, std::int64_t first, std::int64_t count) {
  auto* data = static_cast<char*>(t.data()) + first * t.dim(2) * kernels::size_of(t.dtype());
  Tensor part(data, t.dtype(), {t.dim(0), count, t.dim(2)}, t.device());
  return part.set_trial_stride(t.trial_stride());
}

Buffers take_buffers(Arena& arena, const Sizes& s) {
  const std::int64_t P = s.trials, N = s.parameters, B = s.batch, T = s.context, S = s.sequences;
  const auto f32 = [&](std::initializer_list<std::int64_t> dims) { return arena.tensor(DType::f32, dims); };
  const auto i32 = [&](std::initializer_list<std::int64_t> dims) { return arena.tensor(DType::i32, dims); };
  const auto f64 = [&](std::initializer_list<std::int64_t> dims) { return arena.tensor(DType::f64, dims); };
  Buffers b;
  b.weights = f32({P, N}), b.m = f32({P, N}), b.v = f32({P, N}), b.grads = f32({P, N});
  if (s.bf16) b.copy = arena.tensor(DType::bf16, {P, N});
  b.tokens = i32({P, B, T}), b.targets = i32({P, B, T}), b.loss = f32({P, B, T});
  b.loss_parts = f64({P, (B * T + kLossChunk - 1) / kLossChunk});
  b.layout = i32({s.depth * 3 * P});
  TrialArrays& a = b.arrays;
  a.lr_table = f32({P, kTableSteps}), a.first_update = i32({1}), a.max_norm = f32({P}), a.weight_decay = f32({P});
  a.step = i32({P}), a.diverged = i32({P}), a.seeds = i32({P, 2}), a.sequence = i32({P, 2});
  a.train_loss = f64({P}), a.last_loss = f64({P});
  a.norm = f32({P}), a.lr = f32({P}), a.clip_scale = f32({P}), a.update = i32({P}), a.apply = i32({P});
  b.eval_tokens = i32({1, S, T}), b.eval_targets = i32({1, S, T});
  b.eval_loss = f32({P, S, T}), b.eval_predicted = i32({P, S, T});
  b.right = i32({P, s.buckets + 2}), b.eval_loss_sum = f64({P});
  b.tally = {.positions = i32({std::max<std::int64_t>(1, s.scored)}),
             .classes = i32({std::max<std::int64_t>(1, s.scored)}),
             .buckets = s.buckets};
  return b;
}

Buffers first_trials(Buffers b, std::int64_t trials) {
  TrialArrays& a = b.arrays;
  for (Tensor* t :
       {&b.weights, &b.m,          &b.v,          &b.grads,          &b.copy,         &b.tokens,       &b.targets,
        &b.loss,    &b.loss_parts, &a.lr_table,   &a.max_norm,       &a.weight_decay, &a.step,         &a.diverged,
        &a.seeds,   &a.sequence,   &a.train_loss, &a.last_loss,      &a.norm,         &a.lr,           &a.clip_scale,
        &a.update,  &a.apply,      &b.eval_loss,  &b.eval_predicted, &b.right,        &b.eval_loss_sum}) {
    if (t->defined()) *t = t->trials_from(0, trials);
  }
  return b;
}

EvaluationSplit::EvaluationSplit(const RecallStream& stream, std::int64_t sequences, std::int64_t context) {
  const RecallMetrics metrics(context);
  const auto T = static_cast<std::size_t>(context), S = static_cast<std::size_t>(sequences);
  tokens.resize(S * T), targets.resize(S * T);
  counts.resize(static_cast<std::size_t>(metrics.buckets()) + 2);
  std::vector<std::int32_t> distance(T);
  for (std::size_t s = 0; s < S; ++s) {
    stream.sequence(0, Split::eval, s, tokens.data() + s * T, targets.data() + s * T, distance.data());
    for (std::size_t t = 0; t < T; ++t) {
      if (distance[t] <= 0) continue;
      const std::int64_t bucket = metrics.bucket_of(distance[t]);
      const bool is_near = RecallMetrics::is_near(distance[t]), is_far = metrics.is_far(distance[t]);
      positions.push_back(static_cast<std::int32_t>(s * T + t));
      classes.push_back(static_cast<std::int32_t>(bucket + (is_near ? 256 : 0) + (is_far ? 512 : 0)));
      ++counts[static_cast<std::size_t>(bucket)];
      counts[counts.size() - 2] += is_near ? 1 : 0;
      counts[counts.size() - 1] += is_far ? 1 : 0;
    }
  }
}

}  // namespace hylas::model::cuda
