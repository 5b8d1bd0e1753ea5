// decay_gates against the oracle and finite differences: beta of its own (Gated DeltaNet) and the step as beta
// (Mamba-2).
#include <array>
#include <stdexcept>

#include "tests/kernels/recurrent_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

struct GatesCase {
  DecayGates gates;
  std::int64_t width;
};

// As in Gated DeltaNet (betas, then steps; or both of a head side by side) and Mamba-2 (steps at the end).
std::vector<GatesCase> cases(std::int64_t heads) {
  return {{{heads, 40 + heads, 1, false, 40, 1}, 40 + 2 * heads},
          {{heads, 3, 2, false, 2, 2}, 9 + 2 * heads},
          {{heads, 17, 1, true}, 17 + heads}};
}

}  // namespace

TEMPLATE_TEST_CASE("decay_gates agrees with the oracle, trials together and alone", "[decay_gates]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 66;
  CAPTURE(seed);
  Random random(seed);
  Context ctx;
  for (const auto& [b, t, heads] :
       std::vector<std::array<std::int64_t, 3>>{{1, 1, 1}, {2, 3, 4}, {3, 65, 2}, {1, 9, 24}}) {
    for (const auto& [gates, width] : cases(heads)) {
      CAPTURE(b, t, heads, gates.beta_is_step, gates.step_stride);
      const std::int64_t rows = b * t;
      const Trials projs = random.trials(3, rows * width, 3), a_logs = random.trials(3, heads),
                   dt_biases = random.trials(3, heads, 3);
      const Trials dgs = random.trials(3, rows * heads), dbetas = random.trials(3, rows * heads);
      const Trials da_logs = random.trials(3, heads), ddt_biases = random.trials(3, heads);
      const auto run = [&, c = gates, w = width, h = heads, batch = b, length = t](std::size_t first, std::int64_t p,
                                                                                   std::int64_t gap) {
        const Memory<T> proj({p, batch, length, w}, gap, projs, first), a_log({p, h}, gap, a_logs, first),
            dt_bias({p, h}, gap, dt_biases, first);
        const Memory<T> dg({p, batch, length, h}, gap, dgs, first), dbeta({p, batch, length, h}, gap, dbetas, first);
        const Memory<T> g({p, batch, length, h}, gap), beta({p, batch, length, h}, gap),
            dproj({p, batch, length, w}, gap);
        const Memory<T> da_log({p, h}, gap, da_logs, first), ddt_bias({p, h}, gap, ddt_biases, first);
        decay_gates_forward(ctx, c, proj, a_log, dt_bias, g, beta);
        decay_gates_backward(ctx, c, proj, a_log, dt_bias, dg, dbeta, dproj, da_log, ddt_bias);
        for (const auto* m : {&g, &beta, &dproj, &da_log, &ddt_bias}) m->check_fences();
        return std::array{g.all(), beta.all(), dproj.all(), da_log.all(), ddt_bias.all()};
      };
      const auto all = run(0, 3, 5);
      for (std::size_t p = 0; p < 3; ++p) {
        const auto expected =
            oracle::decay_gates(gates, rows, width, projs[p], a_logs[p], dt_biases[p], dgs[p], dbetas[p]);
        CHECK(error(all[0][p], expected.g) < tolerance<T>);
        CHECK(error(all[1][p], expected.beta) < tolerance<T>);
        CHECK(error(only(columns_of(gates, width), all[2][p]), expected.dproj) < tolerance<T>);
        CHECK(error(all[3][p], added(da_logs[p], expected.da_log)) < tolerance<T>);
        CHECK(error(all[4][p], added(ddt_biases[p], expected.ddt_bias)) < tolerance<T>);
        const auto alone = run(p, 1, 1);
        for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
      }
    }
  }
}

