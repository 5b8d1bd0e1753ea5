// The recurrence alone on a GPU, bf16 with the delta rule: milliseconds forward and backward, nanoseconds a token and
// layer.
//   build/tests/test_kernels "[.recurrence_bench]"
#include <algorithm>
#include <cstdio>
#include <vector>

#include "kernels/recurrence.hpp"
#include "tests/kernels/cuda_bench.hpp"
#include "tests/kernels/cuda_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;

namespace {

// n numbers, a million different ones, each what `value` makes of a normal number.
template <class F>
Vector noise(Random& random, std::int64_t n, const F& value) {
  Vector few = random.normal(1 << 20);
  for (double& x : few) x = value(x);
  Vector many(at(n));
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = few[i % few.size()];
  return many;
}

struct Shape {
  std::int64_t trials, batch, length, heads, dim;
};

void measure(Gpu& gpu, Random& random, const char* name, const Shape& s, const Recurrence& shape, bool gates) {
  const std::int64_t width = 2 * shape.groups * s.dim + shape.value_width(), tokens = s.batch * s.length;
  const auto trials = [&](std::int64_t n, const auto& value) { return Trials(at(s.trials), noise(random, n, value)); };
  const double unit = 1 / std::sqrt(static_cast<double>(s.dim));  // keys of norm 1
  const DeviceTensor qkv(DType::bf16, {s.trials, s.batch, s.length, width},
                         trials(tokens * width, [&](double x) { return unit * x; }));
  const DeviceTensor dout(DType::bf16, {s.trials, s.batch, s.length, shape.value_width()},
                          trials(tokens * shape.value_width(), [](double x) { return x; }));
  const DeviceTensor g(DType::f32, {s.trials, s.batch, s.length, s.heads},
                       trials(tokens * s.heads, [](double x) { return -.1 * std::abs(x); }));
  const DeviceTensor constant(DType::f32, {1, s.heads}, Trials{Vector(at(s.heads), -.01)});
  const DeviceTensor beta(DType::f32, {s.trials, s.batch, s.length, s.heads},
                          trials(tokens * s.heads, [](double x) { return 1 / (1 + std::exp(x)); }));
  const DeviceTensor out(DType::bf16, {s.trials, s.batch, s.length, shape.value_width()});
  const DeviceTensor dqkv(DType::bf16, {s.trials, s.batch, s.length, width});
  const DeviceTensor dg(DType::f32, {s.trials, s.batch, s.length, s.heads});
  const DeviceTensor dbeta(DType::f32, {s.trials, s.batch, s.length, s.heads});
  const RecurrenceInputs in{qkv, gates ? g.tensor() : constant.tensor(), gates ? beta.tensor() : Tensor(), {}};
  const RecurrenceGradients gradients{dqkv, gates ? dg.tensor() : Tensor(), gates ? dbeta.tensor() : Tensor(), {}};
  const ArenaScope scope(gpu.ctx.arena);
  RecurrenceSaved saved;
  const double forward = median_ms(gpu, [&] {
    const ArenaScope inner(gpu.ctx.arena);
    RecurrenceSaved dropped;
    recurrence_forward(gpu.ctx, shape, in, out, dropped);
  });
  recurrence_forward(gpu.ctx, shape, in, out, saved);
  const double backward = median_ms(gpu, [&] { recurrence_backward(gpu.ctx, shape, in, saved, dout, gradients); });
  std::printf("%-9s P %2ld B %ld T %5ld H %2ld d %3ld: forward %.3f backward %.3f ms, %.1f ns/token\n", name,
              static_cast<long>(s.trials), static_cast<long>(s.batch), static_cast<long>(s.length),
              static_cast<long>(s.heads), static_cast<long>(s.dim), forward, backward,
              (forward + backward) * 1e6 / static_cast<double>(s.trials * tokens));
}

}  // namespace

TEST_CASE("speed of the recurrence on the GPU", "[.recurrence_bench]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(1);
  for (const Shape& s : {Shape{1, 8, 2048, 4, 64}, Shape{1, 8, 4096, 8, 128}, Shape{1, 1, 32768, 4, 128},
                         Shape{16, 1, 2048, 4, 128}, Shape{16, 8, 512, 4, 32}}) {
    const std::int64_t key_width = s.heads * s.dim;
    const double scale = 1 / std::sqrt(static_cast<double>(s.dim));
    const Recurrence rule{s.heads, s.heads, s.dim, s.dim, 0, key_width, 2 * key_width, scale, true, 64};
    Recurrence plain = rule, grouped = rule;
    plain.delta = grouped.delta = false;
    grouped.groups = 1, grouped.k_at = s.dim, grouped.v_at = 2 * s.dim;
    measure(gpu, random, "gdn", s, rule, true);
    measure(gpu, random, "mamba2", s, grouped, true);
    measure(gpu, random, "lightning", s, plain, false);
  }
}
