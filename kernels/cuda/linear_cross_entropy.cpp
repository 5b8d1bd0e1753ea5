// CUDA: linear_cross_entropy (kernels/linear_cross_entropy.hpp). The rows of a batch are cut into fixed chunks; a
// chunk's logits are computed, turned into their gradient in place, and used up before the next chunk takes their
// memory. Where few positions of a sequence can have a target, these are gathered first.
#include "kernels/linear_cross_entropy.hpp"

#include <algorithm>
#include <stdexcept>

#include "kernels/backends.hpp"
#include "kernels/cuda/cross_entropy.hpp"
#include "kernels/cuda/linear.hpp"
#include "kernels/cuda/target_rows.hpp"

namespace hylas::kernels::cuda {
namespace {

constexpr std::int64_t kLogitBytes = std::int64_t{256} << 20;  // of one trial's chunk

// A function of one trial's shapes, so that a trial's sums do not depend on the others.
std::int64_t chunk_rows(std::int64_t rows, std::int64_t vocab, DType dtype) {
  const std::int64_t fitting = std::max<std::int64_t>(1, kLogitBytes / (vocab * size_of(dtype)));
  std::int64_t chunks = (rows + fitting - 1) / fitting;
  return (rows + chunks - 1) / chunks;
}

// Rows [first, first + count) of [P, rows..., columns], as [P, count, columns]; columns 0: of [P, rows...].
Tensor rows_of(const Tensor& t, std::int64_t first, std::int64_t count, std::int64_t columns) {
  auto* data = static_cast<char*>(t.data()) + first * std::max<std::int64_t>(1, columns) * size_of(t.dtype());
  Tensor rows = columns > 0 ? Tensor(data, t.dtype(), {t.trials(), count, columns}, t.device())
                            : Tensor(data, t.dtype(), {t.trials(), count}, t.device());
  return rows.set_trial_stride(t.trial_stride());
}

template <class Body>
void for_chunks(Context& ctx, const Tensor& h, const Tensor& head, const Body& body) {
  const std::int64_t rows = h.trial_rows(), vocab = head.dim(1), d = h.dim(-1);
  if (head.dim(2) != d) throw std::invalid_argument("linear_cross_entropy: h and head do not fit together");
  const std::int64_t step = chunk_rows(rows, vocab, h.dtype());
  const ArenaScope scope(ctx.arena);
  const Tensor buffer = ctx.arena.tensor(h.dtype(), {h.trials(), step, vocab});
  for (std::int64_t first = 0; first < rows; first += step) {
    const std::int64_t count = std::min(step, rows - first);
    const Tensor logits = Tensor(buffer.data(), h.dtype(), {h.trials(), count, vocab}, h.device());
    const Tensor part = rows_of(h, first, count, d);
    cuda::linear_forward(ctx, part, head, logits);
    body(first, count, part, logits);
  }
}

void train_rows(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets, double scale,
                const Tensor& loss, const Tensor& dh, const Tensor& dhead) {
  for_chunks(ctx, h, head, [&](std::int64_t first, std::int64_t count, const Tensor& part, const Tensor& logits) {
    softmax_loss_rows(ctx, logits, rows_of(targets, first, count, 0), scale, rows_of(loss, first, count, 0));
    cuda::linear_backward_input(ctx, logits, head, rows_of(dh, first, count, h.dim(-1)), false);
    accumulate_weight_gradient(ctx, logits, part, dhead);
  });
}

void evaluate_rows(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets, const Tensor& loss,
                   const Tensor& predicted) {
  for_chunks(ctx, h, head, [&](std::int64_t first, std::int64_t count, const Tensor& /*part*/, const Tensor& logits) {
    argmax_loss_rows(ctx, logits, rows_of(targets, first, count, 0), rows_of(loss, first, count, 0),
                     rows_of(predicted, first, count, 0));
  });
}

// Whether gathering saves more than it costs. A function of shapes: a trial's bits do not depend on how many targets
// there are.
bool few(const Tensor& targets, std::int64_t most_targets) {
  if (most_targets < 0) throw std::invalid_argument("linear_cross_entropy: most_targets should be 0 or more");
  return most_targets > 0 && 2 * most_targets <= targets.dim(-1);
}

}  // namespace

void linear_cross_entropy_train(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets, double scale,
                                const Tensor& loss, const Tensor& dh, const Tensor& dhead, std::int64_t most_targets) {
  if (!few(targets, most_targets)) return train_rows(ctx, h, head, targets, scale, loss, dh, dhead);
  const ArenaScope scope(ctx.arena);
  const std::int64_t P = h.trials(), rows = targets.dim(1) * most_targets, d = h.dim(-1);
  const Tensor kept = ctx.arena.tensor(h.dtype(), {P, rows, d}), dkept = ctx.arena.tensor(h.dtype(), {P, rows, d});
  const Tensor kept_loss = ctx.arena.tensor(DType::f32, {P, rows});
  const TargetRows found = find_target_rows(ctx, targets, most_targets);
  take_rows(ctx, h, found.position, kept);
  train_rows(ctx, kept, head, found.target, scale, kept_loss, dkept, dhead);
  take_rows(ctx, dkept, found.place, dh);
  spread_losses(ctx, found.place, kept_loss, {}, loss, {});
}

void linear_cross_entropy_eval(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets,
                               const Tensor& loss, const Tensor& predicted, std::int64_t most_targets) {
  if (!few(targets, most_targets)) return evaluate_rows(ctx, h, head, targets, loss, predicted);
  const ArenaScope scope(ctx.arena);
  const std::int64_t P = h.trials(), rows = targets.dim(1) * most_targets;
  const Tensor kept = ctx.arena.tensor(h.dtype(), {P, rows, h.dim(-1)});
  const Tensor kept_loss = ctx.arena.tensor(DType::f32, {P, rows});
  const Tensor kept_predicted = ctx.arena.tensor(DType::i32, {P, rows});
  const TargetRows found = find_target_rows(ctx, targets, most_targets);
  take_rows(ctx, h, found.position, kept);
  evaluate_rows(ctx, kept, head, found.target, kept_loss, kept_predicted);
  spread_losses(ctx, found.place, kept_loss, kept_predicted, loss, predicted);
}

}  // namespace hylas::kernels::cuda
