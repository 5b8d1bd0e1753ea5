// D50 as an interval, and early stopping's rule: the cases that decide what is censored.
#include <cmath>
#include <vector>

#include "search/run/emergence.hpp"
#include "tests/catch.hpp"

using namespace hylas::search;

namespace {
using Points = std::vector<CapabilityPoint>;
}

TEST_CASE("emergence lies between the evaluation before and the first of two at or above the threshold",
          "[emergence]") {
  const Emergence e = emergence_of(Points{{0, 0.1}, {100, 0.2}, {200, 0.5}, {300, 0.7}, {400, 0.3}}, 0.5);
  REQUIRE(e.emerged);
  REQUIRE(e.lower == 100);
  REQUIRE(e.upper == 200);
  REQUIRE(e.last == 400);
  REQUIRE(e.last_value == 0.3);  // losing it later changes nothing
  REQUIRE_FALSE(e.pending);
}

TEST_CASE("one evaluation above is no emergence; the interval starts after the fall", "[emergence]") {
  const Emergence e = emergence_of(Points{{0, 0}, {100, 0.9}, {200, 0.4}, {300, 0.6}, {400, 0.6}}, 0.5);
  REQUIRE(e.emerged);
  REQUIRE(e.lower == 200);
  REQUIRE(e.upper == 300);
}

TEST_CASE("a run that never holds the threshold is censored at its last evaluation", "[emergence]") {
  const Emergence e = emergence_of(Points{{0, 0}, {100, 0.9}, {200, 0.4}}, 0.5);
  REQUIRE_FALSE(e.emerged);
  REQUIRE(e.lower == 200);
  REQUIRE(e.upper == 0);
  REQUIRE_FALSE(e.pending);
}

TEST_CASE("above only at the very last evaluation: censored before it, since it may have emerged there",
          "[emergence]") {
  const Emergence e = emergence_of(Points{{0, 0}, {100, 0.2}, {200, 0.8}}, 0.5);
  REQUIRE_FALSE(e.emerged);
  REQUIRE(e.pending);
  REQUIRE(e.lower == 100);
  REQUIRE(e.last == 200);
}

TEST_CASE("values that are no numbers are below; empty and single curves are censored", "[emergence]") {
  REQUIRE_FALSE(emergence_of(Points{}, 0.5).emerged);
  REQUIRE(emergence_of(Points{}, 0.5).lower == 0);
  REQUIRE(emergence_of(Points{{50, 0.9}}, 0.5).pending);
  REQUIRE(emergence_of(Points{{50, 0.9}}, 0.5).lower == 0);
  const double nan = std::nan("");
  const Emergence e = emergence_of(Points{{0, 0}, {1, 0.9}, {2, nan}, {3, 0.9}, {4, nan}}, 0.5);
  REQUIRE_FALSE(e.emerged);
  REQUIRE(e.lower == 4);
}

TEST_CASE("a run that starts with the ability has an interval with a positive end", "[emergence]") {
  const Emergence e = emergence_of(Points{{0, 0.9}, {100, 0.9}}, 0.5);
  REQUIRE(e.emerged);
  REQUIRE(e.lower == 0);
  REQUIRE(e.upper == 100);
}

TEST_CASE("early stopping wants the last two evaluations at or above the level", "[emergence]") {
  REQUIRE(held_twice(Points{{0, 0}, {1, 0.9}, {2, 0.9}}, 0.9));
  REQUIRE_FALSE(held_twice(Points{{0, 0.9}, {1, 0.9}, {2, 0.89}}, 0.9));
  REQUIRE_FALSE(held_twice(Points{{0, 0.9}, {1, 0.8}, {2, 0.9}}, 0.9));
  REQUIRE_FALSE(held_twice(Points{{0, 1}}, 0.9));
  REQUIRE_FALSE(held_twice(Points{{0, 1}, {1, std::nan("")}}, 0.9));
}
