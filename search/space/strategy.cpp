// choose_trials(): which trials a strategy runs, and in which order.
#include <cassert>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "search/space/space.hpp"

namespace hylas::search {
namespace {

// Uniform on [0, bound) by rejection. std::mt19937_64's output is fixed by the standard; the library's distributions
// are not.
std::uint64_t draw_below(std::mt19937_64& random, std::uint64_t bound) {
  const std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t accepted = largest - (largest % bound + 1) % bound;  // a multiple of bound, less one
  std::uint64_t value = random();
  while (value > accepted) value = random();
  return value % bound;
}

}  // namespace

std::vector<std::size_t> choose_trials(const Strategy& strategy, std::size_t total) {
  std::vector<std::size_t> order(total);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (strategy.kind == StrategyKind::grid) return order;
  assert(strategy.trials >= 0 && static_cast<std::uint64_t>(strategy.trials) <= total);
  const auto wanted = static_cast<std::size_t>(strategy.trials);
  std::mt19937_64 random(strategy.seed);
  for (std::size_t i = 0; i < wanted; ++i) {  // the first steps of a Fisher-Yates shuffle
    std::swap(order[i], order[i + draw_below(random, total - i)]);
  }
  order.resize(wanted);
  return order;
}

}  // namespace hylas::search
