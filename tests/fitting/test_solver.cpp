// The solver: finds bounded minima, says when a point is none, counts agreeing starts; profiles and the bootstrap on
// problems with known answers.
#include <Eigen/Dense>
#include <cmath>

#include "fitting/bootstrap.hpp"
#include "fitting/distributions.hpp"
#include "fitting/dual2.hpp"
#include "fitting/parallel.hpp"
#include "fitting/profile.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

// A function written with Dual2 in two coordinates.
template <class F>
class Plane final : public Objective {
 public:
  explicit Plane(F f) : f_(f) {}
  [[nodiscard]] int size() const override { return 2; }
  [[nodiscard]] double value(const Vector& t) const override { return f_(Dual2<2>(t[0]), Dual2<2>(t[1])).v; }
  double derivatives(const Vector& t, Vector& g, Matrix& h) const override {
    const Dual2<2> y = f_(Dual2<2>::variable(t[0], 0), Dual2<2>::variable(t[1], 1));
    g = Vector{{y.g[0], y.g[1]}};
    h = Matrix{{y.h[0], y.h[1]}, {y.h[1], y.h[2]}};
    return y.v;
  }
  [[nodiscard]] Matrix term_gradients(const Vector& t) const override {
    Vector g;
    Matrix h;
    (void)derivatives(t, g, h);
    return g.transpose();  // one term
  }

 private:
  F f_;
};
template <class F>
Plane(F) -> Plane<F>;

const auto rosenbrock = [](const Dual2<2>& x, const Dual2<2>& y) {
  const auto a = 1.0 - x, b = y - x * x;
  return a * a + 100.0 * (b * b);
};
const Box everywhere{Vector{{-10, -10}}, Vector{{10, 10}}};

}  // namespace

TEST_CASE("Dual2 derivatives match central differences for every operation") {
  const Plane f([](const Dual2<2>& x, const Dual2<2>& y) {
    return exp(x * y) / (2.0 + sigmoid(x - 3.0 * y)) + log(x * x + 1.0) - (-y) * 0.3 + (1.5 - y) * x;
  });
  const auto error = testing::check_derivatives(f, Vector{{0.7, -0.4}});
  CHECK(error.gradient < 1e-9);  // h^2 = 1e-10 of a smooth function
  CHECK(error.hessian < 1e-9);
  CHECK(error.value < 1e-15);
}

TEST_CASE("the solver finds a curved valley's minimum to rounding") {
  const Solution s = minimise(Plane(rosenbrock), everywhere, Vector{{-1.2, 1}});
  CHECK(s.converged);
  CHECK(s.theta[0] == Approx(1).epsilon(1e-8));  // first order 1e-7 over a least curvature of 0.4
  CHECK(s.first_order < 1e-7);
}

TEST_CASE("a minimum on a bound is converged, with its edge named") {
  // On x <= 0.5 Rosenbrock's function is least at (0.5, 0.25), where its slope in x points outwards.
  const Box box{Vector{{-10, -10}}, Vector{{0.5, 10}}};
  for (const double start : {-3.0, 0.5, 0.2}) {
    const Solution s = minimise(Plane(rosenbrock), box, Vector{{start, 4}});
    CHECK(s.converged);
    CHECK(s.theta[0] == 0.5);
    CHECK(s.theta[1] == Approx(0.25).epsilon(1e-8));
    CHECK(s.edge[0] == Edge::upper);
    CHECK(s.edge[1] == Edge::none);
    CHECK(s.covariance()(0, 0) == 0);
    CHECK(s.covariance()(1, 1) == Approx(1 / 200.0).epsilon(1e-6));
  }
  // From a corner that the minimum lies away from, both bounds are left.
  CHECK(minimise(Plane(rosenbrock), everywhere, Vector{{10, 10}}).converged);
}

