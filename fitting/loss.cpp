// Loss data, the table of laws, predictions and hold-out; the fit itself is in loss_fit.cpp.
#include "fitting/loss.hpp"

#include <fmt/format.h>

#include <cmath>

#include "fitting/distributions.hpp"
#include "fitting/loss_law.hpp"
#include "fitting/random.hpp"

namespace hylas::fitting {
namespace {

const std::vector<std::unique_ptr<LossLaw>>& laws() {
  static const std::vector<std::unique_ptr<LossLaw>> all = make_loss_laws();
  return all;
}

Vector as_vector(const std::vector<double>& values) {
  return Eigen::Map<const Vector>(values.data(), static_cast<Eigen::Index>(values.size()));
}

// ln L by row (first index) and draw.
std::vector<std::vector<double>> drawn_log_losses(const LossFit& fit, const Matrix& features) {
  std::vector<std::vector<double>> by_row(static_cast<std::size_t>(features.rows()));
  for (const std::vector<double>& draw : fit.fit.draws) {
    const Vector logs = fit.model->log_losses(features, as_vector(draw));
    for (std::size_t i = 0; i < by_row.size(); ++i) by_row[i].push_back(logs[static_cast<Eigen::Index>(i)]);
  }
  return by_row;
}

}  // namespace

LossData LossData::of(std::vector<double> n, std::vector<double> d, std::vector<double> loss,
                      std::vector<std::string> run) {
  return {{{"N", std::move(n)}, {"D", std::move(d)}}, std::move(loss), {}, std::move(run)};
}

std::size_t LossData::rows() const {
  return columns.empty() ? loss.size() : columns.begin()->second.size();
}

const std::vector<double>& LossData::at(const std::string& column) const {
  const auto found = columns.find(column);
  if (found == columns.end()) throw InputError(fmt::format("the law needs a column {}", column));
  return found->second;
}

LossData rows_where(const LossData& data, const std::vector<bool>& mask, bool value) {
  LossData out;
  const auto keep = [&](const auto& from, auto& to) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      if (mask[i] == value) to.push_back(from[i]);
    }
  };
  for (const auto& [name, values] : data.columns) keep(values, out.columns[name]);
  keep(data.loss, out.loss);
  keep(data.weight, out.weight);
  keep(data.run, out.run);
  return out;
}

const std::vector<LossLawText>& loss_laws() {
  static const std::vector<LossLawText> texts = [] {
    std::vector<LossLawText> all;
    for (const auto& law : laws()) all.push_back(law->text());
    return all;
  }();
  return texts;
}

LossFit fit_loss(std::string_view law, const LossData& data, const LossOptions& options) {
  std::vector<std::string> names;
  for (const auto& known : laws()) {
    names.push_back(known->text().name);
    if (names.back() == law) return fit_loss(*known, data, options);
  }
  throw InputError(fmt::format("unknown loss law '{}'; known: {}", law, fmt::join(names, ", ")));
}

std::vector<LossPrediction> predict_loss(const LossFit& fit, const LossData& rows) {
  for (const auto& [name, values] : rows.columns) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) throw InputError(fmt::format("row {}: {} is {}", i + 1, name, values[i]));
    }
  }
  const Matrix features = fit.model->features(rows);
  const Vector best = fit.model->log_losses(features, as_vector(fit.fit.theta));
  const auto drawn = drawn_log_losses(fit, features);
  std::vector<LossPrediction> out(rows.rows());
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].loss = std::exp(best[static_cast<Eigen::Index>(i)]);
    out[i].ci_low = std::exp(quantile(drawn[i], 0.5 - 0.5 * fit.fit.level));
    out[i].ci_high = std::exp(quantile(drawn[i], 0.5 + 0.5 * fit.fit.level));
    out[i].warnings = fit.model->warnings(rows, i);
  }
  return out;
}

LossPrediction predict_loss(const LossFit& fit, double n, double d) {
  if (!(n > 0) || !(d > 0)) throw InputError(fmt::format("N and D must be positive, got N = {}, D = {}", n, d));
  return predict_loss(fit, LossData::of({n}, {d}, {})).front();
}

// A new row scatters around the curve by the residuals' density: each draw of the curve gets a residual of its own.
LossHoldOut hold_out(const LossFit& fit, const LossData& rows) {
  LossHoldOut out;
  out.rows = static_cast<int>(rows.loss.size());
  if (out.rows == 0) return out;
  const Matrix features = fit.model->features(rows);
  const Vector best = fit.model->log_losses(features, as_vector(fit.fit.theta));
  auto drawn = drawn_log_losses(fit, features);
  const ResidualLoss residual{residual_loss_kind(fit.residual), fit.delta};
  double squares = 0, inside = 0;
  for (std::size_t i = 0; i < rows.loss.size(); ++i) {
    const double y = std::log(rows.loss[i]);
    squares += std::pow(y - best[static_cast<Eigen::Index>(i)], 2);
    Stream stream(1, i);
    for (double& value : drawn[i]) value += residual.draw(fit.scale, stream);
    inside += quantile(drawn[i], 0.5 - 0.5 * fit.fit.level) <= y && y <= quantile(drawn[i], 0.5 + 0.5 * fit.fit.level);
  }
  out.rmse_log = std::sqrt(squares / out.rows);
  if (!fit.fit.draws.empty()) out.coverage = inside / out.rows;
  return out;
}

ChinchillaLaw chinchilla_at(const LossFit& fit, const std::vector<double>& theta) {
  if (fit.fit.law != "chinchilla") throw InputError("a fit of '" + fit.fit.law + "' has no E, A, B, alpha, beta");
  const std::vector<double> values = fit.model->reported(as_vector(theta));
  return {values[0], values[1], values[2], values[3], values[4]};
}

double ChinchillaLaw::loss(double n, double d) const {
  return e + std::exp(std::log(a) - alpha * std::log(n)) + std::exp(std::log(b) - beta * std::log(d));
}

}  // namespace hylas::fitting
