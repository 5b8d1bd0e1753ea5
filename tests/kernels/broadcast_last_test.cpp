// broadcast_last and its position codes against the oracle and finite differences; results of trials together and
// alone; what it refuses.
#include "kernels/broadcast_last.hpp"

#include <array>
#include <stdexcept>

#include "tests/kernels/support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

TEMPLATE_TEST_CASE("broadcast_last agrees with the oracle, trials together and alone", "[broadcast_last]", float,
                   double) {
  using T = TestType;
  const std::uint64_t seed = 61;
  CAPTURE(seed);
  Random random(seed);
  Context ctx = context(GENERATE(false, true));
  for (const auto& [trials, b, length, d] : std::vector<std::array<std::int64_t, 4>>{
           {1, 1, 1, 1}, {3, 2, 7, 5}, {32, 1, 3, 2}, {3, 3, 65, 33}, {1, 5, 2, 64}}) {
    CAPTURE(trials, b, length, d);
    const std::int64_t n = b * length * d;
    const Trials xs = random.trials(trials, n), dzs = random.trials(trials, n), codes = random.trials(1, length * d);
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const Memory<T> x({p, b, length, d}, gap, xs, first), dz({p, b, length, d}, gap, dzs, first);
      const Memory<T> position({1, length, d}, gap, codes, 0);
      const Memory<T> z({p, b, length, d}, gap), dx({p, b, length, d}, gap);
      broadcast_last_forward(ctx, x, position, z);
      broadcast_last_backward(ctx, dz, dx);
      z.check_fences();
      dx.check_fences();
      return std::array{z.all(), dx.all()};
    };
    const auto all = run(0, trials, 3);
    for (std::size_t p = 0; p < at(trials); ++p) {
      const Vector dx = oracle::broadcast_last_backward(dzs[p], length, d);
      CHECK(error(all[0][p], oracle::broadcast_last(xs[p], codes[0], length, d)) < tolerance<T>);
      CHECK(error(all[1][p], dx) < tolerance<T>);
      bool zeros = true;  // everywhere but at the last position, exactly
      for (std::size_t i = 0; i < dx.size(); ++i) {
        const bool last = static_cast<std::int64_t>(i) / d % length == length - 1;
        zeros = zeros && (last || all[1][p][i] == 0);
      }
      CHECK(zeros);
      const auto alone = run(p, 1, 1);
      for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
    }
  }
}

TEST_CASE("broadcast_last's gradient is that of finite differences", "[broadcast_last]") {
  Random random(62);
  Context ctx;
  const std::int64_t n = 2 * 5 * 6;
  const Vector x0 = random.normal(n), dz = random.normal(n), codes = random.normal(5 * 6);
  const Memory<double> position({1, 5, 6}, 0, {codes}, 0), mdz({1, 2, 5, 6}, 0, {dz}, 0), dx({1, 2, 5, 6}, 0);
  const auto loss = [&](const Vector& x) {
    const Memory<double> mx({1, 2, 5, 6}, 0, {x}, 0), z({1, 2, 5, 6}, 0);
    broadcast_last_forward(ctx, mx, position, z);
    return dot(z.values(0), dz);
  };
  broadcast_last_backward(ctx, mdz, dx);
  CHECK(difference_error(loss, x0, dx.values(0), random.normal(n)) < 1e-8);
}

TEST_CASE("sinusoid_table: sines and cosines of every position, for odd and tiny widths too", "[broadcast_last]") {
  for (const auto& [length, d] :
       std::vector<std::array<std::int64_t, 2>>{{1, 1}, {3, 1}, {5, 2}, {4, 3}, {7, 4}, {33, 37}, {256, 128}}) {
    CAPTURE(length, d);
    const Memory<double> position({1, length, d}, 3);
    const Memory<float> narrow({1, length, d}, 3);
    sinusoid_table(position);
    sinusoid_table(narrow);
    position.check_fences();
    const Vector want = oracle::sinusoids(length, d);
    CHECK(error(position.values(0), want) < 1e-12);  // angles up to 255 lose three digits
    CHECK(error(narrow.values(0), want) < 1e-7);     // one rounding to float
  }
}

TEST_CASE("broadcast_last refuses wrong tensors", "[broadcast_last][errors]") {
  Context ctx;
  const Memory<float> x({2, 3, 4, 5}, 0), z({2, 3, 4, 5}, 0), position({1, 4, 5}, 0), short_codes({1, 3, 5}, 0),
      narrow({2, 3, 4, 4}, 0), flat({2, 12, 5}, 0), two({2, 4, 5}, 0);
  CHECK_NOTHROW(broadcast_last_forward(ctx, x, position, z));
  CHECK_THROWS_AS(broadcast_last_forward(ctx, x, short_codes, z), std::invalid_argument);
  CHECK_THROWS_AS(broadcast_last_forward(ctx, x, two, z), std::invalid_argument);
  CHECK_THROWS_AS(broadcast_last_forward(ctx, x, position, narrow), std::invalid_argument);
  CHECK_THROWS_AS(broadcast_last_forward(ctx, x, position, x), std::invalid_argument);
  CHECK_THROWS_AS(broadcast_last_forward(ctx, flat, position, z), std::invalid_argument);
  CHECK_THROWS_AS(broadcast_last_backward(ctx, x, narrow), std::invalid_argument);
  CHECK_THROWS_AS(broadcast_last_backward(ctx, x, x), std::invalid_argument);
}
