// linear, add_rmsnorm and swiglu against the oracle and finite differences; results of trials together and alone.
#include <array>

#include "kernels/add_rmsnorm.hpp"
#include "kernels/linear.hpp"
#include "kernels/swiglu.hpp"
#include "tests/kernels/support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

Vector sum(const Vector& a, const Vector& b) {
  Vector c = a;
  for (std::size_t i = 0; i < c.size(); ++i) c[i] += b[i];
  return c;
}

}  // namespace

TEMPLATE_TEST_CASE("linear and its gradients agree with the oracle, trials together and alone", "[linear]", float,
                   double) {
  using T = TestType;
  const std::uint64_t seed = 21;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  Context ctx = context(baseline);
  // rows = B * T, in, out: less than a vector, not a multiple of a tile, deeper than a packed panel
  for (const auto& [b, t, in, out] : std::vector<std::array<std::int64_t, 4>>{
           {1, 1, 1, 1}, {1, 7, 3, 5}, {2, 65, 33, 17}, {1, 13, 300, 40}, {3, 171, 48, 96}, {1, 30, 64, 515}}) {
    CAPTURE(b, t, in, out);
    const std::int64_t rows = b * t;
    const std::int64_t trials = 3;
    const Trials xs = random.trials(trials, rows * in);
    const Trials ws = random.trials(trials, out * in);
    const Trials dys = random.trials(trials, rows * out);
    const Trials befores = random.trials(trials, rows * std::max(in, out));
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const Memory<T> x({p, b, t, in}, gap, xs, first), w({p, out, in}, gap, ws, first),
          dy({p, b, t, out}, gap, dys, first);
      const Memory<T> y({p, b, t, out}, gap), y_add({p, b, t, out}, gap, dys, first);
      const Memory<T> dx({p, b, t, in}, gap), dx_add({p, b, t, in}, gap, xs, first), dw({p, out, in}, gap, ws, first);
      linear_forward(ctx, x, w, y);
      linear_forward_add(ctx, x, w, y_add, y_add);
      linear_backward_input(ctx, dy, w, dx, false);
      linear_backward_input(ctx, dy, w, dx_add, true);
      linear_backward_weight(ctx, dy, x, dw);
      for (const auto* m : {&y, &y_add, &dx, &dx_add, &dw}) m->check_fences();
      return std::array{y.all(), y_add.all(), dx.all(), dx_add.all(), dw.all()};
    };
    const auto all = run(0, trials, 3);
    for (std::size_t p = 0; p < 3; ++p) {
      const Vector y = oracle::linear(xs[p], ws[p], rows, in, out);
      const Vector dx = oracle::linear_backward_input(dys[p], ws[p], rows, in, out);
      const Vector dw = oracle::linear_backward_weight(dys[p], xs[p], rows, in, out);
      CHECK(error(all[0][p], y) < tolerance<T>);
      CHECK(error(all[1][p], sum(y, dys[p])) < tolerance<T>);
      CHECK(error(all[2][p], dx) < tolerance<T>);
      CHECK(error(all[3][p], sum(dx, xs[p])) < tolerance<T>);
      CHECK(error(all[4][p], sum(dw, ws[p])) < tolerance<T>);
      const auto alone = run(p, 1, 1);
      for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
    }
  }
}

TEST_CASE("a row of linear's output does not depend on how many rows there are", "[linear]") {
  // What makes batch chunks of any size give the same activations.
  Random random(22);
  Context ctx;
  const Trials xs = random.trials(1, 200 * 64);
  const Trials ws = random.trials(1, 96 * 64);
  const Memory<float> x({1, 200, 64}, 0, xs, 0), w({1, 96, 64}, 0, ws, 0), y({1, 200, 96}, 0);
  linear_forward(ctx, x, w, y);
  for (std::int64_t rows : {1, 5, 37, 199}) {
    const Memory<float> part({1, rows, 96}, 0);
    linear_forward(ctx, Tensor::of(x.tensor().trial<float>(), {1, rows, 64}), w, part);
    auto expected = y.values(0);
    expected.resize(static_cast<std::size_t>(rows * 96));
    CHECK(same_bits(part.values(0), expected));
  }
}

