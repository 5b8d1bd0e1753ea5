// The fit of a loss law: checks of rows and options, starts, the solver, the likelihood behind the residual loss, what
// a bound or a second basin leaves unidentified.
#include "fitting/loss_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "fitting/identify.hpp"
#include "fitting/parallel.hpp"

namespace hylas::fitting {
namespace {

constexpr double kRivalRatio = 2e-3;  // basins this close in the objective explain the data as well
constexpr double kRivalDiffers = 0.05;

void check_column(const std::vector<double>& values, const std::string& name, bool positive, bool varies) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]) || (positive && values[i] <= 0)) {
      throw InputError(fmt::format("point {}: {} is {}; it must be a {} number", i + 1, name, values[i],
                                   positive ? "positive" : "finite"));
    }
  }
  if (varies && std::set<double>(values.begin(), values.end()).size() < 2) {
    throw InputError(
        fmt::format("{} is {} at every point: a constant column says nothing; add points that differ in {}", name,
                    values.empty() ? 0.0 : values[0], name));
  }
}

void check_data(const LossLawText& law, const LossData& data) {
  const std::size_t rows = data.loss.size();
  std::string lengths = fmt::format("loss {}", rows);
  bool equal = (data.run.empty() || data.run.size() == rows) && (data.weight.empty() || data.weight.size() == rows);
  for (const auto& [name, values] : data.columns) {
    lengths += fmt::format(", {} {}", name, values.size());
    equal = equal && values.size() == rows;
  }
  if (!equal) {
    throw InputError(fmt::format("columns of different lengths: {}, run {}, weight {}", lengths, data.run.size(),
                                 data.weight.size()));
  }
  if (rows == 0) throw InputError("no points");
  for (const LossColumnText& column : law.columns) {
    if (!data.has(column.name)) {
      if (!column.required) continue;
      throw InputError(fmt::format("law {} needs a column {} ({})", law.name, column.name, column.meaning));
    }
    check_column(data.at(column.name), column.name, column.positive, column.varies);
  }
  check_column(data.loss, "loss", true, true);
  for (std::size_t i = 0; i < data.weight.size(); ++i) {
    if (!std::isfinite(data.weight[i]) || data.weight[i] < 0)
      throw InputError(fmt::format("point {}: weight is {}; it must not be negative", i + 1, data.weight[i]));
  }
}

void check_options(const LossLawText& law, const LossOptions& options) {
  if (!(options.delta > 0) || !(options.level > 0 && options.level < 1) || options.starts < 1 ||
      options.bootstrap < 0) {
    throw InputError("delta must be positive, level inside (0, 1), starts at least 1, bootstrap at least 0");
  }
  if (options.bootstrap > 0 && options.bootstrap < 20 && options.intervals != LossIntervals::sandwich)
    throw InputError(
        fmt::format("{} bootstrap replicates have no quantiles: give at least 20, or 0", options.bootstrap));
  for (const auto& [name, value] : options.settings) {
    const auto known = std::ranges::find(law.settings, name, &LossSettingText::name);
    if (known == law.settings.end()) throw InputError(fmt::format("law {} has no setting '{}'", law.name, name));
    if (!(value >= known->low && value <= known->high)) {
      throw InputError(fmt::format("setting {} of law {} is {}; it must lie in [{}, {}]", name, law.name, value,
                                   known->low, known->high));
    }
  }
}

std::size_t parameter_index(const LossModel& model, const std::string& name) {
  std::vector<std::string> names;
  for (const LossParameter& p : model.parameters()) {
    if (p.name == name) return names.size();
    names.push_back(p.name);
  }
  throw InputError(fmt::format("the law has no parameter '{}'; it has {}", name, fmt::join(names, ", ")));
}

