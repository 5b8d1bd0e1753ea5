// short_conv against the oracle and finite differences, for the column maps of Gated DeltaNet, Mamba-2 and Lightning.
#include <array>
#include <stdexcept>

#include "tests/kernels/recurrent_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

// Everything that comes out of one trial, in double, without fences and neighbours.
struct Outcome {
  Vector out, dproj, dweight, dbias;
};
Outcome run_double(const ConvCase& c, std::int64_t b, std::int64_t t, const Vector& proj, const Vector& weight,
                   const Vector& bias, const Vector& dout) {
  Context ctx;
  const std::int64_t n = c.conv.channels();
  const Memory<double> in({1, b, t, c.width}, 0, Trials{proj}, 0), w({1, n, 4}, 0, Trials{weight}, 0),
      bias_({1, n}, 0, Trials{bias}, 0), dout_({1, b, t, n}, 0, Trials{dout}, 0);
  const Memory<double> out({1, b, t, n}, 0), dproj({1, b, t, c.width}, 0),
      dw({1, n, 4}, 0, Trials{Vector(at(4 * n))}, 0), db({1, n}, 0, Trials{Vector(at(n))}, 0);
  const Tensor weights = c.weight ? w.tensor() : Tensor(), biases = c.bias ? bias_.tensor() : Tensor();
  short_conv_forward(ctx, c.conv, in, weights, biases, out);
  short_conv_backward(ctx, c.conv, in, weights, biases, dout_, dproj, c.weight ? dw.tensor() : Tensor(),
                      c.bias ? db.tensor() : Tensor());
  return {out.values(0), only(columns_of(c), dproj.values(0)), dw.values(0), db.values(0)};
}

bool finite(const Vector& v) {
  for (double x : v) {
    if (!std::isfinite(x)) return false;
  }
  return true;
}

}  // namespace

TEMPLATE_TEST_CASE("short_conv agrees with the oracle for the maps of the mixers, trials together and alone",
                   "[short_conv]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 61;
  CAPTURE(seed);
  Random random(seed);
  Context ctx = context(GENERATE(false, true));
  // Less than a vector, not a multiple of one, and whole ones.
  for (const ConvCase& c : {gdn_case(2, 5), gdn_case(3, 16), gdn_case(2, 37), mamba2_case(7, 3), mamba2_case(96, 64),
                            lightning_case(2, 24), lightning_case(1, 1), unequal_heads_case()}) {
    for (const auto& shape : std::vector<std::array<std::int64_t, 2>>{{1, 1}, {2, 2}, {1, 3}, {2, 4}, {3, 21}}) {
      const std::int64_t b = shape[0], t = shape[1];
      CAPTURE(c.name, c.width, b, t);
      const std::int64_t n = c.conv.channels();
      const Trials projs = random.trials(3, b * t * c.width), weights = random.trials(3, 4 * n, 0.5);
      const Trials biases = random.trials(3, n, 0.5), douts = random.trials(3, b * t * n);
      const Trials dweights = random.trials(3, 4 * n), dbiases = random.trials(3, n);
      const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
        const Memory<T> proj({p, b, t, c.width}, gap, projs, first), weight({p, n, 4}, gap, weights, first);
        const Memory<T> bias({p, n}, gap, biases, first), dout({p, b, t, n}, gap, douts, first);
        const Memory<T> out({p, b, t, n}, gap), dproj({p, b, t, c.width}, gap);
        const Memory<T> dweight({p, n, 4}, gap, dweights, first), dbias({p, n}, gap, dbiases, first);
        const auto given = [](bool there, const Memory<T>& m) { return there ? m.tensor() : Tensor(); };
        short_conv_forward(ctx, c.conv, proj, given(c.weight, weight), given(c.bias, bias), out);
        short_conv_backward(ctx, c.conv, proj, given(c.weight, weight), given(c.bias, bias), dout, dproj,
                            given(c.weight, dweight), given(c.bias, dbias));
        for (const auto* m : {&out, &dproj, &dweight, &dbias}) m->check_fences();
        return std::array{out.all(), dproj.all(), dweight.all(), dbias.all()};
      };
      const auto all = run(0, 3, 5);
      for (std::size_t p = 0; p < 3; ++p) {
        const auto expected = oracle::short_conv(c.conv, b, t, c.width, projs[p], c.weight ? weights[p] : Vector(),
                                                 c.bias ? biases[p] : Vector(), douts[p]);
        CHECK(error(all[0][p], expected.out) < tolerance<T>);
        CHECK(error(only(columns_of(c), all[1][p]), expected.dproj) < tolerance<T>);
        CHECK(error(all[2][p], c.weight ? added(dweights[p], expected.dweight) : dweights[p]) < tolerance<T>);
        CHECK(error(all[3][p], c.bias ? added(dbiases[p], expected.dbias) : dbiases[p]) < tolerance<T>);
        const auto alone = run(p, 1, 1);
        for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
      }
    }
  }
}

