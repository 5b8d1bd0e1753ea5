// The one bootstrap: resample units (points, or runs with all their points) with replacement, refit, keep the draws.
//
// A replicate is a vector of term weights (how often each unit was drawn), so data are never copied. Replicate r
// depends on the seed and r alone: the draws are the same bits whatever the threads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fitting/solver.hpp"

namespace hylas::fitting {

// unit_of[i]: the unit of term i, 0..units-1.
struct Units {
  std::vector<int> unit_of;
  int count = 0;
};
[[nodiscard]] Units each_its_own(int terms);                         // pairs
[[nodiscard]] Units grouped(const std::vector<std::string>& names);  // by run: terms of one name move together

// The weights of one replicate.
[[nodiscard]] std::vector<double> resample(const Units& units, std::uint64_t seed, std::uint64_t replicate);

// refit(weights) -> solution; must be safe to call from several threads. One solution a replicate, in order.
[[nodiscard]] std::vector<Solution> bootstrap(const Units& units, int replicates, std::uint64_t seed, int threads,
                                              const std::function<Solution(const std::vector<double>&)>& refit);

}  // namespace hylas::fitting