TEST_CASE("linear's gradients are those of finite differences", "[linear]") {
  Random random(23);
  Context ctx;
  const Vector dy = random.normal(11 * 9);
  const Vector x0 = random.normal(11 * 20);
  const Vector w0 = random.normal(9 * 20);
  const auto loss = [&](const Vector& x, const Vector& w) {
    const Memory<double> mx({1, 11, 20}, 0, {x}, 0), mw({1, 9, 20}, 0, {w}, 0), y({1, 11, 9}, 0);
    linear_forward(ctx, mx, mw, y);
    return dot(y.values(0), dy);
  };
  const Memory<double> mx({1, 11, 20}, 0, {x0}, 0), mw({1, 9, 20}, 0, {w0}, 0), mdy({1, 11, 9}, 0, {dy}, 0);
  const Memory<double> dx({1, 11, 20}, 0), dw({1, 9, 20}, 0, {Vector(180)}, 0);
  linear_backward_input(ctx, mdy, mw, dx, false);
  linear_backward_weight(ctx, mdy, mx, dw);
  CHECK(difference_error([&](const Vector& x) { return loss(x, w0); }, x0, dx.values(0), random.normal(220)) < 1e-8);
  CHECK(difference_error([&](const Vector& w) { return loss(x0, w); }, w0, dw.values(0), random.normal(180)) < 1e-8);
}

TEMPLATE_TEST_CASE("add_rmsnorm agrees with the oracle, with and without a branch", "[rmsnorm]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 24;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  const bool with_branch = GENERATE(false, true);
  Context ctx = context(baseline);
  const double eps = 1e-6;
  for (const auto& [b, t, d] :
       std::vector<std::array<std::int64_t, 3>>{{1, 1, 1}, {2, 7, 5}, {3, 65, 33}, {1, 9, 256}}) {
    CAPTURE(b, t, d, with_branch);
    const std::int64_t rows = b * t;
    const Trials xs = random.trials(3, rows * d), branches = random.trials(3, rows * d), weights = random.trials(3, d);
    const Trials dhs = random.trials(3, rows * d), dxs = random.trials(3, rows * d), dweights = random.trials(3, d);
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const Memory<T> x({p, b, t, d}, gap, xs, first), branch({p, b, t, d}, gap, branches, first);
      const Memory<T> weight({p, d}, gap, weights, first), dh({p, b, t, d}, gap, dhs, first);
      const Memory<T> h({p, b, t, d}, gap), inv({p, b, t}, gap), dx({p, b, t, d}, gap, dxs, first);
      const Memory<T> dweight({p, d}, gap, dweights, first);
      add_rmsnorm_forward(ctx, x, with_branch ? branch.tensor() : Tensor(), weight, eps, h, inv);
      add_rmsnorm_backward(ctx, dh, x, weight, inv, dx, dweight);
      for (const auto* m : {&x, &h, &inv, &dx, &dweight}) m->check_fences();
      return std::array{x.all(), h.all(), inv.all(), dx.all(), dweight.all()};
    };
    const auto all = run(0, 3, 3);
    for (std::size_t p = 0; p < 3; ++p) {
      const Vector x = with_branch ? sum(xs[p], branches[p]) : xs[p];
      const auto norm = oracle::rmsnorm(x, weights[p], eps);
      const auto gradient = oracle::rmsnorm_backward(dhs[p], x, weights[p], eps);
      CHECK(error(all[0][p], x) < tolerance<T>);
      CHECK(error(all[1][p], norm.h) < tolerance<T>);
      CHECK(error(all[2][p], norm.inv_rms) < tolerance<T>);
      CHECK(error(all[3][p], sum(gradient.dx, dxs[p])) < tolerance<T>);
      CHECK(error(all[4][p], sum(gradient.dweight, dweights[p])) < tolerance<T>);
      const auto alone = run(p, 1, 1);
      for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
    }
  }
}

