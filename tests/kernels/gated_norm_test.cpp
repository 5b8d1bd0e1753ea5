// gated_norm against the oracle and finite differences: three forms, gates interleaved with other columns and not.
#include <array>
#include <stdexcept>

#include "tests/kernels/recurrent_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

struct NormCase {
  GatedNorm norm;
  std::int64_t width;
};

// As in Gated DeltaNet (z beside q, k and v of its head), Mamba-2 (z first, one group) and Lightning (z at the end).
std::vector<NormCase> cases(std::int64_t heads, std::int64_t n) {
  return {{{GatedNormForm::norm_silu, heads, n, 3 * n, 4 * n, 1e-6}, 4 * heads * n + 2 * heads},
          {{GatedNormForm::silu_norm, 1, heads * n, 0, heads * n, 1e-5}, 2 * heads * n + 3},
          {{GatedNormForm::norm_sigmoid, heads, n, 3 * heads * n, n, 1e-6}, 4 * heads * n}};
}

}  // namespace

TEMPLATE_TEST_CASE("gated_norm agrees with the oracle in its three forms, trials together and alone", "[gated_norm]",
                   float, double) {
  using T = TestType;
  const std::uint64_t seed = 64;
  CAPTURE(seed);
  Random random(seed);
  Context ctx = context(GENERATE(false, true));
  for (const auto& [b, t, heads, n] :
       std::vector<std::array<std::int64_t, 4>>{{1, 1, 1, 1}, {2, 3, 2, 5}, {2, 19, 3, 16}, {1, 7, 2, 64}}) {
    for (auto [norm, width] : cases(heads, n)) {
      if (n == 1) norm.eps = 0.5;  // the norm of one number has no slope but what eps leaves it
      const auto form = static_cast<int>(norm.form);
      CAPTURE(b, t, heads, n, form);
      const std::int64_t rows = b * t, d = norm.groups * norm.dim, dim = norm.dim;
      const Trials xs = random.trials(3, rows * d), dys = random.trials(3, rows * d), weights = random.trials(3, dim);
      Trials projs = random.trials(3, rows * width, 2);
      projs[0][at(norm.z_at)] = n == 1 ? 1 : 1e4;
      projs[1][at(norm.z_at)] = -1e4;
      const Trials dweights = random.trials(3, dim);
      const auto run = [&, form = norm, w = width, length = t, batch = b](std::size_t first, std::int64_t p,
                                                                          std::int64_t gap) {
        const Memory<T> x({p, batch, length, d}, gap, xs, first), proj({p, batch, length, w}, gap, projs, first);
        const Memory<T> weight({p, dim}, gap, weights, first), dy({p, batch, length, d}, gap, dys, first);
        const Memory<T> y({p, batch, length, d}, gap), inv({p, batch, length, form.groups}, gap);
        const Memory<T> dx({p, batch, length, d}, gap), dproj({p, batch, length, w}, gap),
            dweight({p, dim}, gap, dweights, first);
        gated_norm_forward(ctx, form, x, proj, weight, y, inv);
        gated_norm_backward(ctx, form, x, proj, weight, inv, dy, dx, dproj, dweight);
        // In place, as passes without a backward may.
        const Memory<T> same({p, batch, length, d}, gap, xs, first), inv_again({p, batch, length, form.groups}, gap);
        gated_norm_forward(ctx, form, same, proj, weight, same, inv_again);
        for (std::int64_t i = 0; i < p; ++i) CHECK(same_bits(same.values(i), y.values(i)));
        for (const auto* m : {&y, &inv, &dx, &dproj, &dweight, &same}) m->check_fences();
        return std::array{y.all(), inv.all(), dx.all(), dproj.all(), dweight.all()};
      };
      const auto all = run(0, 3, 5);
      for (std::size_t p = 0; p < 3; ++p) {
        const auto expected = oracle::gated_norm(norm, rows, width, xs[p], projs[p], weights[p], dys[p]);
        CHECK(error(all[0][p], expected.y) < tolerance<T>);
        CHECK(error(all[1][p], expected.inv_rms) < tolerance<T>);
        CHECK(error(all[2][p], expected.dx) < tolerance<T>);
        CHECK(error(only(columns_of(norm, width), all[3][p]), expected.dproj) < tolerance<T>);
        CHECK(error(all[4][p], added(dweights[p], expected.dweight)) < tolerance<T>);
        const auto alone = run(p, 1, 1);
        for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
      }
    }
  }
}