TEST_CASE("decay_gates' gradients are those of finite differences", "[decay_gates]") {
  Random random(67);
  Context ctx;
  for (const auto& [gates, width] : cases(3)) {
    CAPTURE(gates.beta_is_step, gates.step_stride);
    const std::int64_t rows = 5, heads = 3, w = width;
    const Vector proj0 = random.normal(rows * w), a0 = random.normal(heads), bias0 = random.normal(heads);
    const Vector dg0 = random.normal(rows * heads), dbeta0 = random.normal(rows * heads);
    const auto loss = [&, c = gates](const Vector& proj, const Vector& a_log, const Vector& bias) {
      const Memory<double> mproj({1, rows, w}, 0, Trials{proj}, 0), ma({1, heads}, 0, Trials{a_log}, 0),
          mbias({1, heads}, 0, Trials{bias}, 0), g({1, rows, heads}, 0), beta({1, rows, heads}, 0);
      decay_gates_forward(ctx, c, mproj, ma, mbias, g, beta);
      return dot(g.values(0), dg0) + dot(beta.values(0), dbeta0);
    };
    const Memory<double> proj({1, rows, w}, 0, Trials{proj0}, 0), a({1, heads}, 0, Trials{a0}, 0),
        bias({1, heads}, 0, Trials{bias0}, 0), dg({1, rows, heads}, 0, Trials{dg0}, 0),
        dbeta({1, rows, heads}, 0, Trials{dbeta0}, 0);
    const Memory<double> dproj({1, rows, w}, 0), da({1, heads}, 0, Trials{Vector(3)}, 0),
        dbias({1, heads}, 0, Trials{Vector(3)}, 0);
    decay_gates_backward(ctx, gates, proj, a, bias, dg, dbeta, dproj, da, dbias);
    const Vector dcolumns = only(columns_of(gates, w), dproj.values(0));
    for (int direction = 0; direction < 4; ++direction) {
      CHECK(difference_error([&](const Vector& v) { return loss(v, a0, bias0); }, proj0, dcolumns,
                             random.normal(rows * w)) < 1e-8);
      CHECK(difference_error([&](const Vector& v) { return loss(proj0, v, bias0); }, a0, da.values(0),
                             random.normal(heads)) < 1e-8);
      CHECK(difference_error([&](const Vector& v) { return loss(proj0, a0, v); }, bias0, dbias.values(0),
                             random.normal(heads)) < 1e-8);
    }
  }
}

TEMPLATE_TEST_CASE("decay_gates far out: no overflow, no NaN, and the digits of small steps", "[decay_gates]", float,
                   double) {
  using T = TestType;
  Context ctx;
  const DecayGates gates{1, 0, 1, false, 1, 1};
  // softplus(x) is x, and e^x where that is small; sigmoid(x) is 1, and e^x; their slopes likewise.
  for (const double x : {-1e4, -60.0, -20.0, 20.0, 60.0, 1e4}) {
    CAPTURE(x);
    const Memory<T> proj({1, 1, 2}, 0, Trials{{x, x}}, 0), zero({1, 1}, 0, Trials{{0}}, 0),
        one({1, 1, 1}, 0, Trials{{1}}, 0);
    const Memory<T> g({1, 1, 1}, 0), beta({1, 1, 1}, 0), dproj({1, 1, 2}, 0), da({1, 1}, 0, Trials{{0}}, 0),
        db({1, 1}, 0, Trials{{0}}, 0);
    decay_gates_forward(ctx, gates, proj, zero, zero, g, beta);
    decay_gates_backward(ctx, gates, proj, zero, zero, one, one, dproj, da, db);
    const auto near = [](T got, double expected) {
      const bool same = std::abs(static_cast<double>(got) - expected) <= tolerance<T> * std::abs(expected);
      CAPTURE(got, expected);
      CHECK(same);
    };
    near(g.values(0)[0], -oracle::softplus(x));
    near(beta.values(0)[0], oracle::sigmoid(x));
    near(dproj.values(0)[0], -oracle::sigmoid(x));
    near(dproj.values(0)[1], oracle::sigmoid(x) * oracle::sigmoid(-x));
    near(da.values(0)[0], -oracle::softplus(x));
    near(db.values(0)[0], -oracle::sigmoid(x));
  }
}

TEST_CASE("decay_gates says which tensor does not fit", "[decay_gates]") {
  Context ctx;
  const Memory<float> proj({1, 3, 10}, 0), two({1, 2}, 0), three({1, 3}, 0), g({1, 3, 2}, 0);
  const auto forward = [&](const DecayGates& gates, const Tensor& a_log, const Tensor& out) {
    decay_gates_forward(ctx, gates, proj, a_log, two, out, g);
  };
  CHECK_THROWS_AS(forward({2, 9, 1, false, 0, 1}, two, g), std::invalid_argument);  // the steps end at column 10
  CHECK_THROWS_AS(forward({2, 0, 1, false, 5, 5}, two, g), std::invalid_argument);  // the betas do
  CHECK_THROWS_AS(forward({2, 0, 1, false, 2, 1}, three, g), std::invalid_argument);
  CHECK_THROWS_AS(forward({2, 0, 1, false, 2, 1}, two, proj), std::invalid_argument);
}
