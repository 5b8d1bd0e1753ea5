// The asymptote test: the two laws, the bootstrap, power, the verdict.
#include "fitting/asymptote.hpp"

#include <fmt/format.h>

#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "fitting/curve_fit.hpp"
#include "fitting/distributions.hpp"
#include "fitting/emergence_checks.hpp"
#include "fitting/parallel.hpp"
#include "fitting/simulate_curves.hpp"

namespace hylas::fitting {
namespace {

// Both laws on the same runs, and the way from one's coordinates to the other's.
struct Laws {
  EmergenceCurveTerms shared, separate;
  Eigen::Index plateau, groups;  // index of A among the shared coordinates; designs

  Laws(const std::vector<CurveRun>& runs, const Columns& columns, const Sharing& designs, const Sharing& floors)
      : shared(emergence_curve_terms(runs, columns, nullptr, {}, floors)),
        separate(emergence_curve_terms(runs, columns, nullptr, designs, floors)),
        plateau(static_cast<Eigen::Index>(shared.coordinates().size()) - 4),
        groups(static_cast<Eigen::Index>(designs.names.size())) {}

  [[nodiscard]] Vector expand(const Vector& theta) const {
    Vector all(theta.size() + groups - 1);
    all << theta.head(plateau), Vector::Constant(groups, theta[plateau]), theta.tail(3);
    return all;
  }
  [[nodiscard]] Vector collapse(const Vector& theta) const {
    Vector one(theta.size() - groups + 1);
    one << theta.head(plateau), theta.segment(plateau, groups).mean(), theta.tail(3);
    return one;
  }
};

Sharing designs_of(const std::vector<CurveRun>& runs) {
  std::map<std::string, int> index;
  for (const CurveRun& run : runs) {
    if (run.design.empty()) throw InputError("the asymptote test needs a design name for every run");
    index.emplace(run.design, 0);
  }
  if (index.size() < 2) {
    throw InputError(fmt::format("the asymptote test compares designs, but the {} runs have one design", runs.size()));
  }
  Sharing sharing;
  for (auto& [name, i] : index) {
    i = static_cast<int>(sharing.names.size());
    sharing.names.push_back(name);
  }
  for (const CurveRun& run : runs) sharing.of.push_back(index[run.design]);
  return sharing;
}

// Both fits of the observed runs; each also starts where the other ended.
struct Fits {
  MultiStart shared, separate;
};
Fits fit_both(AsymptoteTest& test, const Laws& laws, const std::vector<CurveRun>& runs,
              const AsymptoteOptions& options) {
  EmergenceOptions plain;
  plain.terms = options.terms;
  plain.intervals = false;
  plain.threads = options.threads;
  Fits fits;
  EmergenceFit separate;
  separate.columns = test.shared.columns;
  const EmergenceFit blank = test.shared;
  fits.shared = fit_curves(test.shared, laws.shared, runs, plain);
  fits.separate = fit_curves(separate, laws.separate, runs, plain, {laws.expand(fits.shared.best.theta)});
  const Solution again = minimise(LawObjective<EmergenceCurveTerms>(laws.shared), box_of(laws.shared.coordinates()),
                                  laws.collapse(fits.separate.best.theta), {}, kCurveSolver);
  if (again.converged && again.objective < fits.shared.best.objective - 1e-6) {
    test.shared = blank;
    fits.shared = fit_curves(test.shared, laws.shared, runs, plain, {again.theta});
  }
  test.separate = separate.fit;
  return fits;
}

// One replicate: the statistic on curves drawn from the shared fit; none where a refit did not converge.
std::optional<double> replicate_statistic(const std::vector<CurveRun>& runs, const AsymptoteTest& test,
                                          const Sharing& designs, const Sharing& floors, const Vector& theta,
                                          const Laws& observed, std::uint64_t seed, int replicate) {
  Stream stream(seed, static_cast<std::uint64_t>(replicate));
  std::vector<CurveRun> drawn;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    double x[RunIntegral::kScalars] = {};
    const auto& coordinates = observed.shared.coordinates();
    for (std::size_t j = 0; j < coordinates.size(); ++j) {
      const double column = coordinates[j].column.empty() ? 1 : coordinates[j].column[i];
      x[coordinates[j].scalar] += column * theta[static_cast<Eigen::Index>(j)];
    }
    drawn.push_back(
        simulate_curve(runs[i], x[0], {x[1], x[2], std::exp(x[3]), std::exp(x[4]), std::exp(x[5])}, stream));
  }
  const Laws laws(drawn, test.shared.columns, designs, floors);
  const Solution shared = minimise(LawObjective<EmergenceCurveTerms>(laws.shared), box_of(laws.shared.coordinates()),
                                   theta, {}, kCurveSolver);
  const Solution separate = minimise(LawObjective<EmergenceCurveTerms>(laws.separate),
                                     box_of(laws.separate.coordinates()), laws.expand(shared.theta), {}, kCurveSolver);
  if (!shared.converged || !separate.converged) return std::nullopt;
  return std::max(0.0, 2 * (shared.objective - separate.objective));
}

void bootstrap_p(AsymptoteTest& test, const std::vector<CurveRun>& runs, const Sharing& designs, const Sharing& floors,
                 const Vector& theta, const Laws& laws, const AsymptoteOptions& options) {
  std::vector<std::optional<double>> drawn(static_cast<std::size_t>(options.replicates));
  parallel_for(options.replicates, options.threads, [&](int r) {
    drawn[r] = replicate_statistic(runs, test, designs, floors, theta, laws, options.seed, r);
  });
  std::vector<double> statistics;
  for (const auto& value : drawn) {
    if (value) statistics.push_back(*value);
  }
  test.bootstrapped = true;
  test.replicates = static_cast<int>(statistics.size());
  test.left_out = options.replicates - test.replicates;
  const auto beyond = std::ranges::count_if(statistics, [&](double s) { return s >= test.statistic; });
  test.p = static_cast<double>(1 + beyond) / static_cast<double>(1 + statistics.size());
  // The least statistic with p <= level: the (level (R + 1))-th largest.
  std::ranges::sort(statistics, std::greater<>());
  const auto rank = static_cast<std::size_t>(test.level * static_cast<double>(statistics.size() + 1));
  test.critical = rank >= 1 && rank <= statistics.size() ? statistics[rank - 1] : kInfinity;
  test.null_statistics = std::move(statistics);
  if (20 * test.left_out > options.replicates) {
    test.warnings.push_back(
        fmt::format("{} of {} bootstrap refits did not converge and are left out", test.left_out, options.replicates));
  }
}

// The noncentrality of one design's A lying off by delta is delta^2 M_gg, M = S - S 1 1^T S / 1^T S 1 with S the
// inverse covariance of the plateaus at the shared fit.
void find_power(AsymptoteTest& test, const Laws& laws, const Vector& theta) {
  Solution at;
  at.theta = laws.expand(theta);
  (void)LawObjective<EmergenceCurveTerms>(laws.separate).derivatives(at.theta, at.gradient, at.hessian);
  at.edge.assign(static_cast<std::size_t>(at.theta.size()), Edge::none);
  at.fixed.assign(static_cast<std::size_t>(at.theta.size()), false);
  const Matrix covariance = at.covariance().block(laws.plateau, laws.plateau, laws.groups, laws.groups);
  const Matrix s = covariance.inverse();
  const Vector sums = s.rowwise().sum();
  const Matrix m = s - sums * sums.transpose() / sums.sum();
  double low = 0, high = 1;
  const auto seen = [&](double l) {
    return noncentral_chi_squared_survival(test.bartlett * test.critical, test.degrees, l);
  };
  if (!std::isfinite(test.critical)) return;
  while (seen(high) < test.power && high < 1e6) high *= 2;
  for (int i = 0; i < 100 && high - low > 1e-9 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (seen(middle) < test.power ? low : high) = middle;
  }
  double largest = 0;
  for (Eigen::Index g = 0; g < laws.groups; ++g) {
    const double delta = m(g, g) > 0 ? std::sqrt(high / m(g, g)) : kInfinity;
    if (delta <= largest) continue;
    largest = delta;
    test.weakest = test.designs[static_cast<std::size_t>(g)].design;
  }
  const double room = theta[laws.plateau] - test.shared.fit.theta[static_cast<std::size_t>(laws.plateau) - 1];
  test.smallest_difference = largest < room ? largest : kInfinity;
}

void describe_designs(AsymptoteTest& test, const Laws& laws, const Fits& fits, const std::vector<CurveRun>& runs,
                      const Sharing& designs) {
  const Matrix covariance = fits.separate.best.covariance();
  for (std::size_t g = 0; g < designs.names.size(); ++g) {
    const auto j = laws.plateau + static_cast<Eigen::Index>(g);
    DesignPlateau d;
    d.design = designs.names[g];
    d.estimate = fits.separate.best.theta[j];
    if (fits.separate.best.edge[static_cast<std::size_t>(j)] == Edge::none)
      d.standard_error = std::sqrt(covariance(j, j));
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (designs.of[i] != static_cast<int>(g)) continue;
      ++d.runs;
      d.d50 = std::exp(log_d50_at(test.shared, runs[i].x, test.shared.fit.theta));
      d.longest_ratio = std::max(d.longest_ratio, runs[i].tokens.back() / d.d50);
    }
    d.saturates = d.longest_ratio >= kLongEnough;
    test.designs.push_back(std::move(d));
  }
}

