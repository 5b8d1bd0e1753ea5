// See statistics.hpp.
#include "search/findings/statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "fitting/distributions.hpp"

namespace hylas::search {
namespace {

using fitting::EmergenceRun;

// F3's parameter as evidence; what cannot be fitted says why.
Measure fitted(Measure evidence, const std::vector<EmergenceRun>& runs, const std::vector<std::string>& terms,
               const std::string& term, const Registration& by, int threads, bool factor) {
  fitting::EmergenceOptions options;
  options.terms = terms;
  options.cure = false;
  options.level = by.level;
  options.profile = {term};
  options.threads = threads;
  try {
    const auto fit = fitting::fit_emergence_time(runs, options);
    if (!fit.fit.has(term)) {
      evidence.reading = "not decided: the runs do not tell " + term + " apart";
      return evidence;
    }
    const auto& p = fit.fit.parameter(term);
    const auto value = [&](double x) { return factor ? std::exp(x) : x; };
    if (!fit.fit.converged) {
      evidence.reading = "not decided: the fit did not converge";
      return evidence;
    }
    if (std::isinf(p.ci_low) && std::isinf(p.ci_high)) {
      evidence.reading = "not decided: too few runs emerged to say anything of it";
      return evidence;
    }
    evidence.estimate = value(p.estimate), evidence.low = value(p.ci_low), evidence.high = value(p.ci_high);
  } catch (const fitting::InputError& error) {
    evidence.reading = std::string("not decided: ") + error.what();
  }
  return evidence;
}

// Values of both sides, paired where the seeds allow it.
Measure difference(Measure evidence, const std::map<std::int64_t, double>& a, const std::map<std::int64_t, double>& b,
                   double level) {
  std::vector<double> left, right;
  for (const auto& entry : a) left.push_back(entry.second);
  for (const auto& entry : b) right.push_back(entry.second);
  if (left.empty() || right.empty()) {
    evidence.reading = "not decided: no run has this metric";
    return evidence;
  }
  const bool paired = std::equal(a.begin(), a.end(), b.begin(), b.end(),
                                 [](const auto& x, const auto& y) { return x.first == y.first; });
  const auto d =
      paired ? fitting::paired_difference(left, right, level) : fitting::unpaired_difference(left, right, level);
  evidence.estimate = d.estimate, evidence.low = d.low, evidence.high = d.high;
  return evidence;
}

}  // namespace

Measure speed_factor(const std::string& what, const Runs& a, const Runs& b, const Registration& by, Clock clock) {
  auto runs = emergence_runs(a, clock);
  const auto more = emergence_runs(b, clock);
  const std::size_t first = runs.size();
  runs.insert(runs.end(), more.begin(), more.end());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const bool second = i >= first;
    runs[i].x = {.parameters = 1, .indicators = {{"second", second ? 1.0 : 0.0}}};
    runs[i].design = second ? "second: " + runs[i].design : runs[i].design;
  }
  Measure e = fitted({.what = what, .unit = "factor"}, runs, {"second"}, "second", by, 1, true);
  const auto none = [](const Runs& side, Clock c) {
    return std::none_of(side.begin(), side.end(), [&](const ArmRun* run) {
      return (c == Clock::far ? run->far : run->heads).d_after < fitting::kInfinity;
    });
  };
  // Then the estimate is only where the optimiser stopped: the interval's one end is all that is known.
  if (none(a, clock) || none(b, clock)) e.estimate = fitting::kNaN;
  return e;
}

Measure coefficient(const std::string& what, const Runs& runs, const std::vector<std::string>& terms,
                    const std::string& term, const Registration& by, int threads, Clock clock) {
  return fitted({.what = what, .unit = "slope"}, emergence_runs(runs, clock), terms, term, by, threads, false);
}

fitting::LikelihoodRatio arms_differ(const Runs& runs, const Registration& by, int threads) {
  auto list = emergence_runs(runs);
  const auto names = FindingRuns::arms(runs);
  std::vector<std::string> terms;
  for (std::size_t i = 1; i < names.size(); ++i) terms.push_back(fmt::format("arm {}", i));
  for (EmergenceRun& run : list) {
    run.x = {.parameters = 1};
    for (std::size_t i = 1; i < names.size(); ++i) {
      run.x.indicators.emplace_back(terms[i - 1], run.design.ends_with(": " + names[i]) ? 1.0 : 0.0);
    }
  }
  fitting::EmergenceOptions smaller, larger;
  smaller.cure = larger.cure = false;
  smaller.terms.clear(), larger.terms = terms;
  return fitting::compare_nested(list, smaller, larger,
                                 {.simulations = static_cast<int>(by.simulations), .seed = 1, .threads = threads});
}

