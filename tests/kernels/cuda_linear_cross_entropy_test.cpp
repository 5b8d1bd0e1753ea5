// The head and the loss on the GPU, on all positions and on those with a target alone. fp32 against the CPU's operator,
// bf16 against the oracle on rounded inputs; odd sizes, padded trials, a trial's bits together and alone, nothing
// written outside, a trial's NaN kept to itself, the memory that is planned.
#include <algorithm>
#include <cmath>

#include "kernels/linear_cross_entropy.hpp"
#include "tests/kernels/cuda_linear_support.hpp"

namespace hylas::test {
namespace {

using namespace products;

// Leaves n targets of each sequence at random positions; n < 0: 0 to -1 - n of them.
void keep_targets(Random& random, Ints& target, std::int64_t length, std::int64_t n) {
  for (std::int64_t first = 0; first < std::ssize(target); first += length) {
    std::vector<std::pair<std::int32_t, std::int64_t>> order;
    for (std::int64_t t = 0; t < length; ++t) order.emplace_back(random.integers(1, 0, 1 << 30)[0], first + t);
    std::sort(order.begin(), order.end());
    const std::int64_t kept = n >= 0 ? n : random.integers(1, 0, static_cast<int>(-1 - n))[0];
    for (std::int64_t i = 0; i < length; ++i) {
      std::int32_t& here = target[at(order[at(i)].second)];
      here = i < kept ? std::max(here, 0) : -1;
    }
  }
}

// most: targets that a sequence has at most; 0: any number, and nothing is said about it.
void test_cross_entropy(Gpu& gpu, DType t, const Size& s, std::int64_t most = 0) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out, most);
  Random random(14);
  const std::int64_t rows = s.rows(), d = s.in, V = s.out;
  const double scale = 1 / static_cast<double>(rows);
  Trials hs = as_seen(t, random.trials(s.trials, rows * d));
  const Trials heads = as_seen(t, random.trials(s.trials, V * d, 2 / std::sqrt(static_cast<double>(d))));
  const Trials dheads = random.trials(s.trials, V * d, 0.01);
  std::vector<Ints> targets;
  for (std::int64_t p = 0; p < s.trials; ++p) {
    Ints target = random.integers(rows, 0, static_cast<int>(V) - 1);
    for (std::int64_t r = p % 2; r < rows; r += 5) target[at(r)] = -1;  // not scored; all there is where rows is 1
    if (most > 0) keep_targets(random, target, s.length, p == 0 ? most : -1 - most);
    targets.push_back(std::move(target));
  }
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto h = side.in(t, {p, s.batch, s.length, d}, hs, first), head = side.in(t, {p, V, d}, heads, first);
    const auto target = side.in({p, s.batch, s.length}, targets, first);
    const auto loss = side.out(DType::f32, {p, s.batch, s.length}), eval = side.out(DType::f32, {p, s.batch, s.length});
    const auto dh = side.out(t, {p, s.batch, s.length, d});
    const auto dhead = side.in(DType::f32, {p, V, d}, dheads, first);
    const auto predicted = side.out({p, s.batch, s.length});
    kernels::linear_cross_entropy_train(side.ctx, h, head, target, scale, loss, dh, dhead, most);
    kernels::linear_cross_entropy_eval(side.ctx, h, head, target, eval, predicted, most);
    return Results{read(loss), read(eval), read(dh), read(dhead), read(predicted)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  const double limit = t == DType::f32 ? kF32 : kThrough;
  for (std::size_t p = 0; p < at(s.trials); ++p) {
    const auto want = oracle::linear_cross_entropy(hs[p], heads[p], targets[p], d, V, scale);
    const Vector logits = oracle::linear(hs[p], heads[p], rows, d, V);
    CAPTURE(p);
    CHECK(error(got[0][p], want.loss) < limit);
    CHECK(error(got[1][p], want.loss) < limit);
    CHECK(error(got[2][p], want.dh) < limit);
    CHECK(error(got[3][p], sum(want.dhead, dheads[p])) < limit);
    bool right = true;
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto predicted = static_cast<std::int32_t>(got[4][p][at(r)]), best = want.predicted[at(r)];
      if (predicted == best) continue;
      // Another token only where its logit is equal but for rounding.
      right = right && best >= 0 && predicted >= 0 && predicted < V &&
              logits[at(r * V + predicted)] > logits[at(r * V + best)] - limit * std::abs(logits[at(r * V + best)]);
    }
    CHECK(right);
  }
  if (t == DType::f32) {
    OnCpu cpu;
    const Results want = run(cpu, 0, s.trials);
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t p = 0; p < at(s.trials); ++p) CHECK(error(got[i][p], want[i][p]) < kF32);
    }
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(hs);
  check_neighbours(side, got, s.trials, run);
}

}  // namespace