TEST_CASE("short_conv's gradients are those of finite differences, through the L2 norm too", "[short_conv]") {
  Random random(62);
  for (const ConvCase& c : {gdn_case(2, 6), mamba2_case(9, 5), lightning_case(2, 7)}) {
    CAPTURE(c.name);
    const std::int64_t b = 2, t = 6, n = c.conv.channels();
    const Vector proj = random.normal(b * t * c.width), weight = random.normal(4 * n, 0.5);
    const Vector bias = random.normal(n, 0.5), dout = random.normal(b * t * n);
    const auto loss = [&](const Vector& x, const Vector& w, const Vector& bias_) {
      return dot(run_double(c, b, t, x, w, bias_, dout).out, dout);
    };
    const Outcome got = run_double(c, b, t, proj, weight, bias, dout);
    for (int direction = 0; direction < 4; ++direction) {
      CHECK(difference_error([&](const Vector& x) { return loss(x, weight, bias); }, proj, got.dproj,
                             random.normal(b * t * c.width)) < 1e-8);
      CHECK(difference_error([&](const Vector& w) { return loss(proj, w, bias); }, weight, got.dweight,
                             random.normal(4 * n)) < 1e-8);
      CHECK(difference_error([&](const Vector& v) { return loss(proj, weight, v); }, bias, got.dbias,
                             random.normal(n)) < 1e-8);
    }
  }
}

TEMPLATE_TEST_CASE("short_conv at the extremes: huge inputs, heads of zeros", "[short_conv]", float, double) {
  using T = TestType;
  Random random(63);
  Context ctx = context(GENERATE(false, true));
  for (const ConvCase& c : {gdn_case(2, 11), lightning_case(2, 11)}) {
    CAPTURE(c.name);
    const std::int64_t t = 9, n = c.conv.channels();
    Vector proj(at(t * c.width)), weight = random.normal(4 * n, 0.5);
    // Zeros in the first rows: there silu, and the vector that is normalised, are zero. Then closed, and open, gates.
    for (std::int64_t i = 0; i < t * c.width; ++i) {
      const std::int64_t row = i / c.width;
      proj[at(i)] = row < 4 ? 0 : row < 7 ? -1e4 : 1e4;
    }
    for (double& x : weight) x = std::abs(x) + 0.5;
    const Vector dout = random.normal(t * n);
    const Memory<T> in({1, 1, t, c.width}, 0, Trials{proj}, 0), w({1, n, 4}, 0, Trials{weight}, 0),
        d({1, 1, t, n}, 0, Trials{dout}, 0);
    const Memory<T> out({1, 1, t, n}, 0), dproj({1, 1, t, c.width}, 0), dw({1, n, 4}, 0, Trials{Vector(at(4 * n))}, 0);
    const Tensor weights = c.weight ? w.tensor() : Tensor();
    short_conv_forward(ctx, c.conv, in, weights, Tensor(), out);
    short_conv_backward(ctx, c.conv, in, weights, Tensor(), d, dproj, c.weight ? dw.tensor() : Tensor(), Tensor());
    const auto expected = oracle::short_conv(c.conv, 1, t, c.width, proj, c.weight ? weight : Vector(), {}, dout);
    REQUIRE(finite(expected.dproj));
    CHECK(error(out.values(0), expected.out) < tolerance<T>);
    CHECK(error(only(columns_of(c), dproj.values(0)), expected.dproj) < tolerance<T>);
    CHECK(error(dw.values(0), c.weight ? expected.dweight : Vector(at(4 * n))) < tolerance<T>);
    for (std::int64_t i = 0; i < 4 * n; ++i) CHECK(out.values(0)[at(i)] == 0);
  }
}

TEST_CASE("short_conv says which tensor does not fit", "[short_conv]") {
  Context ctx;
  const ConvCase c = mamba2_case(4, 2);
  const std::int64_t n = c.conv.channels();
  const Memory<float> proj({1, 1, 3, c.width}, 0), out({1, 1, 3, n}, 0), weight({1, n, 4}, 0), bias({1, n}, 0),
      narrow({1, 1, 3, 11}, 0);
  const auto forward = [&](const Tensor& in, const Tensor& w, const Tensor& b, const Tensor& y) {
    short_conv_forward(ctx, c.conv, in, w, b, y);
  };
  CHECK_THROWS_AS(forward(narrow, weight, bias, out), std::invalid_argument);  // C would end at column 12
  CHECK_THROWS_AS(forward(proj, Tensor(), bias, out), std::invalid_argument);
  CHECK_THROWS_AS(forward(proj, bias, bias, out), std::invalid_argument);
  CHECK_THROWS_AS(forward(proj, weight, bias, proj), std::invalid_argument);
  CHECK_THROWS_AS(short_conv_backward(ctx, c.conv, proj, weight, bias, out, proj, Tensor(), bias),
                  std::invalid_argument);
}