namespace {

// One value a seed; nothing where a seed comes twice, as then the sides are no single arms.
template <class Value>
std::optional<std::map<std::int64_t, double>> by_seed(const Runs& runs, const Value& value_of) {
  std::map<std::int64_t, double> list;
  for (const ArmRun* run : runs) {
    const double value = value_of(*run);
    if (std::isfinite(value) && !list.emplace(run->seed, value).second) return std::nullopt;
  }
  return list;
}

template <class Value>
Measure difference_of(Measure evidence, const Runs& a, const Runs& b, double level, const Value& value_of) {
  const auto left = by_seed(a, value_of), right = by_seed(b, value_of);
  if (!left || !right) {
    evidence.reading = "not decided: a seed comes twice";
    return evidence;
  }
  return difference(std::move(evidence), *left, *right, level);
}

}  // namespace

Measure end_difference(const std::string& what, const Runs& a, const Runs& b, const std::string& metric,
                       const std::string& unit, double level) {
  return difference_of({.what = what, .unit = unit}, a, b, level, [&](const ArmRun& run) {
    const auto found = run.end.find(metric);
    return found == run.end.end() ? fitting::kNaN : found->second;
  });
}

Measure early_difference(const std::string& what, const Runs& a, const Runs& b, double tokens, double level) {
  return difference_of({.what = what, .unit = "difference"}, a, b, level, [&](const ArmRun& run) {
    double last = fitting::kNaN;
    for (const DataPoint& point : run.curve) {
      if (point.tokens <= tokens) last = point.value;
    }
    return last;
  });
}

Pooled pooled_factor(const std::string& what, const std::vector<Measure>& strata, double level) {
  Pooled pooled;
  pooled.factor = {.what = what, .unit = "factor"};
  const double z = fitting::normal_quantile((1 + level) / 2);
  double weights = 0, sum = 0, squares = 0;
  for (const Measure& e : strata) {
    if (!(e.low > 0) || !std::isfinite(e.high) || !std::isfinite(e.estimate) || !(e.high > e.low)) continue;
    const double width = (std::log(e.high) - std::log(e.low)) / (2 * z), x = std::log(e.estimate);
    weights += 1 / (width * width), sum += x / (width * width), squares += x * x / (width * width);
    ++pooled.strata;
  }
  if (pooled.strata == 0) {
    pooled.factor.reading = "not decided: no stratum has a finite interval";
    return pooled;
  }
  const double mean = sum / weights, half = z / std::sqrt(weights);
  pooled.factor.estimate = std::exp(mean);
  pooled.factor.low = std::exp(mean - half), pooled.factor.high = std::exp(mean + half);
  if (pooled.strata > 1) {
    pooled.heterogeneity_p =
        fitting::chi_squared_survival(std::max(0.0, squares - mean * sum), static_cast<int>(pooled.strata) - 1);
  }
  return pooled;
}

bool above(const Measure& evidence, double bound) {
  return evidence.low > bound;
}
bool below(const Measure& evidence, double bound) {
  return evidence.high < bound;
}

std::string in_words(const std::string& words, const Measure& e) {
  if (!std::isnan(e.estimate)) return fmt::format("{} {:.3g} ({:.3g} to {:.3g})", words, e.estimate, e.low, e.high);
  return std::isnan(e.low) ? e.reading : fmt::format("{} something between {:.3g} and {:.3g}", words, e.low, e.high);
}

std::string emerged_text(const Runs& runs) {
  const auto emerged = std::count_if(runs.begin(), runs.end(), [](const ArmRun* run) { return run->emerged(); });
  return fmt::format("{} of {} runs emerged", emerged, runs.size());
}

Runs of_arm(const Runs& runs, const std::string& arm) {
  Runs list;
  std::copy_if(runs.begin(), runs.end(), std::back_inserter(list), [&](const ArmRun* run) { return run->arm == arm; });
  return list;
}

}  // namespace hylas::search
