// See statistics.hpp.
#include "search/findings/statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace hylas::search {
namespace {

using fitting::EmergenceRun;

// F3's parameter as evidence; what cannot be fitted says why.
Evidence fitted(Evidence evidence, const std::vector<EmergenceRun>& runs, const std::vector<std::string>& terms,
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
    evidence.estimate = value(p.estimate), evidence.low = value(p.ci_low), evidence.high = value(p.ci_high);
  } catch (const fitting::InputError& error) {
    evidence.reading = std::string("not decided: ") + error.what();
  }
  return evidence;
}

// Values of both sides, paired where the seeds allow it.
Evidence difference(Evidence evidence, const std::map<std::int64_t, double>& a, const std::map<std::int64_t, double>& b,
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

Evidence speed_factor(const std::string& what, const Runs& a, const Runs& b, const Registration& by, Clock clock) {
  auto runs = emergence_runs(a, clock);
  const auto more = emergence_runs(b, clock);
  const std::size_t first = runs.size();
  runs.insert(runs.end(), more.begin(), more.end());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const bool second = i >= first;
    runs[i].x = {.parameters = 1, .indicators = {{"second", second ? 1.0 : 0.0}}};
    runs[i].design = second ? "second: " + runs[i].design : runs[i].design;
  }
  Evidence e = fitted({.what = what, .unit = "factor"}, runs, {"second"}, "second", by, 1, true);
  const auto none = [](const Runs& side, Clock c) {
    return std::none_of(side.begin(), side.end(), [&](const ArmRun* run) {
      return (c == Clock::far ? run->far : run->heads).d_after < fitting::kInfinity;
    });
  };
  // Then the estimate is only where the optimiser stopped: the interval's one end is all that is known.
  if (none(a, clock) || none(b, clock)) e.estimate = fitting::kNaN;
  return e;
}

Evidence coefficient(const std::string& what, const Runs& runs, const std::vector<std::string>& terms,
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

Evidence end_difference(const std::string& what, const Runs& a, const Runs& b, const std::string& metric,
                        const std::string& unit, double level) {
  const auto values = [&](const Runs& runs) {
    std::map<std::int64_t, double> list;
    for (const ArmRun* run : runs) {
      const auto found = run->end.find(metric);
      if (found != run->end.end() && std::isfinite(found->second)) list[run->seed] = found->second;
    }
    return list;
  };
  return difference({.what = what, .unit = unit}, values(a), values(b), level);
}

Evidence early_difference(const std::string& what, const Runs& a, const Runs& b, double tokens, double level) {
  const auto values = [&](const Runs& runs) {
    std::map<std::int64_t, double> list;
    for (const ArmRun* run : runs) {
      for (const DataPoint& point : run->curve) {
        if (point.tokens <= tokens && std::isfinite(point.value)) list[run->seed] = point.value;
      }
    }
    return list;
  };
  return difference({.what = what, .unit = "difference"}, values(a), values(b), level);
}

bool above(const Evidence& evidence, double bound) {
  return evidence.low > bound;
}
bool below(const Evidence& evidence, double bound) {
  return evidence.high < bound;
}

std::string in_words(const std::string& words, const Evidence& e) {
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