bool on_a_bound(const Laws& laws, const Fits& fits) {
  if (fits.shared.best.edge[static_cast<std::size_t>(laws.plateau)] != Edge::none) return true;
  for (Eigen::Index g = 0; g < laws.groups; ++g) {
    if (fits.separate.best.edge[static_cast<std::size_t>(laws.plateau + g)] != Edge::none) return true;
  }
  return false;
}

std::string how(const AsymptoteTest& test) {
  return test.bootstrapped ? fmt::format("parametric bootstrap, {} replicates", test.replicates)
                           : fmt::format("chi-squared, {} degrees of freedom", test.degrees);
}

void give_verdict(AsymptoteTest& test) {
  std::string fitted;
  if (!test.shared.fit.converged) fitted = "the shared law";
  if (!test.separate.converged) fitted += fitted.empty() ? "the law of one plateau a design" : " and the other";
  std::vector<std::string> unfinished;
  for (const DesignPlateau& d : test.designs) {
    if (!d.saturates) unfinished.push_back(fmt::format("{} ({:.2g} D50)", d.design, d.longest_ratio));
  }
  const std::string figures = fmt::format("p = {:.3g} ({})", test.p, how(test));
  test.verdict = AsymptoteVerdict::not_identified;
  if (!fitted.empty()) {
    test.words = fmt::format("not identified: the fit of {} did not converge", fitted);
  } else if (!unfinished.empty()) {
    test.words =
        fmt::format("not identified: the longest run is under 3 D50 for {}; {} rests on the curve's shape alone",
                    fmt::join(unfinished, ", "), figures);
  } else if (test.p <= test.level) {
    test.verdict = AsymptoteVerdict::differ;
    test.words = "the plateaus differ: " + figures;
  } else {
    test.verdict = AsymptoteVerdict::no_difference_seen;
    test.words = "no difference seen: " + figures;
  }
}

