// Loss laws: input checks, the fit of approach 3 with its bootstrap and identification flags, predictions, hold-out.
#include "fitting/loss.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "fitting/bootstrap.hpp"
#include "fitting/distributions.hpp"
#include "fitting/identify.hpp"
#include "fitting/laws/chinchilla.hpp"

namespace hylas::fitting {
namespace {

constexpr double kRivalRatio = 1e-3;  // two basins within 0.1% of the objective (MATHS 3)
constexpr double kRivalDiffers = 0.05;
const std::vector<std::string> kNames = {"E", "A", "B", "alpha", "beta"};

void check_column(const std::vector<double>& values, const char* name) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]) || values[i] <= 0) {
      throw InputError(fmt::format("point {}: {} is {}; it must be a positive number", i + 1, name, values[i]));
    }
  }
  if (std::set<double>(values.begin(), values.end()).size() < 2) {
    throw InputError(
        fmt::format("{} is {} at every point: a constant column says nothing; add points that differ in {}", name,
                    values.empty() ? 0.0 : values[0], name));
  }
}

void check(const LossData& data, const LossOptions& options) {
  const std::size_t rows = data.loss.size();
  if (data.n.size() != rows || data.d.size() != rows || (!data.run.empty() && data.run.size() != rows)) {
    throw InputError(fmt::format("columns of different lengths: N {}, D {}, loss {}, run {}", data.n.size(),
                                 data.d.size(), rows, data.run.size()));
  }
  if (rows <= ChinchillaTerms::kCoordinates) {
    throw InputError(fmt::format("{} points for {} parameters: give at least {}", rows,
                                 static_cast<int>(ChinchillaTerms::kCoordinates), ChinchillaTerms::kCoordinates + 1));
  }
  check_column(data.n, "N");
  check_column(data.d, "D");
  check_column(data.loss, "loss");
  if (!(options.delta > 0) || !(options.level > 0 && options.level < 1) || options.starts < 1 ||
      options.bootstrap < 0) {
    throw InputError("delta must be positive, level inside (0, 1), starts at least 1, bootstrap at least 0");
  }
}

std::vector<double> reported(const LossFit& fit, const std::vector<double>& theta) {
  const ChinchillaLaw law = chinchilla_at(fit, theta);
  return {law.e, law.a, law.b, law.alpha, law.beta};
}

std::vector<double> plain(const Vector& v) {
  return {v.begin(), v.end()};
}

// Coordinates and reported parameters have the same order: e, a, b, alpha, beta. The exponent of a part that is on its
// zero bound, and the size of one whose exponent is, mean nothing either.
void flag_bounds(Fit& fit, const Solution& s) {
  for (int j = 0; j < ChinchillaTerms::kCoordinates; ++j) {
    if (s.edge[j] == Edge::none) continue;
    not_identified(fit.parameters[j], s.edge[j] == Edge::lower ? "on its lower bound" : "on its upper bound");
    const int partner = j == ChinchillaTerms::kA       ? ChinchillaTerms::kAlpha
                        : j == ChinchillaTerms::kAlpha ? ChinchillaTerms::kA
                        : j == ChinchillaTerms::kB     ? ChinchillaTerms::kBeta
                        : j == ChinchillaTerms::kBeta  ? ChinchillaTerms::kB
                                                       : -1;
    if (partner >= 0) not_identified(fit.parameters[partner], kNames[j] + " is on its bound");
  }
}

void flag_rivals(LossFit& result, const MultiStart& fits) {
  for (int i : rival_basins(fits, kRivalRatio, 0)) {
    const std::vector<double> other = reported(result, plain(fits.all[i].theta));
    for (int j = 0; j < ChinchillaTerms::kCoordinates; ++j) {
      Parameter& p = result.fit.parameters[j];
      const bool logarithmic =
          j == ChinchillaTerms::kA || j == ChinchillaTerms::kB;  // sizes at N = 1 move with exponents
      const double moved = logarithmic ? std::abs(fits.all[i].theta[j] - fits.best.theta[j])
                                       : std::abs(other[j] - p.estimate) / std::max(std::abs(p.estimate), 1e-12);
      if (moved > kRivalDiffers) {
        not_identified(p, fmt::format("a second basin within 0.1% of the objective has {:.4g}", other[j]));
      }
    }
  }
}

// Percentile intervals; a parameter that the bootstrap pushes onto a bound in over 5% of its draws is not identified.
void add_bootstrap(LossFit& result, const LossData& data, const ChinchillaTerms& law, const MultiStart& fits,
                   const LossOptions& options) {
  Fit& fit = result.fit;
  const Box box = box_of(law.coordinates());
  const Units units = data.run.empty() ? each_its_own(law.terms()) : grouped(data.run);
  if (units.count < 3) {
    fit.warnings.push_back(fmt::format("{} runs are too few to resample: no intervals", units.count));
    return;
  }
  const auto solutions = bootstrap(units, options.bootstrap, options.seed, options.threads, [&](const auto& weights) {
    const LawObjective<ChinchillaTerms> objective(law, weights);
    return minimise(objective, box, fits.best.theta);
  });
  std::vector<std::vector<double>> columns(kNames.size());
  std::vector<int> on_bound(kNames.size(), 0);
  for (const Solution& s : solutions) {
    if (!s.converged) continue;
    fit.draws.push_back(plain(s.theta));
    const std::vector<double> values = reported(result, fit.draws.back());
    for (std::size_t j = 0; j < values.size(); ++j) {
      columns[j].push_back(values[j]);
      on_bound[j] += s.edge[j] != Edge::none;
    }
  }
  const auto used = static_cast<double>(fit.draws.size());
  if (used < 0.9 * options.bootstrap) {
    fit.warnings.push_back(fmt::format("{} of {} bootstrap fits did not converge and were left out",
                                       options.bootstrap - static_cast<int>(used), options.bootstrap));
  }
  for (std::size_t j = 0; j < kNames.size() && used > 0; ++j) {
    Parameter& p = fit.parameters[j];
    p.ci_low = quantile(columns[j], 0.5 - 0.5 * options.level);
    p.ci_high = quantile(columns[j], 0.5 + 0.5 * options.level);
    if (on_bound[j] > 0.05 * used) {
      not_identified(p, fmt::format("{:.0f}% of the bootstrap fits put it on its bound", 100 * on_bound[j] / used));
    }
  }
  fit.interval_method = fmt::format("bootstrap {}, {} replicates, percentiles",
                                    data.run.empty() ? "of points" : "by run", fit.draws.size());
}

}  // namespace

