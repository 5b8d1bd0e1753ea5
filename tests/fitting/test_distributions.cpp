// Special functions and random numbers: against published values, other implementations, and each other.
#include <cmath>
#include <numbers>

#include <utility>
#include <vector>
#include "fitting/distributions.hpp"
#include "fitting/random.hpp"

#include "tests/catch.hpp"

using namespace hylas::fitting;

TEST_CASE("normal distribution: tails, intervals and quantiles") {
  // ln Phi(-x) from the exact continued fraction in long double; 1e-13 relative is what erfc and the series promise.
  const auto tail = [](long double x) {
    long double f = 0;
    for (int k = 400; k >= 1; --k) f = k / (x + f);
    return -x * x / 2 - std::log(std::sqrt(2 * std::numbers::pi_v<long double>)) - std::log(x + f);
  };
  for (const double x : {3.0, 8.0, 20.0, 29.99, 30.01, 37.0, 100.0, 1e4}) {
    INFO("x = " << x);
    CHECK(log_normal_cdf(-x) == Approx(static_cast<double>(tail(x))).epsilon(1e-13));
  }
  CHECK(log_normal_cdf(0) == Approx(std::log(0.5)).epsilon(1e-15));
  CHECK(log_normal_cdf(9) == Approx(-1.1285884059538407e-19).epsilon(1e-12));
  // Two halves of an interval add up, also far out in either tail and across zero; the sum is exact algebra.
  for (const double a : {-40.0, -6.0, -0.5, 0.2, 5.0, 12.0}) {
    for (const double width : {1e-7, 1e-3, 0.3, 4.0}) {
      INFO("a = " << a << " width = " << width);
      const double whole = log_normal_interval(a, a + width);
      const double left = log_normal_interval(a, a + width / 2), right = log_normal_interval(a + width / 2, a + width);
      const double top = std::max(left, right);
      const double sum = top + std::log(std::exp(left - top) + std::exp(right - top));
      CHECK(std::abs(whole - sum) <
            1e-9 * std::max(1.0, std::abs(whole)));  // cancellation at width 1e-3: ~1e-13 / 1e-3
    }
  }
  CHECK(log_normal_interval(-INFINITY, 1.3) == log_normal_cdf(1.3));
  CHECK(normal_quantile(0.975) == Approx(1.959963984540054).epsilon(1e-13));
  CHECK(normal_quantile(1e-300) == Approx(-37.0471).epsilon(1e-5));
  for (const double p : {1e-12, 0.01, 0.3, 0.5, 0.9}) CHECK(normal_cdf(normal_quantile(p)) == Approx(p).epsilon(1e-12));
  CHECK(std::isinf(normal_quantile(1)));
}

TEST_CASE("Student's t quantiles match the printed tables") {
  CHECK(student_t_quantile(0.975, 1) == Approx(12.7062047364).epsilon(1e-10));
  CHECK(student_t_quantile(0.975, 5) == Approx(2.5705818356).epsilon(1e-10));
  CHECK(student_t_quantile(0.95, 10) == Approx(1.8124611228).epsilon(1e-10));
  CHECK(student_t_quantile(0.975, 66) == Approx(1.9965644189).epsilon(1e-9));
  CHECK(student_t_quantile(0.025, 5) == Approx(-2.5705818356).epsilon(1e-10));
  CHECK(student_t_quantile(0.975, 1e7) ==
        Approx(normal_quantile(0.975)).epsilon(1e-6));  // the limit; error ~ 1/degrees
}

TEST_CASE("chi-squared tails match the printed 5% points, which have three decimals") {
  const std::vector<std::pair<int, double>> table = {{1, 3.841},  {2, 5.991},   {3, 7.815},  {4, 9.488},
                                                     {5, 11.070}, {10, 18.307}, {15, 24.996}};
  for (const auto& [degrees, point] : table) {
    CHECK(hylas::fitting::chi_squared_survival(point, degrees) == Approx(0.05).margin(2e-5));
  }
  CHECK(hylas::fitting::chi_squared_survival(0, 3) == 1);
}

TEST_CASE("gamma family: values and recurrences") {
  CHECK(digamma(1) == Approx(-0.57721566490153286).epsilon(1e-14));
  CHECK(trigamma(1) == Approx(std::numbers::pi * std::numbers::pi / 6).epsilon(1e-14));
  for (const double x : {1e-80, 1e-8, 0.3, 1.0, 4.5, 8.999, 9.0, 50.0, 1e5}) {
    INFO("x = " << x);
    CHECK(log_gamma(x) == Approx(std::lgamma(x)).epsilon(1e-13).margin(1e-14));
    CHECK(digamma(x + 1) - digamma(x) == Approx(1 / x).epsilon(1e-9));  // cancellation at 1e5: 11 * eps * 1e5
    CHECK(trigamma(x) - trigamma(x + 1) == Approx(1 / (x * x)).epsilon(1e-6));
  }
}

TEST_CASE("Philox4x32-10 gives the published vectors, and its streams are uniform and normal") {
  using Four = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t ones = 0xffffffff;
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) == Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  Stream stream(5, 9);
  double mean = 0, square = 0, uniform = 0;
  constexpr int n = 40000;
  for (int i = 0; i < n; ++i) {
    const double z = stream.normal();
    mean += z / n;
    square += z * z / n;
    uniform += stream.uniform() / n;
  }
  CHECK(std::abs(mean) < 5 / std::sqrt(n));  // five standard errors
  CHECK(std::abs(square - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(std::abs(uniform - 0.5) < 5 / std::sqrt(12.0 * n));
  CHECK(Stream(5, 9).bits() != Stream(5, 10).bits());
}
