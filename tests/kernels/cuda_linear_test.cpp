// The products on the GPU through the public operators: linear, norm_linear, feed_forward. fp32 against the CPU's
// operators, bf16 against the oracle on rounded inputs; odd sizes, padded trials, a trial's bits
// together and alone, nothing written outside, a trial's NaN kept to itself.
#include <algorithm>
#include <cmath>

#include "kernels/feed_forward.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm_linear.hpp"
#include "tests/kernels/cuda_linear_support.hpp"

namespace hylas::test {
namespace {

using namespace products;

// ---- linear

void test_linear(Gpu& gpu, DType t, const Size& s) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out);
  Random random(11);
  const std::int64_t rows = s.rows();
  const auto seen = [&](std::int64_t n, double sd) { return as_seen(t, random.trials(s.trials, n, sd)); };
  Trials xs = seen(rows * s.in, 1), dys = seen(rows * s.out, 1);
  const Trials ws = seen(s.out * s.in, 1 / std::sqrt(static_cast<double>(s.in)));
  const Trials residuals = seen(rows * s.out, 1), dxs = seen(rows * s.in, 1),
               dws = random.trials(s.trials, s.out * s.in);
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto x = side.in(t, {p, s.batch, s.length, s.in}, xs, first), w = side.in(t, {p, s.out, s.in}, ws, first);
    const auto dy = side.in(t, {p, s.batch, s.length, s.out}, dys, first);
    const auto y = side.out(t, {p, s.batch, s.length, s.out}), added = side.out(t, {p, s.batch, s.length, s.out});
    const auto residual = side.in(t, {p, s.batch, s.length, s.out}, residuals, first);
    const auto dx = side.out(t, {p, s.batch, s.length, s.in});
    const auto dx_sum = side.in(t, {p, s.batch, s.length, s.in}, dxs, first);
    const auto dw = side.in(DType::f32, {p, s.out, s.in}, dws, first);
    kernels::linear_forward(side.ctx, x, w, y);
    kernels::linear_forward_add(side.ctx, x, w, residual, added);
    kernels::linear_forward_add(side.ctx, x, w, residual, residual);  // in place
    kernels::linear_backward_input(side.ctx, dy, w, dx, false);
    kernels::linear_backward_input(side.ctx, dy, w, dx_sum, true);
    kernels::linear_backward_weight(side.ctx, dy, x, dw);
    return Results{read(y), read(added), read(residual), read(dx), read(dx_sum), read(dw)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  if (t == DType::f32) {
    OnCpu cpu;
    check_errors(got, run(cpu, 0, s.trials), std::vector<double>(6, kF32));
  } else {
    Results want(6);
    for (std::size_t p = 0; p < at(s.trials); ++p) {
      want[0].push_back(oracle::linear(xs[p], ws[p], rows, s.in, s.out));
      want[1].push_back(sum(want[0].back(), residuals[p]));
      want[2].push_back(want[1].back());
      want[3].push_back(oracle::linear_backward_input(dys[p], ws[p], rows, s.in, s.out));
      want[4].push_back(sum(want[3].back(), dxs[p]));
      want[5].push_back(sum(oracle::linear_backward_weight(dys[p], xs[p], rows, s.in, s.out), dws[p]));
    }
    const double limit = rows * std::min(s.in, s.out) < 1000 ? kFewRounded : kOnce;  // dw: tensor cores cut sums off
    check_errors(got, want, {limit, limit, limit, limit, limit, rows > 2048 ? 5 * kF32 : kF32});
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(xs);
  spoil(dys);
  check_neighbours(side, got, s.trials, run);
}

// ---- norm_linear

void test_norm_linear(Gpu& gpu, DType t, const Size& s) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out);
  Random random(12);
  const std::int64_t rows = s.rows();
  const auto seen = [&](std::int64_t n, double sd) { return as_seen(t, random.trials(s.trials, n, sd)); };
  Trials xs = seen(rows * s.in, 2);
  const Trials dys = seen(rows * s.out, 1), ws = seen(s.out * s.in, 1 / std::sqrt(static_cast<double>(s.in)));
  const Trials norms = random.trials(s.trials, s.in), dxs = seen(rows * s.in, 1),
               dnorms = random.trials(s.trials, s.in);
  const Trials dws = random.trials(s.trials, s.out * s.in);
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto x = side.in(t, {p, s.batch, s.length, s.in}, xs, first), w = side.in(t, {p, s.out, s.in}, ws, first);
    const auto dy = side.in(t, {p, s.batch, s.length, s.out}, dys, first);
    const auto norm = side.in(DType::f32, {p, s.in}, norms, first),
               dnorm = side.in(DType::f32, {p, s.in}, dnorms, first);
    const auto y = side.out(t, {p, s.batch, s.length, s.out});
    const auto dx = side.in(t, {p, s.batch, s.length, s.in}, dxs, first);
    const auto dw = side.in(DType::f32, {p, s.out, s.in}, dws, first);
    const kernels::ArenaScope scope(side.ctx.arena);
    kernels::NormSaved saved;
    kernels::norm_linear_forward(side.ctx, x, norm, kEps, w, y, saved);
    kernels::norm_linear_backward(side.ctx, dy, x, norm, kEps, w, saved, dx, dnorm, dw);
    return Results{read(y), read(dx), read(dnorm), read(dw)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  if (t == DType::f32) {
    OnCpu cpu;
    check_errors(got, run(cpu, 0, s.trials), std::vector<double>(4, kF32));
  } else {
    Results want(4);
    for (std::size_t p = 0; p < at(s.trials); ++p) {
      const Vector h = oracle::rmsnorm(xs[p], norms[p], kEps).h;
      want[0].push_back(oracle::linear(h, ws[p], rows, s.in, s.out));
      const Vector dh = oracle::linear_backward_input(dys[p], ws[p], rows, s.in, s.out);
      const oracle::NormGradient g = oracle::rmsnorm_backward(dh, xs[p], norms[p], kEps);
      want[1].push_back(sum(g.dx, dxs[p]));
      want[2].push_back(sum(g.dweight, dnorms[p]));
      want[3].push_back(sum(oracle::linear_backward_weight(dys[p], h, rows, s.in, s.out), dws[p]));
    }
    check_errors(got, want, std::vector<double>(4, kThrough));
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(xs);
  check_neighbours(side, got, s.trials, run);
}

// ---- feed_forward: s.out is the width of the hidden layer

void test_feed_forward(Gpu& gpu, DType t, const Size& s) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out);
  Random random(13);
  const std::int64_t rows = s.rows(), d = s.in, f = s.out;
  const auto seen = [&](std::int64_t n, double sd) { return as_seen(t, random.trials(s.trials, n, sd)); };
  Trials xs = seen(rows * d, 2);
  const Trials dys = seen(rows * d, 1), norms = random.trials(s.trials, d);
  const Trials ups = seen(2 * f * d, 1 / std::sqrt(static_cast<double>(d)));
  const Trials downs = seen(d * f, 1 / std::sqrt(static_cast<double>(f)));
  const Trials dnorms = random.trials(s.trials, d), dups = random.trials(s.trials, 2 * f * d),
               ddowns = random.trials(s.trials, d * f);
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto x = side.in(t, {p, s.batch, s.length, d}, xs, first),
               dy = side.in(t, {p, s.batch, s.length, d}, dys, first);
    const auto norm = side.in(DType::f32, {p, d}, norms, first), dnorm = side.in(DType::f32, {p, d}, dnorms, first);
    const auto up = side.in(t, {p, 2 * f, d}, ups, first), dup = side.in(DType::f32, {p, 2 * f, d}, dups, first);
    const auto down = side.in(t, {p, d, f}, downs, first), ddown = side.in(DType::f32, {p, d, f}, ddowns, first);
    const auto y = side.out(t, {p, s.batch, s.length, d}), dx = side.out(t, {p, s.batch, s.length, d});
    const kernels::ArenaScope scope(side.ctx.arena);
    const kernels::FeedForwardWeights weights{norm, up, down};
    const auto saved = kernels::feed_forward_forward(side.ctx, x, weights, kEps, y);
    kernels::feed_forward_backward(side.ctx, x, weights, kEps, saved, dy, dx, {dnorm, dup, ddown});
    (void)kernels::feed_forward_forward(side.ctx, x, weights, kEps, x);  // in place
    return Results{read(y), read(x), read(dx), read(dnorm), read(dup), read(ddown)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  if (t == DType::f32) {
    OnCpu cpu;
    check_errors(got, run(cpu, 0, s.trials), std::vector<double>(6, kF32));
  } else {
    Results want(6);
    for (std::size_t p = 0; p < at(s.trials); ++p) {
      const Vector h = oracle::rmsnorm(xs[p], norms[p], kEps).h;
      const Vector gate_up = oracle::linear(h, ups[p], rows, d, 2 * f), act = oracle::swiglu(gate_up, f);
      want[0].push_back(sum(oracle::linear(act, downs[p], rows, f, d), xs[p]));
      want[1].push_back(want[0].back());
      const Vector dact = oracle::linear_backward_input(dys[p], downs[p], rows, f, d);
      const Vector dgate_up = oracle::swiglu_backward(dact, gate_up, f);
      const Vector dh = oracle::linear_backward_input(dgate_up, ups[p], rows, d, 2 * f);
      const oracle::NormGradient g = oracle::rmsnorm_backward(dh, xs[p], norms[p], kEps);
      want[2].push_back(sum(g.dx, dys[p]));
      want[3].push_back(sum(g.dweight, dnorms[p]));
      want[4].push_back(sum(oracle::linear_backward_weight(dgate_up, h, rows, d, 2 * f), dups[p]));
      want[5].push_back(sum(oracle::linear_backward_weight(dys[p], act, rows, f, d), ddowns[p]));
    }
    check_errors(got, want, std::vector<double>(6, kThrough));
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(xs);
  check_neighbours(side, got, s.trials, run);
}

}  // namespace

TEST_CASE("linear on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_linear(gpu, t, s);
}

TEST_CASE("linear on the GPU agrees at larger sizes, and when it cuts its rows into chunks", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_linear(gpu, t, s);
  test_linear(gpu, t, {3, 16, 1024, 32, 24});
  test_linear(gpu, t, {2, 3, 1365, 40, 33});
}

TEST_CASE("norm_linear on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_norm_linear(gpu, t, s);
}

TEST_CASE("norm_linear on the GPU agrees at larger sizes", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_norm_linear(gpu, t, s);
}

TEST_CASE("feed_forward on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_feed_forward(gpu, t, s);
}

TEST_CASE("feed_forward on the GPU agrees at larger sizes", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_feed_forward(gpu, t, s);
}

}  // namespace hylas::test