void check(const AsymptoteOptions& options) {
  const auto inside = [](double x) { return x > 0 && x < 1; };
  if (!inside(options.level))
    throw InputError(fmt::format("the test's level is {}; it must lie in (0, 1)", options.level));
  if (!inside(options.power)) throw InputError(fmt::format("the power is {}; it must lie in (0, 1)", options.power));
  if (options.replicates < 19) {
    throw InputError(fmt::format("{} bootstrap replicates cannot show a p of 0.05; ask for 19 or more (199 is usual)",
                                 options.replicates));
  }
}

}  // namespace

AsymptoteTest test_common_asymptote(const std::vector<CurveRun>& runs, const AsymptoteOptions& options) {
  check(options);
  check_curves(runs, {});
  const Sharing designs = designs_of(runs), floors = options.floors_by_design ? designs : Sharing{};
  std::vector<DesignCovariates> x;
  x.reserve(runs.size());
  for (const CurveRun& run : runs) x.push_back(run.x);
  AsymptoteTest test;
  test.level = options.level;
  test.power = options.power;
  test.shared.columns = choose_columns(x, options.terms);
  const Laws laws(runs, test.shared.columns, designs, floors);
  const Fits fits = fit_both(test, laws, runs, options);
  const Vector& theta = fits.shared.best.theta;
  describe_designs(test, laws, fits, runs, designs);
  test.degrees = static_cast<int>(laws.groups) - 1;
  test.statistic = std::max(0.0, 2 * (fits.shared.best.objective - fits.separate.best.objective));
  const bool saturated = std::ranges::all_of(test.designs, &DesignPlateau::saturates) && !on_a_bound(laws, fits);
  if (options.reference == AsymptoteReference::bootstrap ||
      (options.reference == AsymptoteReference::automatic && !saturated)) {
    bootstrap_p(test, runs, designs, floors, theta, laws, options);
  } else {
    const auto points = static_cast<double>(test.shared.fit.points);
    const auto coordinates = static_cast<double>(fits.separate.best.theta.size());
    test.bartlett = std::max(0.5, (points - coordinates - 1 + 0.5 * test.degrees) / points);
    test.p = chi_squared_survival(test.bartlett * test.statistic, test.degrees);
    test.critical = chi_squared_quantile(test.level, test.degrees) / test.bartlett;
  }
  find_power(test, laws, theta);
  give_verdict(test);
  return test;
}

}  // namespace hylas::fitting
