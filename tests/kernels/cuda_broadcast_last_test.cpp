// broadcast_last on the GPU: in f32 the CPU's bits, in bf16 their rounding; trials together and alone, a trial's NaN
// kept to itself.
#include "kernels/broadcast_last.hpp"

#include <stdexcept>

#include "kernels/backends.hpp"
#include "tests/kernels/cuda_dense_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;

namespace {

struct BroadcastShape {
  std::int64_t trials, b, length, d;
};

// The CPU's results in f32, as numbers.
std::array<Trials, 2> on_cpu(const BroadcastShape& s, const Trials& xs, const Trials& codes, const Trials& dzs) {
  Context ctx;
  const Memory<float> x({s.trials, s.b, s.length, s.d}, 0, xs, 0), dz({s.trials, s.b, s.length, s.d}, 0, dzs, 0);
  const Memory<float> position({1, s.length, s.d}, 0, codes, 0);
  const Memory<float> z({s.trials, s.b, s.length, s.d}, 0), dx({s.trials, s.b, s.length, s.d}, 0);
  broadcast_last_forward(ctx, x, position, z);
  broadcast_last_backward(ctx, dz, dx);
  std::array<Trials, 2> result;
  for (std::int64_t p = 0; p < s.trials; ++p) {
    const auto zs = z.values(p), dxs = dx.values(p);
    result[0].emplace_back(zs.begin(), zs.end());
    result[1].emplace_back(dxs.begin(), dxs.end());
  }
  return result;
}

void check_broadcast(Gpu& gpu, DType t, const std::vector<BroadcastShape>& shapes) {
  Random random(63);
  for (const BroadcastShape& s : shapes) {
    CAPTURE(s.trials, s.b, s.length, s.d, static_cast<int>(t));
    const std::int64_t n = s.b * s.length * s.d;
    Trials xs = as_seen(t, random.trials(s.trials, n)), dzs = as_seen(t, random.trials(s.trials, n));
    const Trials codes = random.trials(1, s.length * s.d);
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const DeviceTensor x(t, {p, s.b, s.length, s.d}, xs, first, gap), dz(t, {p, s.b, s.length, s.d}, dzs, first, gap);
      const DeviceTensor position(DType::f32, {1, s.length, s.d}, codes, 0, gap);
      const DeviceTensor z(t, {p, s.b, s.length, s.d}, gap), dx(t, {p, s.b, s.length, s.d}, gap);
      cuda::broadcast_last_forward(gpu.ctx, x, position, z);
      cuda::broadcast_last_backward(gpu.ctx, dz, dx);
      for (const auto* m : {&z, &dx}) m->check_fences();
      return std::array{z.all(), dx.all()};
    };
    const auto all = run(0, s.trials, 64);
    const auto want = on_cpu(s, xs, codes, dzs);
    for (std::size_t p = 0; p < at(s.trials); ++p) {
      const auto alone = run(p, 1, p % 2 == 0 ? 128 : 1);  // an odd gap: packets of one element
      for (std::size_t i = 0; i < all.size(); ++i) {
        CHECK(all[i][p] == as_seen(t, want[i][p]));
        CHECK(same_bits(all[i][p], alone[i][0]));
      }
    }
    if (s.trials != 3) continue;
    spoil(xs);
    spoil(dzs);
    check_neighbours(all, run(0, s.trials, 64));
  }
}

}  // namespace

TEST_CASE("broadcast_last on the GPU has the CPU's bits, rounded in bf16", "[gpu][broadcast_last][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_broadcast(gpu, both(),
                  {{1, 1, 1, 1}, {3, 2, 7, 5}, {32, 1, 3, 2}, {3, 3, 65, 33}, {3, 2, 8, 16}, {32, 3, 9, 8}});
}

TEST_CASE("broadcast_last on the GPU has the CPU's bits at larger sizes", "[gpu][broadcast_last][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_broadcast(gpu, both(), {{3, 128, 32, 128}, {32, 16, 64, 128}, {1, 128, 256, 256}, {3, 1, 1025, 300}});
}

TEST_CASE("broadcast_last on the GPU refuses wrong tensors", "[gpu][broadcast_last][errors]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DeviceTensor x(DType::f32, {2, 3, 4, 5}), z(DType::f32, {2, 3, 4, 5}), position(DType::f32, {1, 4, 5}),
      short_codes(DType::f32, {1, 3, 5}), narrow(DType::f32, {2, 3, 4, 4}), half(DType::bf16, {2, 3, 4, 5}),
      half_codes(DType::bf16, {1, 4, 5});
  CHECK_NOTHROW(cuda::broadcast_last_forward(gpu.ctx, x, position, z));
  CHECK_THROWS_AS(cuda::broadcast_last_forward(gpu.ctx, x, short_codes, z), std::invalid_argument);
  CHECK_THROWS_AS(cuda::broadcast_last_forward(gpu.ctx, x, half_codes, z), std::invalid_argument);
  CHECK_THROWS_AS(cuda::broadcast_last_forward(gpu.ctx, x, position, narrow), std::invalid_argument);
  CHECK_THROWS_AS(cuda::broadcast_last_forward(gpu.ctx, x, position, half), std::invalid_argument);
  CHECK_THROWS_AS(cuda::broadcast_last_forward(gpu.ctx, x, position, x), std::invalid_argument);
  CHECK_THROWS_AS(cuda::broadcast_last_backward(gpu.ctx, x, narrow), std::invalid_argument);
  CHECK_THROWS_AS(cuda::broadcast_last_backward(gpu.ctx, half, x), std::invalid_argument);
}