// Parameters held by the caller: each is one coordinate, given the others it is made of.
void hold_fixed(LossProblem& problem, const LossOptions& options, Vector& values) {
  const auto& parameters = problem.model.parameters();
  std::vector<double> given(parameters.size(), kNaN);
  for (const auto& [name, value] : options.fixed) given[parameter_index(problem.model, name)] = value;
  values = problem.model.coordinates_at(given);
  for (std::size_t j = 0; j < parameters.size(); ++j) {
    if (std::isnan(given[j])) continue;
    const int own = parameters[j].coordinates[0];
    if (!std::isfinite(values[own])) {
      throw InputError(
          fmt::format("{} can be held at {} only together with the parameters it depends on (its exponent)",
                      parameters[j].name, given[j]));
    }
    if (values[own] < problem.box.lower[own] || values[own] > problem.box.upper[own]) {
      throw InputError(fmt::format("{} held at {} lies outside what the law allows", parameters[j].name, given[j]));
    }
    problem.fixed[own] = true;
  }
}

void narrow(LossProblem& problem, const LossOptions& options) {
  const auto& parameters = problem.model.parameters();
  for (const auto& [name, range] : options.bounds) {
    const std::size_t j = parameter_index(problem.model, name);
    const int own = parameters[j].coordinates[0];
    std::vector<double> low(parameters.size(), kNaN), high = low;
    low[j] = range.first;
    high[j] = range.second;
    const double a = problem.model.coordinates_at(low)[own], b = problem.model.coordinates_at(high)[own];
    if (!(a < b)) {
      throw InputError(
          fmt::format("{} cannot be bounded by {} and {}: give two ascending values, and bound exponents "
                      "rather than the sizes that go with them",
                      name, range.first, range.second));
    }
    problem.box.lower[own] = std::max(problem.box.lower[own], a);
    problem.box.upper[own] = std::min(problem.box.upper[own], b);
    if (!(problem.box.lower[own] < problem.box.upper[own]))
      throw InputError(
          fmt::format("the bounds {} to {} of {} lie outside the law's own", range.first, range.second, name));
  }
}

std::vector<Vector> starts_of(const LossProblem& problem, const LossOptions& options) {
  std::vector<Vector> starts;
  for (const std::vector<double>& values : options.start_at) {
    if (values.size() != problem.model.parameters().size())
      throw InputError(
          fmt::format("a start has {} values for {} parameters", values.size(), problem.model.parameters().size()));
    const Vector theta = problem.model.coordinates_at(values);
    if (!theta.allFinite()) throw InputError("a start is not finite in the law's coordinates");
    starts.push_back(problem.box.clamp(theta));
  }
  return starts.empty() ? problem.model.starts(problem.sample, options.starts) : starts;
}

MultiStart solve_all(const LossProblem& problem, std::vector<Vector> starts, const Vector& held, int threads) {
  std::vector<Solution> all(starts.size());
  parallel_for(static_cast<int>(starts.size()), threads, [&](int i) {
    for (Eigen::Index j = 0; j < held.size(); ++j) {
      if (problem.fixed[static_cast<std::size_t>(j)]) starts[i][j] = held[j];
    }
    all[i] = solve_loss(problem, problem.sample, starts[i], false);
  });
  return best_of(std::move(all));
}

// The part whose exponent is on its bound, or the exponent of a part that is, means nothing either.
void flag_bounds(LossFit& result, const LossProblem& problem, const Solution& best) {
  const auto& parameters = problem.model.parameters();
  for (std::size_t j = 0; j < parameters.size(); ++j) {
    bool own = true;
    for (const int c : parameters[j].coordinates) {
      if (best.edge[c] != Edge::none) {
        const std::string side = best.edge[c] == Edge::lower ? "lower" : "upper";
        not_identified(result.fit.parameters[j],
                       own ? fmt::format("on its {} bound", side)
                           : fmt::format("{} is on its bound", problem.model.coordinates()[c].name));
      }
      own = false;
    }
  }
}

