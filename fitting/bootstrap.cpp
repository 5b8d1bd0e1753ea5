// The bootstrap; contract in the header.
#include "fitting/bootstrap.hpp"

#include <algorithm>
#include <map>

#include "fitting/parallel.hpp"
#include "fitting/random.hpp"

namespace hylas::fitting {

Units each_its_own(int terms) {
  Units units;
  units.count = terms;
  for (int i = 0; i < terms; ++i) units.unit_of.push_back(i);
  return units;
}

Units grouped(const std::vector<std::string>& names) {
  Units units;
  std::map<std::string, int> index;
  for (const std::string& name : names) {
    units.unit_of.push_back(index.emplace(name, static_cast<int>(index.size())).first->second);
  }
  units.count = static_cast<int>(index.size());
  return units;
}

std::vector<double> resample(const Units& units, std::uint64_t seed, std::uint64_t replicate) {
  std::vector<double> drawn(static_cast<std::size_t>(units.count), 0.0);
  Stream stream(seed, replicate);
  for (int i = 0; i < units.count; ++i) drawn[stream.below(static_cast<std::uint64_t>(units.count))] += 1;
  std::vector<double> weights;
  weights.reserve(units.unit_of.size());
  for (int unit : units.unit_of) weights.push_back(drawn[static_cast<std::size_t>(unit)]);
  return weights;
}

std::vector<Solution> bootstrap(const Units& units, int replicates, std::uint64_t seed, int threads,
                                const std::function<Solution(const std::vector<double>&)>& refit) {
  std::vector<Solution> solutions(static_cast<std::size_t>(std::max(0, replicates)));
  parallel_for(replicates, threads, [&](int r) {
    solutions[static_cast<std::size_t>(r)] = refit(resample(units, seed, static_cast<std::uint64_t>(r)));
  });
  return solutions;
}

}  // namespace hylas::fitting