TEST_CASE("a saddle and a point outside the domain are not converged") {
  const Plane saddle([](const Dual2<2>& x, const Dual2<2>& y) { return x * x - y * y + 0.0 * y; });
  const Solution at = minimise(saddle, {Vector{{-1, -1}}, Vector{{1, 1}}}, Vector{{0.3, 0}}, {false, true});
  CHECK(at.converged);  // y held by the caller
  const Solution centre = minimise(saddle, {Vector{{-1, -1}}, Vector{{1, 1}}}, Vector{{0, 0}});
  CHECK_FALSE(centre.converged);  // slope zero, but curvature negative
  const Plane undefined([](const Dual2<2>& x, const Dual2<2>& y) { return log(x) + y; });
  CHECK_FALSE(minimise(undefined, everywhere, Vector{{-5, 0}}).converged);
}

TEST_CASE("starts in two basins: the deeper wins and only its starts agree") {
  // x^4 - x^2 + 0.1 x has minima near -0.73 (deeper) and 0.68.
  const Plane two([](const Dual2<2>& x, const Dual2<2>& y) { return x * x * x * x - x * x + 0.1 * x + y * y; });
  const MultiStart m = minimise_from(two, everywhere, {Vector{{2, 1}}, Vector{{-2, 1}}, Vector{{-1, 3}}});
  CHECK(m.best.theta[0] < 0);
  CHECK(m.agreeing == 2);
  CHECK(m.all.size() == 3);
}

TEST_CASE("profile of a correlated quadratic is its exact interval; open where a bound comes first") {
  const Matrix h{{2.0, 1.2}, {1.2, 1.0}};
  const Plane quadratic([&](const Dual2<2>& x, const Dual2<2>& y) {
    return 0.5 * (h(0, 0) * (x * x) + 2 * h(0, 1) * (x * y) + h(1, 1) * (y * y));
  });
  const double sd = std::sqrt(h.inverse()(0, 0));
  const Solution best = minimise(quadratic, everywhere, Vector{{1, 1}});
  const ProfileInterval p = profile_interval(quadratic, everywhere, best, 0, 1.7);
  CHECK(p.low == Approx(-1.7 * sd).epsilon(1e-3));  // the root is found to 5e-4 of the threshold
  CHECK(p.high == Approx(1.7 * sd).epsilon(1e-3));
  CHECK_FALSE((p.low_open || p.high_open));
  const Box tight{Vector{{-10, -10}}, Vector{{0.5 * sd, 10}}};
  const ProfileInterval cut = profile_interval(quadratic, tight, best, 0, 1.7);
  CHECK(cut.high_open);
  CHECK(cut.high == 0.5 * sd);
  CHECK_FALSE(cut.low_open);
}

TEST_CASE("resampling depends on seed and replicate alone, moves groups together, and keeps the size") {
  const Units units = grouped({"a", "b", "a", "c", "b", "a"});
  CHECK(units.count == 3);
  const auto w = resample(units, 11, 4);
  CHECK(w[0] == w[2]);
  CHECK(w[0] == w[5]);
  CHECK(w[1] == w[4]);
  CHECK(w[0] + w[1] + w[3] == 3);
  CHECK(w == resample(units, 11, 4));
  bool different = false;
  for (int r = 0; r < 20; ++r) different = different || resample(units, 11, r) != resample(units, 12, r);
  CHECK(different);
  CHECK(quantile({3, 1, 2}, 0.25) == 1.5);
  CHECK(std::isnan(quantile({}, 0.5)));
}

TEST_CASE("parallel_for visits every index once and rethrows the first exception") {
  std::vector<int> seen(1000, 0);
  parallel_for(1000, 4, [&](int i) { ++seen[i]; });
  CHECK(std::count(seen.begin(), seen.end(), 1) == 1000);
  CHECK_THROWS_WITH(parallel_for(50, 4,
                                 [](int i) {
                                   if (i % 20 == 7) throw std::runtime_error(std::to_string(i));
                                 }),
                    "7");
}
