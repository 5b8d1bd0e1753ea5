// CUDA: linear (kernels/linear.hpp) on batched cuBLASLt products, one batch entry a trial.
#include "kernels/cuda/linear.hpp"

#include <stdexcept>
#include <string>

#include "kernels/backends.hpp"
#include "kernels/cuda/gemm.hpp"
#include "kernels/cuda/runtime.hpp"

namespace hylas::kernels::cuda {
namespace {

constexpr std::int64_t kTile = 128;         // of an output tile of the products cuBLASLt chooses
constexpr std::int64_t kTilesWanted = 128;  // about one for each multiprocessor of a large GPU
constexpr std::int64_t kFewestRows = 2048;  // of a chunk: below, writing partial sums costs more than it gains

void require(bool holds, const char* op, const std::string& what) {
  if (!holds) throw std::invalid_argument(std::string(op) + ": " + what);
}

// y = (c +) x w^T
void forward(Context& ctx, const char* op, const Tensor& x, const Tensor& w, const Tensor* c, const Tensor& y) {
  const std::int64_t rows = x.trial_rows(), in = x.dim(-1), out = w.dim(1);
  require(w.dim(2) == in && y.dim(-1) == out && y.trial_rows() == rows && y.trials() == x.trials() &&
              x.dtype() == w.dtype() && x.dtype() == y.dtype(),
          op, "x, w and y do not fit together");
  Product p{.m = rows, .n = out, .k = in, .batch = x.trials()};
  p.a = x.data(), p.lda = in, p.stride_a = x.trial_stride();
  p.b = w.data(), p.ldb = in, p.stride_b = w.trial_stride(), p.b_transposed = true;
  p.d = y.data(), p.ldd = out, p.stride_d = y.trial_stride();
  if (c != nullptr) p.c = c->data(), p.ldc = out, p.stride_c = c->trial_stride();
  p.in = p.out = x.dtype();
  ctx.gpu->gemm().run(ctx, p);
}

}  // namespace

void linear_forward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y) {
  forward(ctx, "linear_forward", x, w, nullptr, y);
}

void linear_forward_add(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& residual, const Tensor& y) {
  forward(ctx, "linear_forward_add", x, w, &residual, y);
}

void linear_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, const Tensor& dx, bool accumulate) {
  const std::int64_t rows = dy.trial_rows(), out = dy.dim(-1), in = w.dim(2);
  require(w.dim(1) == out && dx.dim(-1) == in && dx.trial_rows() == rows && dx.trials() == dy.trials() &&
              dy.dtype() == w.dtype() && dx.dtype() == dy.dtype(),
          "linear_backward_input", "dy, w and dx do not fit together");
  Product p{.m = rows, .n = in, .k = out, .batch = dy.trials()};
  p.a = dy.data(), p.lda = out, p.stride_a = dy.trial_stride();
  p.b = w.data(), p.ldb = in, p.stride_b = w.trial_stride();
  p.d = dx.data(), p.ldd = in, p.stride_d = dx.trial_stride();
  if (accumulate) p.c = dx.data(), p.ldc = in, p.stride_c = dx.trial_stride();
  p.in = p.out = dy.dtype();
  ctx.gpu->gemm().run(ctx, p);
}

void linear_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& dw) {
  accumulate_weight_gradient(ctx, dy, x, dw);
}

void accumulate_weight_gradient(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& dw) {
  const std::int64_t trials = dy.trials(), rows = dy.trial_rows(), out = dy.dim(-1), in = x.dim(-1);
  require(x.trial_rows() == rows && x.trials() == trials && dw.dim(1) == out && dw.dim(2) == in &&
              dy.dtype() == x.dtype() && dw.dtype() == DType::f32,
          "linear_backward_weight", "dy, x and dw do not fit together");
  const std::int64_t tiles = ((out + kTile - 1) / kTile) * ((in + kTile - 1) / kTile);
  const bool end_to_end = dy.trial_stride() == rows * out && x.trial_stride() == rows * in;
  std::int64_t chunks = 1;
  while (end_to_end && out * in % 4 == 0 && tiles * chunks * 2 <= kTilesWanted && rows % (chunks * 2) == 0 &&
         rows / (chunks * 2) >= kFewestRows) {
    chunks *= 2;
  }
  Product p{.m = out, .n = in, .k = rows / chunks, .batch = trials * chunks};
  p.a = dy.data(), p.lda = out, p.a_transposed = true;
  p.b = x.data(), p.ldb = in;
  p.in = dy.dtype(), p.out = DType::f32, p.pin_batch = chunks;
  if (chunks == 1) {
    p.stride_a = dy.trial_stride(), p.stride_b = x.trial_stride();
    p.c = p.d = dw.data();
    p.ldc = p.ldd = in;
    p.stride_c = p.stride_d = dw.trial_stride();
    ctx.gpu->gemm().run(ctx, p);
    return;
  }
  const ArenaScope scope(ctx.arena);
  const Tensor parts = ctx.arena.tensor(DType::f32, {trials, chunks, out * in});
  p.stride_a = p.k * out, p.stride_b = p.k * in;
  p.d = parts.data(), p.ldd = in, p.stride_d = out * in;
  ctx.gpu->gemm().run(ctx, p);
  add_parts(ctx, parts, dw);
}

}  // namespace hylas::kernels::cuda