void flag_rivals(LossFit& result, const LossProblem& problem, const MultiStart& fits) {
  const auto& parameters = problem.model.parameters();
  for (const int i : rival_basins(fits, kRivalRatio, 0)) {
    const std::vector<double> other = problem.model.reported(fits.all[i].theta);
    for (std::size_t j = 0; j < parameters.size(); ++j) {
      Parameter& p = result.fit.parameters[j];
      const int own = parameters[j].coordinates[0];
      const double moved = parameters[j].ratio ? std::abs(other[j] - p.estimate) / std::max(std::abs(p.estimate), 1e-12)
                                               : std::abs(fits.all[i].theta[own] - fits.best.theta[own]);
      if (moved > kRivalDiffers) {
        not_identified(p, fmt::format("another basin, its objective {:.2g}% above, has {:.4g}",
                                      100 * (fits.all[i].objective / fits.best.objective - 1), other[j]));
      }
    }
  }
}

// A size at N = 1 or D = 1 is an extrapolation by its exponent: it is known no better than that.
void flag_sizes(LossFit& result) {
  const auto& parameters = result.model->parameters();
  for (std::size_t j = 0; j < parameters.size(); ++j) {
    for (std::size_t k = 0; k < parameters.size(); ++k) {
      if (parameters[j].ratio || !parameters[k].ratio || result.fit.parameters[k].identified) continue;
      const auto& made_of = parameters[j].coordinates;
      if (std::find(made_of.begin() + 1, made_of.end(), parameters[k].coordinates[0]) != made_of.end())
        not_identified(result.fit.parameters[j], parameters[k].name + " is not identified");
    }
  }
}

void describe_likelihood(LossFit& result, const LossProblem& problem, const MultiStart& fits) {
  Fit& fit = result.fit;
  const LossSample& sample = problem.sample;
  const double total = sample.weights.sum();
  fit.objective = fits.best.objective / sample.residual.scale();
  if (sample.residual.kind == ResidualLoss::Kind::l1) {  // the sum itself, not its smooth stand-in
    const Vector r = problem.model.log_losses(sample.features, fits.best.theta) - sample.log_loss;
    fit.objective = (sample.weights.array() * r.array().abs()).sum();
  }
  result.scale = sample.residual.fitted_scale(fit.objective, total);
  fit.log_likelihood = sample.residual.log_likelihood(fit.objective, total, result.scale);
  double free = 1;  // the scale
  for (std::size_t j = 0; j < problem.fixed.size(); ++j) free += !problem.fixed[j] && fits.best.edge[j] == Edge::none;
  fit.aic = 2 * (free - fit.log_likelihood);
  fit.bic = std::log(static_cast<double>(fit.runs)) * free - 2 * fit.log_likelihood;
}

LossProblem problem_of(const LossModel& model, const LossData& data, const LossOptions& options) {
  const auto rows = static_cast<Eigen::Index>(data.loss.size());
  LossProblem problem{model, {}, model.box(), std::vector<bool>(model.coordinates().size(), false), {}};
  problem.sample.features = model.features(data);
  problem.sample.log_loss = Eigen::Map<const Eigen::ArrayXd>(data.loss.data(), rows).log().matrix();
  problem.sample.weights = Vector::Ones(rows);
  if (!data.weight.empty()) problem.sample.weights = Eigen::Map<const Vector>(data.weight.data(), rows);
  problem.sample.residual = {residual_loss_kind(options.residual), options.delta};
  problem.units = data.run.empty() ? each_its_own(static_cast<int>(rows)) : grouped(data.run);
  return problem;
}

// Whether a Huber sum has next to no curvature here: its residuals are nearly all far in the linear part. Seeds of the
// variable projection are not, and keep their own basins.
bool is_far(const LossProblem& problem, const LossSample& sample, const Vector& theta) {
  if (sample.residual.kind != ResidualLoss::Kind::huber) return false;
  const Vector off = problem.model.log_losses(sample.features, theta) - sample.log_loss;
  return off.cwiseAbs().mean() > 100 * sample.residual.delta;
}

}  // namespace

