// Differences of means: the intervals are Student's and Welch's, cover what they promise, and refuse what says nothing.
#include <cmath>
#include <random>
#include <vector>

#include "fitting/mean_difference.hpp"
#include "tests/catch.hpp"

using namespace hylas::fitting;

TEST_CASE("a paired difference is Student's interval of the differences") {
  // Differences 1, 2, 3, 4: mean 2.5, standard error sqrt(5/3)/2, t(0.95, 3) = 2.353363.
  const std::vector<double> a = {10, 20, 30, 40}, b = {11, 22, 33, 44};
  const auto d = paired_difference(a, b, 0.9);
  CHECK(d.estimate == Approx(2.5));
  CHECK(d.degrees == 3);
  CHECK(d.high - d.estimate == Approx(2.353363 * std::sqrt(5.0 / 3) / 2).epsilon(1e-6));
  CHECK(d.estimate - d.low == Approx(d.high - d.estimate));
  CHECK(d.within(4.1));
  CHECK_FALSE(d.within(4.0));
}

TEST_CASE("an unpaired difference has Welch's degrees of freedom") {
  // Variances 1 of 3 and 4 of 3: s = 1/3 + 4/3, degrees = s^2 / ((1/3)^2/2 + (4/3)^2/2) = 50/17.
  const std::vector<double> a = {1, 2, 3}, b = {3, 5, 7};
  const auto d = unpaired_difference(a, b, 0.9);
  CHECK(d.estimate == Approx(3));
  CHECK(d.degrees == Approx(50.0 / 17));
  CHECK(d.high > d.estimate);
}

TEST_CASE("one value a side has no interval, equal values one of no width") {
  const std::vector<double> one = {1}, two = {2}, same = {1, 1}, other = {2, 2};
  CHECK(std::isinf(paired_difference(one, two, 0.9).low));
  CHECK(std::isinf(unpaired_difference(one, other, 0.9).high));
  const auto d = unpaired_difference(same, other, 0.9);
  CHECK(d.low == 1);
  CHECK(d.high == 1);
}

TEST_CASE("lists that say nothing are refused") {
  const std::vector<double> none, one = {1}, two = {1, 2}, nan = {NAN, 1};
  CHECK_THROWS_AS(paired_difference(none, none, 0.9), InputError);
  CHECK_THROWS_AS(paired_difference(one, two, 0.9), InputError);
  CHECK_THROWS_AS(unpaired_difference(one, none, 0.9), InputError);
  CHECK_THROWS_AS(paired_difference(nan, two, 0.9), InputError);
}

TEST_CASE("intervals of 90% cover the truth nine times in ten, also with unequal spreads") {
  std::mt19937_64 random(20261124);
  int paired = 0, unpaired = 0;
  constexpr int studies = 4000;
  for (int i = 0; i < studies; ++i) {
    std::normal_distribution<double> first(0, 1), second(0.5, 3);
    std::vector<double> a(6), b(6);
    for (double& value : a) value = first(random);
    for (double& value : b) value = second(random);
    const auto p = paired_difference(a, b, 0.9), u = unpaired_difference(a, b, 0.9);
    paired += p.low <= 0.5 && 0.5 <= p.high;
    unpaired += u.low <= 0.5 && 0.5 <= u.high;
  }
  // Four standard errors of a share of 0.9 in 4000 are 0.019; Welch's degrees are approximate.
  CHECK(static_cast<double>(paired) / studies == Approx(0.9).margin(0.019));
  CHECK(static_cast<double>(unpaired) / studies == Approx(0.9).margin(0.025));
}