TEST_CASE("linear_cross_entropy on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_cross_entropy(gpu, t, s);
}

// The head on the rows with a target alone; 2 * 4 > 7 and 2 * 6 > 11 are above what it is done for.
TEST_CASE("linear_cross_entropy on the GPU agrees where few positions have a target", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  test_cross_entropy(gpu, t, {1, 1, 2, 32, 40}, 1);
  for (const std::int64_t most : {1, 3, 4}) test_cross_entropy(gpu, t, {3, 2, 7, 40, 33}, most);
  for (const std::int64_t most : {5, 6}) test_cross_entropy(gpu, t, {3, 3, 11, 96, 64}, most);
  test_cross_entropy(gpu, t, {1, 2, 20, 33, 17}, 9);
  test_cross_entropy(gpu, t, {32, 2, 7, 32, 64}, 2);
}

TEST_CASE("linear_cross_entropy on the GPU agrees at larger sizes where few positions have a target",
          "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  test_cross_entropy(gpu, t, {3, 3, 171, 64, 512}, 1);
  test_cross_entropy(gpu, t, {1, 2, 513, 40, 33}, 256);
  test_cross_entropy(gpu, t, {32, 5, 64, 64, 128}, 4);
  test_cross_entropy(gpu, t, {3, 9, 65, 128, 384}, 31);
}

TEST_CASE("linear_cross_entropy on the GPU plans the memory it takes, less where few positions have a target",
          "[gpu][linear]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const std::int64_t P = 3, B = 4, T = 64, d = 32, V = 256;
  const DeviceTensor h(DType::f32, {P, B, T, d}, Random(1).trials(P, B * T * d)),
      head(DType::f32, {P, V, d}, Random(2).trials(P, V * d)),
      dhead(DType::f32, {P, V, d}, Trials(P, Vector(at(V * d))));
  const DeviceTensor targets(DType::i32, {P, B, T}, std::vector<Ints>(P, Ints(at(B * T), -1)));
  const DeviceTensor loss(DType::f32, {P, B, T}), dh(DType::f32, {P, B, T, d});
  const auto bytes = [&](bool planning, std::int64_t most) {
    Context ctx;
    ctx.device = gpu.ctx.device;
    ctx.gpu = gpu.ctx.gpu;
    ctx.planning = planning;
    ctx.arena = planning ? kernels::Arena::planner(ctx.device) : kernels::Arena(ctx.device);
    kernels::linear_cross_entropy_train(ctx, h, head, targets, 1, loss, dh, dhead, most);
    gpu.runtime.synchronize();
    return ctx.arena.peak();
  };
  for (const std::int64_t most : {0, 4, 32, 33}) CHECK(bytes(true, most) == bytes(false, most));
  CHECK(4 * bytes(true, 4) < bytes(true, 0));
  CHECK(bytes(true, 33) == bytes(true, 0));
}

TEST_CASE("linear_cross_entropy on the GPU agrees at larger sizes", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_cross_entropy(gpu, t, s);
}

}  // namespace hylas::test
