// What tests of task generators share: making a sequence, checks that hold for every task, chi-square.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "model/data/task.hpp"
#include "tests/catch.hpp"

namespace hylas::model::task_test {

struct Sequence {
  std::vector<std::int32_t> tokens, targets, distance;
  bool operator==(const Sequence&) const = default;
};

[[nodiscard]] inline std::unique_ptr<Task> task(const std::string& name, std::int64_t context,
                                                const std::map<std::string, TaskValue>& given = {}) {
  return make_task(task_spec(name, given), context);
}

// The arrays are poisoned and one longer than needed: all of them is written, nothing behind them.
[[nodiscard]] inline Sequence make(const Task& task, std::uint64_t data_seed, Split split, std::uint64_t index) {
  constexpr std::int32_t poison = -77;
  const auto T = static_cast<std::size_t>(task.context());
  Sequence s{std::vector(T + 1, poison), std::vector(T + 1, poison), std::vector(T + 1, poison)};
  task.sequence(data_seed, split, index, s.tokens.data(), s.targets.data(), s.distance.data());
  for (auto* array : {&s.tokens, &s.targets, &s.distance}) {
    REQUIRE(array->back() == poison);
    array->pop_back();
    REQUIRE(std::find(array->begin(), array->end(), poison) == array->end());
  }
  return s;
}

// The first broken promise of task.hpp in a sequence, or "".
[[nodiscard]] inline std::string broken_promise(const Task& task, const Sequence& s) {
  const auto T = static_cast<std::int32_t>(s.tokens.size());
  std::int64_t targets = 0;
  for (std::int32_t t = 0; t < T; ++t) {
    const auto at = static_cast<std::size_t>(t);
    const std::int32_t token = s.tokens[at], target = s.targets[at], d = s.distance[at];
    if (token < 0 || token >= task.vocab()) return "a token outside the vocabulary";
    if (target < -1 || target >= task.vocab()) return "a target outside the vocabulary";
    if (d != 0 && target < 0) return "a scored position that is not trained";
    if (d < unknown_distance || d > t + 1) return "a distance that leads outside the sequence";
    if (d > 0 && s.tokens[at + 1 - static_cast<std::size_t>(d)] != target) return "no answer where the distance says";
    targets += target >= 0;
  }
  if (targets == 0) return "no target";
  if (task.fixed_targets() != 0 && targets != task.fixed_targets()) return "another number of targets";
  return "";
}

// The chi-square value that chance exceeds once in about three million (5 standard deviations, Wilson-Hilferty). The
// inputs are fixed, so a test passes or fails for good; this bound is where a failure means a wrong distribution.
[[nodiscard]] inline double chi_square_limit(double degrees) {
  const double c = 2 / (9 * degrees);
  return degrees * std::pow(1 - c + 5 * std::sqrt(c), 3);
}

// Whether counts agree with the probabilities (which sum to 1). Neighbouring classes are merged until each expects at
// least 10, so that chi-square's distribution holds.
[[nodiscard]] inline bool agrees(const std::vector<double>& seen, const std::vector<double>& probability) {
  REQUIRE(seen.size() == probability.size());
  REQUIRE(std::abs(std::accumulate(probability.begin(), probability.end(), 0.0) - 1) < 1e-9);  // rounding
  const double total = std::accumulate(seen.begin(), seen.end(), 0.0);
  std::vector<std::pair<double, double>> merged;  // seen, expected
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (seen[i] > 0 && probability[i] <= 0) return false;
    if (merged.empty() || merged.back().second >= 10) merged.emplace_back(0, 0);
    merged.back().first += seen[i];
    merged.back().second += probability[i] * total;
  }
  if (merged.size() > 1 && merged.back().second < 10) {
    const auto last = merged.back();
    merged.pop_back();
    merged.back().first += last.first;
    merged.back().second += last.second;
  }
  REQUIRE(merged.size() > 1);
  double sum = 0;
  for (const auto& [count, expected] : merged) sum += (count - expected) * (count - expected) / expected;
  UNSCOPED_INFO("chi-square " << sum << " with " << merged.size() - 1 << " degrees");
  return sum < chi_square_limit(static_cast<double>(merged.size() - 1));
}

[[nodiscard]] inline bool uniform(const std::vector<double>& seen) {
  return agrees(seen, std::vector<double>(seen.size(), 1 / static_cast<double>(seen.size())));
}

// Probabilities of 0 .. n successes in n trials.
[[nodiscard]] inline std::vector<double> binomial(std::int64_t n, double p) {
  std::vector<double> probability;
  const auto trials = static_cast<double>(n);
  for (double k = 0; k <= trials; ++k) {
    probability.push_back(std::exp(std::lgamma(trials + 1) - std::lgamma(k + 1) - std::lgamma(trials - k + 1) +
                                   k * std::log(p) + (trials - k) * std::log1p(-p)));
  }
  return probability;
}

}  // namespace hylas::model::task_test