std::vector<std::string> loss_laws() {
  return {"chinchilla"};
}

LossFit fit_loss(std::string_view law, const LossData& data, const LossOptions& options) {
  if (law == "chinchilla") return fit_chinchilla(data, options);
  throw InputError(fmt::format("unknown loss law '{}'; known: {}", law, fmt::join(loss_laws(), ", ")));
}

LossFit fit_chinchilla(const LossData& data, const LossOptions& options) {
  check(data, options);
  const ChinchillaTerms law(data, options.delta, options.starts);
  const LawObjective<ChinchillaTerms> objective(law);
  const MultiStart fits = minimise_from(objective, box_of(law.coordinates()), law.starts());

  LossFit result;
  Fit& fit = result.fit;
  fit.law = "chinchilla";
  fit.level = options.level;
  fit.interval_method = "none";
  fit.points = law.terms();
  fit.runs = data.run.empty() ? law.terms() : grouped(data.run).count;
  result.log_n0 = law.log_n0();
  result.log_d0 = law.log_d0();
  std::tie(result.n_min, result.n_max) =
      std::pair(*std::ranges::min_element(data.n), *std::ranges::max_element(data.n));
  std::tie(result.d_min, result.d_max) =
      std::pair(*std::ranges::min_element(data.d), *std::ranges::max_element(data.d));
  std::vector<std::string> names;
  for (const Coordinate& c : law.coordinates()) names.push_back(c.name);
  describe_solution(fit, fits, names);
  fit.objective = fits.best.objective / law.scale();

  const std::vector<double> values = reported(result, fit.theta);
  for (std::size_t j = 0; j < kNames.size(); ++j)
    fit.parameters.push_back({kNames[j], values[j], kNaN, kNaN, kNaN, true, ""});
  flag_bounds(fit, fits.best);
  flag_rivals(result, fits);
  if (options.bootstrap > 0) add_bootstrap(result, data, law, fits, options);
  return result;
}

ChinchillaLaw chinchilla_at(const LossFit& fit, const std::vector<double>& theta) {
  return {std::exp(theta[0]), std::exp(theta[1] + theta[3] * fit.log_n0), std::exp(theta[2] + theta[4] * fit.log_d0),
          theta[3], theta[4]};
}

double ChinchillaLaw::loss(double n, double d) const {
  return e + std::exp(std::log(a) - alpha * std::log(n)) + std::exp(std::log(b) - beta * std::log(d));
}

LossPrediction predict_loss(const LossFit& fit, double n, double d) {
  if (!(n > 0) || !(d > 0)) throw InputError(fmt::format("N and D must be positive, got N = {}, D = {}", n, d));
  LossPrediction p;
  p.loss = chinchilla_at(fit, fit.fit.theta).loss(n, d);
  std::vector<double> values;
  for (const auto& draw : fit.fit.draws) values.push_back(chinchilla_at(fit, draw).loss(n, d));
  p.ci_low = quantile(values, 0.5 - 0.5 * fit.fit.level);
  p.ci_high = quantile(values, 0.5 + 0.5 * fit.fit.level);
  const auto beyond = [&](double value, double low, double high, const char* name) {
    if (value > 10 * high || value < low / 10) {
      p.warnings.push_back(
          fmt::format("{} = {:.3g} is more than 10x beyond the fitted {:.3g} to {:.3g}", name, value, low, high));
    }
  };
  beyond(n, fit.n_min, fit.n_max, "N");
  beyond(d, fit.d_min, fit.d_max, "D");
  return p;
}

LossData rows_where(const LossData& data, const std::vector<bool>& mask, bool value) {
  LossData out;
  for (std::size_t i = 0; i < data.loss.size(); ++i) {
    if (mask[i] != value) continue;
    out.n.push_back(data.n[i]);
    out.d.push_back(data.d[i]);
    out.loss.push_back(data.loss[i]);
    if (!data.run.empty()) out.run.push_back(data.run[i]);
  }
  return out;
}

double rmse_log(const LossFit& fit, const LossData& data) {
  const ChinchillaLaw law = chinchilla_at(fit, fit.fit.theta);
  double sum = 0;
  for (std::size_t i = 0; i < data.loss.size(); ++i) {
    sum += std::pow(std::log(data.loss[i] / law.loss(data.n[i], data.d[i])), 2);
  }
  return data.loss.empty() ? kNaN : std::sqrt(sum / static_cast<double>(data.loss.size()));
}

}  // namespace hylas::fitting
