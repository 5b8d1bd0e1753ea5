// Device memory of a GPU cohort (see buffers.hpp).
#include "model/cuda/buffers.hpp"

#include <algorithm>
#include <initializer_list>

namespace hylas::model::cuda {

using kernels::Arena;
using kernels::DType;
using kernels::Tensor;

Tensor sequences(const Tensor& t, std::int64_t first, std::int64_t count) {
  auto* data = static_cast<char*>(t.data()) + first * t.dim(2) * kernels::size_of(t.dtype());
  Tensor part(data, t.dtype(), {t.dim(0), count, t.dim(2)}, t.device());
  return part.set_trial_stride(t.trial_stride());
}

Buffers take_buffers(Arena& arena, const Sizes& s, const EvalSuite& suite, const HeadProbe& heads) {
  const std::int64_t P = s.trials, N = s.parameters, B = s.batch, T = s.context;
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
  a.train_loss = f64({P}), a.last_loss = f64({P}), a.train_positions = f64({P});
  if (!s.fixed_targets) a.trained = i32({P});
  a.norm = f32({P}), a.lr = f32({P}), a.clip_scale = f32({P}), a.update = i32({P}), a.apply = i32({P});
  for (const EvalSet& set : suite.sets()) {
    const auto scored = std::max<std::int64_t>(1, std::ssize(set.scored));
    const std::int64_t S = set.sequences;
    b.eval.push_back({.tokens = i32({1, S, set.context}),
                      .targets = i32({1, S, set.context}),
                      .positions = i32({scored}),
                      .layout = i32({s.depth * 3 * P}),
                      .loss = f32({P, scored}),
                      .predicted = i32({P, scored})});
  }
  b.heads = take_head_buffers(arena, P, heads);
  return b;
}

Buffers first_trials(Buffers b, std::int64_t trials) {
  TrialArrays& a = b.arrays;
  const auto cut = [&](std::initializer_list<Tensor*> tensors) {
    for (Tensor* t : tensors) {
      if (t->defined()) *t = t->trials_from(0, trials);
    }
  };
  cut({&b.weights, &b.m, &b.v, &b.grads, &b.copy, &b.tokens, &b.targets, &b.loss, &b.loss_parts});
  cut({&a.lr_table, &a.max_norm, &a.weight_decay, &a.step, &a.diverged, &a.seeds, &a.sequence, &a.train_loss,
       &a.last_loss, &a.train_positions, &a.trained, &a.norm, &a.lr, &a.clip_scale, &a.update, &a.apply});
  cut({&b.heads.sums});
  for (EvalBuffers& eval : b.eval) cut({&eval.loss, &eval.predicted});
  return b;
}

}  // namespace hylas::model::cuda
