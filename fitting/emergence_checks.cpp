// Checks and look-ups of the emergence fits.
#include "fitting/emergence_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace hylas::fitting {
namespace {

std::string run_name(const std::string& design, std::int64_t seed) {
  return fmt::format("run of '{}' with seed {}", design.empty() ? "?" : design, seed);
}

// One entry a seed: an average over seeds has no seed of its own, and pseudo-replication is refused.
template <class Run>
void check_distinct(const std::vector<Run>& runs) {
  std::set<std::pair<std::string, std::int64_t>> seen;
  for (const Run& run : runs) {
    if (run.design.empty()) continue;
    if (!seen.emplace(run.design, run.seed).second) {
      throw InputError(run_name(run.design, run.seed) + " is given twice; a run is one design with one seed");
    }
  }
}

template <class Run>
void check_covariates(const Run& run) {
  try {
    (void)row_of(Columns{}, run.x);
  } catch (const InputError& e) {
    throw InputError(run_name(run.design, run.seed) + ": " + e.what());
  }
}

void check_level(const EmergenceOptions& options) {
  if (!(options.level > 0 && options.level < 1))
    throw InputError(fmt::format("level is {}; it must lie in (0, 1)", options.level));
}

void check_tokens(const EmergenceRun& run, const std::string& name) {
  const std::pair<const char*, double> counts[] = {
      {"before its crossing", run.d_before}, {"at its crossing", run.d_after}, {"of its last evaluation", run.d_max}};
  for (const auto& [which, tokens] : counts) {
    if (std::isnan(tokens)) throw InputError(fmt::format("{}: the tokens {} are NaN", name, which));
  }
  if (run.d_before < 0 || run.d_after <= 0 || run.d_max < 0 || std::isinf(run.d_before) || std::isinf(run.d_max)) {
    throw InputError(
        fmt::format("{}: D must be positive and finite, got {} before its crossing, {} at it, {} at its end", name,
                    run.d_before, run.d_after, run.d_max));
  }
  if (run.d_max > 0 && run.d_max < run.d_before) {
    throw InputError(
        fmt::format("{}: its last evaluation, D = {}, is before D = {}, where it was still below the "
                    "threshold",
                    name, run.d_max, run.d_before));
  }
}

// Both laws: a name for what is missing is better than a count of zero.
template <class Run>
void check_any(const std::vector<Run>& runs) {
  if (runs.empty()) throw InputError("no runs: there is nothing to fit");
}

}  // namespace

void check_runs(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options) {
  check_level(options);
  check_any(runs);
  if (!options.cure && !options.cure_terms.empty())
    throw InputError("cure terms are given but the cure fraction is off");
  check_distinct(runs);
  int emerged = 0;
  for (const EmergenceRun& run : runs) {
    check_covariates(run);
    const std::string name = run_name(run.design, run.seed);
    check_tokens(run, name);
    if (run.d_before >= run.d_after) {
      throw InputError(fmt::format("{}: it crosses between D = {} and D = {}, which are not in order", name,
                                   run.d_before, run.d_after));
    }
    if (!run.emerged() && run.d_before <= 0) {
      throw InputError(name + ": a run that never crossed needs the tokens of its last evaluation (d_before > 0)");
    }
    emerged += run.emerged();
  }
  if (emerged == 0) {
    throw InputError(fmt::format(
        "none of the {} runs emerged: there is no time to fit; train longer or lower the threshold", runs.size()));
  }
}

void check_curves(const std::vector<CurveRun>& runs, const EmergenceOptions& options) {
  check_level(options);
  check_any(runs);
  check_distinct(runs);
  for (const CurveRun& run : runs) {
    check_covariates(run);
    const std::string name = run_name(run.design, run.seed);
    const std::size_t n = run.tokens.size();
    if (n < 2 || run.accuracy.size() != n || run.count.size() != n) {
      throw InputError(
          fmt::format("{}: needs at least two evaluations, with tokens, accuracy and count of equal length (got "
                      "{}, {}, {})",
                      name, n, run.accuracy.size(), run.count.size()));
    }
    for (std::size_t i = 0; i < n; ++i) {
      const auto bad = [&](const char* what, double value) {
        throw InputError(fmt::format("{}, evaluation {}: {} is {}", name, i + 1, what, value));
      };
      if (!(run.tokens[i] > 0) || !std::isfinite(run.tokens[i])) bad("D must be positive, but it", run.tokens[i]);
      if (i > 0 && run.tokens[i] <= run.tokens[i - 1]) bad("D must ascend, but it", run.tokens[i]);
      if (!(run.accuracy[i] >= 0 && run.accuracy[i] <= 1)) bad("accuracy must lie in [0, 1], but it", run.accuracy[i]);
      if (!(run.count[i] > 0) || !std::isfinite(run.count[i])) bad("the count must be positive, but it", run.count[i]);
    }
  }
}

void check_enough(std::size_t runs, const std::vector<std::string>& coordinates) {
  if (runs > coordinates.size()) return;
  throw InputError(fmt::format("{} runs for {} parameters ({}): give more runs or fewer columns", runs,
                               coordinates.size(), fmt::join(coordinates, ", ")));
}

void report_dropped(Fit& fit, const Columns& columns) {
  for (const auto& [name, why] : columns.dropped) {
    fit.warnings.push_back(fmt::format("column {} was dropped: {}", name, why));
  }
}

std::vector<std::vector<double>> rows_of(const Columns& columns, const std::vector<DesignCovariates>& designs) {
  std::vector<std::vector<double>> rows;
  rows.reserve(designs.size());
  for (const DesignCovariates& x : designs) rows.push_back(row_of(columns, x));
  return rows;
}

std::vector<std::string> names_of(const std::vector<Coordinate>& coordinates) {
  std::vector<std::string> names;
  names.reserve(coordinates.size());
  for (const Coordinate& c : coordinates) names.push_back(c.name);
  return names;
}

int index_of(const Fit& fit, const std::string& coordinate) {
  const auto found = std::ranges::find(fit.coordinates, coordinate);
  return found == fit.coordinates.end() ? -1 : static_cast<int>(found - fit.coordinates.begin());
}

EmergenceTimeTerms emergence_time_terms(const std::vector<EmergenceRun>& runs, const Columns& columns,
                                        const Columns& cure_columns, bool cure_free, bool cure_logit,
                                        const DesignCovariates* origin) {
  EmergenceTimeData data;
  std::vector<DesignCovariates> designs;
  for (const EmergenceRun& run : runs) {
    designs.push_back(run.x);
    data.log_before.push_back(run.d_before > 0 ? std::log(run.d_before) : -kInfinity);
    data.log_after.push_back(std::log(run.d_after));
  }
  data.mu = rows_of(columns, designs);
  if (origin != nullptr) {
    const std::vector<double> zero = row_of(columns, *origin);
    for (auto& row : data.mu) {
      for (std::size_t j = 0; j < row.size(); ++j) row[j] -= zero[j];
    }
  }
  data.mu_names = columns.names;
  data.cure = rows_of(cure_columns, designs);
  data.cure_names = cure_columns.names;
  data.cure_free = cure_free;
  data.cure_logit = cure_logit;
  return EmergenceTimeTerms(std::move(data));
}

}  // namespace hylas::fitting
