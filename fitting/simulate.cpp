// Simulated runs; contract in the header.
#include "fitting/simulate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fitting/random.hpp"

namespace hylas::fitting {
namespace {

std::vector<double> grid_of_study(const std::vector<EmergenceRun>& runs) {
  std::vector<double> grid;
  for (const EmergenceRun& run : runs) {
    for (const double d : {run.d_before, run.d_after, run.d_max}) {
      if (d > 0 && std::isfinite(d)) grid.push_back(d);
    }
  }
  std::ranges::sort(grid);
  const auto same = [](double a, double b) { return b - a <= 1e-9 * b; };
  grid.erase(std::unique(grid.begin(), grid.end(), same), grid.end());
  return grid;
}

void check_grid(const EmergenceRun& run) {
  for (std::size_t i = 0; i < run.evaluations.size(); ++i) {
    const double d = run.evaluations[i];
    if (d > 0 && std::isfinite(d) && (i == 0 || d > run.evaluations[i - 1])) continue;
    throw InputError(
        fmt::format("run of '{}' with seed {}: evaluation {} is at {} tokens; they must be positive and "
                    "ascend",
                    run.design, run.seed, i + 1, d));
  }
}

}  // namespace

std::vector<std::vector<double>> evaluation_grids(const std::vector<EmergenceRun>& runs) {
  const std::vector<double> study = grid_of_study(runs);
  std::vector<std::vector<double>> grids;
  for (const EmergenceRun& run : runs) {
    if (!run.evaluations.empty()) {
      check_grid(run);
      grids.push_back(run.evaluations);
      continue;
    }
    const double end = run.emerged() ? study.back() : std::max(run.d_max, run.d_before);
    grids.emplace_back(study.begin(), std::ranges::upper_bound(study, end * (1 + 1e-9)));
  }
  return grids;
}

std::vector<EmergenceRun> simulate_runs(const EmergenceFit& fit, const std::vector<EmergenceRun>& runs,
                                        const std::vector<std::vector<double>>& grids, std::uint64_t seed,
                                        std::uint64_t replicate) {
  const double sigma = sigma_at(fit, fit.fit.theta);
  Stream stream(seed, replicate);
  std::vector<EmergenceRun> simulated = runs;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    EmergenceRun& run = simulated[i];
    const bool can = stream.uniform() < pi_at(fit, run.x, fit.fit.theta);
    const double log_time = log_d50_at(fit, run.x, fit.fit.theta) + sigma * stream.normal();
    const std::vector<double>& grid = grids[i];
    const auto after = can ? std::ranges::lower_bound(grid, std::exp(log_time)) : grid.end();
    run.d_before = after == grid.begin() ? 0 : *std::prev(after);
    run.d_after = after == grid.end() ? kInfinity : *after;
    run.d_max = grid.back();
  }
  return simulated;
}

}  // namespace hylas::fitting
