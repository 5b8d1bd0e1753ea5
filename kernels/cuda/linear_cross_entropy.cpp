// CUDA: linear_cross_entropy (kernels/linear_cross_entropy.hpp). The rows of a batch are cut into fixed chunks; a
// chunk's logits are computed, turned into their gradient in place, and used up before the next chunk takes their
// memory.
#include "kernels/linear_cross_entropy.hpp"

#include <algorithm>
#include <stdexcept>

#include "kernels/backends.hpp"
#include "kernels/cuda/cross_entropy.hpp"
#include "kernels/cuda/linear.hpp"

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

}  // namespace

void linear_cross_entropy_train(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets, double scale,
                                const Tensor& loss, const Tensor& dh, const Tensor& dhead) {
  for_chunks(ctx, h, head, [&](std::int64_t first, std::int64_t count, const Tensor& part, const Tensor& logits) {
    softmax_loss_rows(ctx, logits, rows_of(targets, first, count, 0), scale, rows_of(loss, first, count, 0));
    cuda::linear_backward_input(ctx, logits, head, rows_of(dh, first, count, h.dim(-1)), false);
    accumulate_weight_gradient(ctx, logits, part, dhead);
  });
}

void linear_cross_entropy_eval(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets,
                               const Tensor& loss, const Tensor& predicted) {
  for_chunks(ctx, h, head, [&](std::int64_t first, std::int64_t count, const Tensor& /*part*/, const Tensor& logits) {
    argmax_loss_rows(ctx, logits, rows_of(targets, first, count, 0), rows_of(loss, first, count, 0),
                     rows_of(predicted, first, count, 0));
  });
}

}  // namespace hylas::kernels::cuda
