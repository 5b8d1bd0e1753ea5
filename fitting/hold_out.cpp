// Hold-out of emergence fits; contract in the header.
#include "fitting/hold_out.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "fitting/distributions.hpp"
#include "fitting/parallel.hpp"

namespace hylas::fitting {
namespace {

struct Fold {
  std::string name;
  std::vector<bool> held;
};

Fold fold_where(const std::vector<EmergenceRun>& runs, std::string name, const auto& held) {
  Fold fold{std::move(name), {}};
  for (const EmergenceRun& run : runs) fold.held.push_back(held(run));
  return fold;
}

Fold largest_sizes(const std::vector<EmergenceRun>& runs, int count) {
  std::set<double> sizes;
  for (const EmergenceRun& run : runs) sizes.insert(run.x.parameters);
  if (count < 1 || count >= static_cast<int>(sizes.size())) {
    throw InputError(
        fmt::format("hold-out of the {} largest sizes: the runs have {} (need at least one to hold out and "
                    "one to fit)",
                    count, sizes.size()));
  }
  const double least = *std::next(sizes.rbegin(), count - 1);
  return fold_where(runs, count == 1 ? fmt::format("N = {:g}", least) : fmt::format("N >= {:g}", least),
                    [&](const EmergenceRun& run) { return run.x.parameters >= least; });
}

std::vector<Fold> by_design(const std::vector<EmergenceRun>& runs, const std::string& only) {
  std::vector<Fold> folds;
  std::set<std::string> seen;
  for (const EmergenceRun& run : runs) {
    if ((!only.empty() && run.design != only) || !seen.insert(run.design).second) continue;
    folds.push_back(fold_where(runs, "design " + run.design,
                               [&](const EmergenceRun& other) { return other.design == run.design; }));
  }
  if (folds.empty()) throw InputError(fmt::format("hold-out: no run has the design '{}'", only));
  return folds;
}

std::vector<Fold> by_window(const std::vector<EmergenceRun>& runs, double only) {
  std::set<double> windows;
  for (const EmergenceRun& run : runs) {
    if (std::isnan(only) || run.x.window == only) windows.insert(run.x.window);
  }
  if (windows.empty()) throw InputError(fmt::format("hold-out: no run has the window {:g}", only));
  std::vector<Fold> folds;
  folds.reserve(windows.size());
  for (const double w : windows) {
    folds.push_back(fold_where(runs, w > 0 ? fmt::format("window {:g}", w) : "no window layers",
                               [&](const EmergenceRun& run) { return run.x.window == w; }));
  }
  return folds;
}

std::vector<Fold> folds_of(const std::vector<EmergenceRun>& runs, const HoldOutRule& rule) {
  if (runs.empty()) throw InputError("no runs");
  if (rule.by == HoldOutRule::By::design) return by_design(runs, rule.design);
  if (rule.by == HoldOutRule::By::window) return by_window(runs, rule.window);
  return {largest_sizes(runs, rule.count)};
}

HeldOutRun outcome(const EmergenceRun& run, const std::string& fold, const EmergenceFit& fit) {
  HeldOutRun out{run.design, run.seed, fold, predict_d50(fit, run.x), kNaN, run.d_before, run.emerged(), false};
  if (run.emerged() && run.d_before > 0) {
    out.measured = std::sqrt(run.d_before * run.d_after);
    out.covered = out.predicted.any_low <= out.measured && out.measured <= out.predicted.any_high;
  } else if (run.emerged()) {
    out.covered = out.predicted.any_low < run.d_after;
  } else {
    out.covered = out.predicted.any_high > run.d_before;
  }
  return out;
}

// An indicator that only held-out runs have is 0 in the others: a constant column, not an unknown name.
void name_all_indicators(std::vector<EmergenceRun>& kept, const std::vector<EmergenceRun>& runs) {
  std::set<std::string> names;
  for (const EmergenceRun& run : runs) {
    for (const auto& [name, value] : run.x.indicators) names.insert(name);
  }
  for (EmergenceRun& run : kept) {  // the first entry of a name counts
    for (const std::string& name : names) run.x.indicators.emplace_back(name, 0.0);
  }
}

struct FoldResult {
  std::vector<HeldOutRun> runs;
  std::string failure;
  std::vector<std::string> unknown;  // columns that all runs together would have told apart
};

FoldResult run_fold(const std::vector<EmergenceRun>& runs, const Columns& all, EmergenceOptions options,
                    const Fold& fold) {
  FoldResult result;
  std::vector<EmergenceRun> kept;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!fold.held[i]) kept.push_back(runs[i]);
  }
  name_all_indicators(kept, runs);
  options.intervals = false;
  options.threads = 1;
  try {
    const EmergenceFit fit = fit_emergence_time(kept, options);
    if (!fit.fit.converged) throw InputError("the fit without it did not converge");
    for (const std::string& name : all.names) {
      if (std::ranges::find(fit.columns.names, name) == fit.columns.names.end()) result.unknown.push_back(name);
    }
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (fold.held[i]) result.runs.push_back(outcome(runs[i], fold.name, fit));
    }
  } catch (const InputError& e) {
    result.failure = e.what();
  }
  return result;
}