TEST_CASE("gated_norm's gradients are those of finite differences", "[gated_norm]") {
  Random random(65);
  Context ctx;
  for (const NormCase& c : cases(2, 7)) {
    const auto form = static_cast<int>(c.norm.form);
    CAPTURE(form);
    GatedNorm norm = c.norm;
    norm.eps = 0.1;
    const std::int64_t rows = 5, d = norm.groups * norm.dim, n = norm.dim;
    const Vector x0 = random.normal(rows * d), proj0 = random.normal(rows * c.width), w0 = random.normal(n);
    const Vector dy0 = random.normal(rows * d);
    const Memory<double> y({1, rows, d}, 0), inv({1, rows, norm.groups}, 0);
    const auto loss = [&](const Vector& x, const Vector& proj, const Vector& w) {
      const Memory<double> mx({1, rows, d}, 0, Trials{x}, 0), mproj({1, rows, c.width}, 0, Trials{proj}, 0),
          mw({1, n}, 0, Trials{w}, 0);
      gated_norm_forward(ctx, norm, mx, mproj, mw, y, inv);
      return dot(y.values(0), dy0);
    };
    (void)loss(x0, proj0, w0);
    const Memory<double> x({1, rows, d}, 0, Trials{x0}, 0), proj({1, rows, c.width}, 0, Trials{proj0}, 0),
        w({1, n}, 0, Trials{w0}, 0), dy({1, rows, d}, 0, Trials{dy0}, 0);
    const Memory<double> dx({1, rows, d}, 0), dproj({1, rows, c.width}, 0), dw({1, n}, 0, Trials{Vector(at(n))}, 0);
    gated_norm_backward(ctx, norm, x, proj, w, inv, dy, dx, dproj, dw);
    const Vector dz = only(columns_of(norm, c.width), dproj.values(0));
    for (int direction = 0; direction < 4; ++direction) {
      CHECK(difference_error([&](const Vector& v) { return loss(v, proj0, w0); }, x0, dx.values(0),
                             random.normal(rows * d)) < 1e-8);
      CHECK(difference_error([&](const Vector& v) { return loss(x0, v, w0); }, proj0, dz,
                             random.normal(rows * c.width)) < 1e-8);
      CHECK(difference_error([&](const Vector& v) { return loss(x0, proj0, v); }, w0, dw.values(0), random.normal(n)) <
            1e-8);
    }
  }
}

TEST_CASE("gated_norm says which tensor does not fit", "[gated_norm]") {
  Context ctx;
  const NormCase c = cases(2, 4)[0];
  const Memory<float> x({1, 3, 8}, 0), proj({1, 3, c.width}, 0), narrow({1, 3, 31}, 0), weight({1, 4}, 0),
      inv({1, 3, 2}, 0);
  const auto forward = [&](const Tensor& in, const Tensor& z, const Tensor& w, const Tensor& inv_rms) {
    gated_norm_forward(ctx, c.norm, in, z, w, x, inv_rms);
  };
  CHECK_THROWS_AS(forward(x, narrow, weight, inv), std::invalid_argument);
  CHECK_THROWS_AS(forward(x, proj, x, inv), std::invalid_argument);
  CHECK_THROWS_AS(forward(x, proj, weight, weight), std::invalid_argument);
  CHECK_THROWS_AS(forward(proj, proj, weight, inv), std::invalid_argument);
}
