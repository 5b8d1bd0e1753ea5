// Printing of fits, and look-ups by parameter name.
#include "fitting/result.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace hylas::fitting {
namespace {

nlohmann::ordered_json number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return value;
}

std::string interval(const Parameter& p) {
  if (std::isnan(p.ci_low) || std::isnan(p.ci_high)) return "";
  const auto end = [](double v) {
    return std::isinf(v) ? std::string(v < 0 ? "-inf" : "inf") : fmt::format("{:.5g}", v);
  };
  return fmt::format("[{}, {}]", end(p.ci_low), end(p.ci_high));
}

}  // namespace

const Parameter& Fit::parameter(std::string_view name) const {
  const auto found = std::ranges::find(parameters, name, &Parameter::name);
  if (found == parameters.end()) throw std::out_of_range(fmt::format("the {} fit has no parameter '{}'", law, name));
  return *found;
}

bool Fit::has(std::string_view name) const {
  return std::ranges::find(parameters, name, &Parameter::name) != parameters.end();
}

bool Fit::identified() const {
  return std::ranges::all_of(parameters, &Parameter::identified);
}

std::string to_text(const Fit& fit) {
  std::string out = fmt::format("law {}: {} points, {} runs\n", fit.law, fit.points, fit.runs);
  std::size_t width = 9;
  for (const Parameter& p : fit.parameters) width = std::max(width, p.name.size());
  out += fmt::format("  {:<{}}  {:>12}  {:<26}\n", "parameter", width, "estimate",
                     fit.interval_method == "none" ? "" : fmt::format("{:g}% interval", 100 * fit.level));
  for (const Parameter& p : fit.parameters) {
    std::string line = fmt::format("  {:<{}}  {:>12.6g}  {:<26}", p.name, width, p.estimate, interval(p));
    if (!p.identified) line += " not identified: " + p.why;
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  out += fmt::format("  objective {:.9g}", fit.objective);
  if (std::isfinite(fit.log_likelihood)) out += fmt::format(", log-likelihood {:.6g}", fit.log_likelihood);
  if (std::isfinite(fit.aic)) out += fmt::format(", AIC {:.6g}, BIC {:.6g}", fit.aic, fit.bic);
  out += fmt::format("; {} ({} of {} starts agree, first-order norm {:.1e})\n",
                     fit.converged ? "converged" : "NOT converged", fit.starts_agreeing, fit.starts, fit.first_order);
  if (fit.interval_method != "none") out += "  intervals: " + fit.interval_method + "\n";
  for (const std::string& warning : fit.warnings) out += "  warning: " + warning + "\n";
  return out;
}

std::string to_json(const Fit& fit) {
  nlohmann::ordered_json json;
  json["law"] = fit.law;
  json["objective"] = number(fit.objective);
  json["log_likelihood"] = number(fit.log_likelihood);
  json["aic"] = number(fit.aic);
  json["bic"] = number(fit.bic);
  const std::string interval_key = fmt::format("ci{:g}", 100 * fit.level);
  json["parameters"] = nlohmann::ordered_json::array();
  for (const Parameter& p : fit.parameters) {
    json["parameters"].push_back({{"name", p.name},
                                  {"estimate", number(p.estimate)},
                                  {interval_key, {number(p.ci_low), number(p.ci_high)}},
                                  {"standard_error", number(p.standard_error)},
                                  {"identified", p.identified},
                                  {"why", p.why}});
  }
  json["level"] = fit.level;
  json["interval_method"] = fit.interval_method;
  json["identified"] = fit.identified();
  json["runs"] = fit.runs;
  json["points"] = fit.points;
  json["starts"] = fit.starts;
  json["starts_agreeing"] = fit.starts_agreeing;
  json["converged"] = fit.converged;
  json["first_order"] = number(fit.first_order);
  json["warnings"] = fit.warnings;
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace hylas::fitting