void summarise(HoldOut& out) {
  std::map<std::string, std::vector<double>> errors;
  int covered = 0;
  for (const HeldOutRun& run : out.runs) {
    covered += run.covered;
    if (!std::isnan(run.error())) errors[run.design].push_back(run.error());
    if (run.emerged) continue;
    ++out.censored;
    out.censored_beyond += run.predicted.any_median > run.last_below;
  }
  std::vector<double> medians;
  medians.reserve(errors.size());
  for (const auto& [design, values] : errors) medians.push_back(quantile(values, 0.5));
  out.designs = static_cast<int>(medians.size());
  out.median_error = quantile(medians, 0.5);
  out.coverage = static_cast<double>(covered) / static_cast<double>(out.runs.size());
}

}  // namespace

double HeldOutRun::error() const {
  return std::abs(std::log10(predicted.estimate / measured));
}

HoldOut hold_out(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options, const HoldOutRule& rule) {
  const std::vector<Fold> folds = folds_of(runs, rule);
  std::vector<DesignCovariates> designs;
  designs.reserve(runs.size());
  for (const EmergenceRun& run : runs) designs.push_back(run.x);
  const Columns all = choose_columns(designs, options.terms);
  std::vector<FoldResult> results(folds.size());
  parallel_for(static_cast<int>(folds.size()), options.threads,
               [&](int i) { results[i] = run_fold(runs, all, options, folds[i]); });
  HoldOut out;
  out.level = options.level;
  for (std::size_t i = 0; i < folds.size(); ++i) {
    if (!results[i].failure.empty()) out.left_out.emplace_back(folds[i].name, results[i].failure);
    out.runs.insert(out.runs.end(), results[i].runs.begin(), results[i].runs.end());
    for (const std::string& name : results[i].unknown) {
      out.warnings.push_back(
          fmt::format("without {} the runs do not tell the effect of {}: it was left out of that "
                      "fit",
                      folds[i].name, name));
    }
  }
  if (out.runs.empty()) {
    throw InputError(fmt::format("hold-out of {}: {}", out.left_out.front().first, out.left_out.front().second));
  }
  summarise(out);
  return out;
}

std::string to_text(const HoldOut& result) {
  std::string out = fmt::format("hold-out of {} runs:", result.runs.size());
  if (result.designs > 0) {
    out += fmt::format(" median |log10(predicted D50 / measured)| {:.3f} over {} design{} (a factor of {:.3g});",
                       result.median_error, result.designs, result.designs == 1 ? "" : "s",
                       std::pow(10.0, result.median_error));
  }
  out += fmt::format(" {:g}% intervals of a run cover {:.1f}%", 100 * result.level, 100 * result.coverage);
  if (result.censored > 0) {
    out += fmt::format("; of {} that did not emerge {} are predicted beyond their last evaluation", result.censored,
                       result.censored_beyond);
  }
  out += "\n";
  for (const auto& [fold, why] : result.left_out) out += fmt::format("  left out: {}: {}\n", fold, why);
  for (const std::string& warning : result.warnings) out += "  warning: " + warning + "\n";
  return out;
}

std::string to_json(const HoldOut& result) {
  const auto number = [](double v) { return std::isfinite(v) ? nlohmann::ordered_json(v) : nullptr; };
  nlohmann::ordered_json json;
  json["level"] = result.level;
  json["median_error"] = number(result.median_error);
  json["designs"] = result.designs;
  json["coverage"] = number(result.coverage);
  json["censored"] = result.censored;
  json["censored_beyond"] = result.censored_beyond;
  json["runs"] = nlohmann::ordered_json::array();
  for (const HeldOutRun& run : result.runs) {
    json["runs"].push_back({{"design", run.design},
                            {"seed", run.seed},
                            {"fold", run.fold},
                            {"predicted", number(run.predicted.estimate)},
                            {"low", number(run.predicted.any_low)},
                            {"high", number(run.predicted.any_high)},
                            {"measured", number(run.measured)},
                            {"emerged", run.emerged},
                            {"covered", run.covered}});
  }
  json["left_out"] = nlohmann::ordered_json::object();
  for (const auto& [fold, why] : result.left_out) json["left_out"][fold] = why;
  json["warnings"] = result.warnings;
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace hylas::fitting