Solution solve_loss(const LossProblem& problem, const LossSample& sample, const Vector& start, bool near) {
  const auto objective = problem.model.objective(sample);
  const bool l1 = sample.residual.kind == ResidualLoss::Kind::l1;
  Vector theta = start;
  if (!l1 && (near || !is_far(problem, sample, start))) {
    Solution s = minimise(*objective, problem.box, theta, problem.fixed, {.near = near});
    if (s.converged || sample.residual.kind == ResidualLoss::Kind::squares) return s;
    theta = s.theta;
  }
  // From far a small delta sees only signs: wide ones first. They also lead an L1 sum to its minimum.
  LossSample smooth = sample;
  smooth.residual.kind = ResidualLoss::Kind::huber;
  for (const double delta : {10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5}) {
    if (l1 && delta > 1) continue;
    if (!l1 && delta <= sample.residual.delta) break;
    smooth.residual.delta = delta;
    const SolverOptions rough{.tolerance = 1e-3, .near = true};
    theta = minimise(*problem.model.objective(smooth), problem.box, theta, problem.fixed, rough).theta;
  }
  return minimise(*objective, problem.box, theta, problem.fixed, {.near = true});
}

LossFit fit_loss(const LossLaw& law, const LossData& data, const LossOptions& options) {
  const LossLawText text = law.text();
  check_data(text, data);
  check_options(text, options);
  LossFit result;
  LossSettings settings = options.settings;
  for (const LossSettingText& s : text.settings) settings.emplace(s.name, s.value);
  result.model = law.on(data, settings);
  result.residual = options.residual;
  result.delta = options.delta;
  LossProblem problem = problem_of(*result.model, data, options);
  Vector held;
  hold_fixed(problem, options, held);
  narrow(problem, options);
  const auto free = static_cast<std::size_t>(std::ranges::count(problem.fixed, false));
  if (data.loss.size() <= free) {
    throw InputError(fmt::format("{} points for {} parameters: give at least {}", data.loss.size(), free, free + 1));
  }
  const MultiStart fits = solve_all(problem, starts_of(problem, options), held, options.threads);

  Fit& fit = result.fit;
  fit.law = text.name;
  fit.level = options.level;
  fit.interval_method = "none";
  fit.points = static_cast<int>(data.loss.size());
  fit.runs = problem.units.count;
  std::vector<std::string> names;
  for (const LossCoordinate& c : result.model->coordinates()) names.push_back(c.name);
  describe_solution(fit, fits, names);
  describe_likelihood(result, problem, fits);
  const std::vector<double> values = result.model->reported(fits.best.theta);
  const auto& parameters = result.model->parameters();
  for (std::size_t j = 0; j < parameters.size(); ++j)
    fit.parameters.push_back({parameters[j].name, values[j], kNaN, kNaN, kNaN, true, ""});
  flag_bounds(result, problem, fits.best);
  flag_rivals(result, problem, fits);
  for (std::size_t j = 0; j < parameters.size(); ++j) {
    if (problem.fixed[parameters[j].coordinates[0]]) fit.parameters[j].why = "held by the caller";
  }
  if (!fit.converged) {
    for (Parameter& p : fit.parameters) not_identified(p, "the fit did not converge");
  } else if (options.intervals == LossIntervals::sandwich) {
    add_sandwich(result, problem, fits, options);
    flag_flat_profiles(result, problem, fits, options);
  } else if (options.bootstrap > 0 && options.intervals != LossIntervals::none) {
    add_sandwich(result, problem, fits, options);
    flag_flat_profiles(result, problem, fits, options);
    add_loss_bootstrap(result, problem, fits, options);
  }
  flag_sizes(result);
  return result;
}

}  // namespace hylas::fitting