TEST_CASE("add_rmsnorm's gradients are those of finite differences", "[rmsnorm]") {
  Random random(25);
  Context ctx;
  const Vector dh0 = random.normal(6 * 21), x0 = random.normal(6 * 21), w0 = random.normal(21);
  const auto loss = [&](const Vector& x, const Vector& w) {
    const Memory<double> mx({1, 6, 21}, 0, {x}, 0), mw({1, 21}, 0, {w}, 0), h({1, 6, 21}, 0), inv({1, 6}, 0);
    add_rmsnorm_forward(ctx, mx, Tensor(), mw, 0.1, h, inv);
    return dot(h.values(0), dh0);
  };
  const Memory<double> x({1, 6, 21}, 0, {x0}, 0), w({1, 21}, 0, {w0}, 0), h({1, 6, 21}, 0), inv({1, 6}, 0);
  const Memory<double> dh({1, 6, 21}, 0, {dh0}, 0), dx({1, 6, 21}, 0, {Vector(126)}, 0),
      dw({1, 21}, 0, {Vector(21)}, 0);
  add_rmsnorm_forward(ctx, x, Tensor(), w, 0.1, h, inv);
  add_rmsnorm_backward(ctx, dh, x, w, inv, dx, dw);
  CHECK(difference_error([&](const Vector& v) { return loss(v, w0); }, x0, dx.values(0), random.normal(126)) < 1e-8);
  CHECK(difference_error([&](const Vector& v) { return loss(x0, v); }, w0, dw.values(0), random.normal(21)) < 1e-8);
}

TEMPLATE_TEST_CASE("swiglu agrees with the oracle, also far out", "[swiglu]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 26;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  Context ctx = context(baseline);
  for (const auto& [b, t, f] :
       std::vector<std::array<std::int64_t, 3>>{{1, 1, 1}, {2, 7, 5}, {1, 65, 33}, {1, 9, 192}}) {
    CAPTURE(b, t, f);
    Trials gates = random.trials(3, b * t * 2 * f, 3);
    if (f > 1) {
      gates[1][0] = 100;  // the gate saturates, and closes
      gates[2][0] = -100;
    }
    const Trials douts = random.trials(3, b * t * f);
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const Memory<T> gate_up({p, b, t, 2 * f}, gap, gates, first), dout({p, b, t, f}, gap, douts, first);
      const Memory<T> out({p, b, t, f}, gap), dgate_up({p, b, t, 2 * f}, gap);
      swiglu_forward(ctx, gate_up, out);
      swiglu_backward(ctx, dout, gate_up, dgate_up);
      out.check_fences();
      dgate_up.check_fences();
      return std::array{out.all(), dgate_up.all()};
    };
    const auto all = run(0, 3, 3);
    for (std::size_t p = 0; p < 3; ++p) {
      CHECK(error(all[0][p], oracle::swiglu(gates[p], f)) < tolerance<T>);
      CHECK(error(all[1][p], oracle::swiglu_backward(douts[p], gates[p], f)) < tolerance<T>);
      const auto alone = run(p, 1, 1);
      for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
    }
  }
}

TEST_CASE("swiglu's gradient is that of finite differences", "[swiglu]") {
  Random random(27);
  Context ctx;
  const Vector x0 = random.normal(5 * 22), dout0 = random.normal(5 * 11);
  const auto loss = [&](const Vector& x) {
    const Memory<double> gate_up({1, 5, 22}, 0, {x}, 0), out({1, 5, 11}, 0);
    swiglu_forward(ctx, gate_up, out);
    return dot(out.values(0), dout0);
  };
  const Memory<double> gate_up({1, 5, 22}, 0, {x0}, 0), dout({1, 5, 11}, 0, {dout0}, 0), d({1, 5, 22}, 0);
  swiglu_backward(ctx, dout, gate_up, d);
  CHECK(difference_error(loss, x0, d.values(0), random.normal(110)) < 1e-8);
}
