// The asymptote test as text and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fitting/asymptote.hpp"

namespace hylas::fitting {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

const char* key(AsymptoteVerdict verdict) {
  if (verdict == AsymptoteVerdict::differ) return "differ";
  return verdict == AsymptoteVerdict::not_identified ? "not_identified" : "no_difference_seen";
}

const char* power_by(const AsymptoteTest& test) {
  return test.bootstrapped ? "noncentral chi-squared with the bootstrap's critical value" : "noncentral chi-squared";
}

Json criteria(const Fit& fit) {
  return {{"log_likelihood", number(fit.log_likelihood)}, {"aic", number(fit.aic)}, {"bic", number(fit.bic)}};
}

}  // namespace

std::string to_text(const AsymptoteTest& test) {
  std::string out = "common asymptote: " + test.words + "\n";
  std::size_t width = 6;
  for (const DesignPlateau& d : test.designs) width = std::max(width, d.design.size());
  out += fmt::format("  {:<{}}  {:>4}  {:>8}  {:>8}  {:>14}\n", "design", width, "runs", "A", "se", "longest run");
  for (const DesignPlateau& d : test.designs) {
    out += fmt::format("  {:<{}}  {:>4}  {:>8.4f}  {:>8}  {:>10.2f} D50{}\n", d.design, width, d.runs, d.estimate,
                       std::isfinite(d.standard_error) ? fmt::format("{:.4f}", d.standard_error) : "on bound",
                       d.longest_ratio, d.saturates ? "" : "  too short");
  }
  out += fmt::format("  likelihood ratio {:.4g}, {} degrees of freedom, critical value {:.4g} at {:g}%\n",
                     test.statistic, test.degrees, test.critical, 100 * test.level);
  out += fmt::format("  shared A {:.4f}: AIC {:.6g}, BIC {:.6g}; one A a design: AIC {:.6g}, BIC {:.6g}\n",
                     test.shared.fit.parameter("A").estimate, test.shared.fit.aic, test.shared.fit.bic,
                     test.separate.aic, test.separate.bic);
  if (std::isfinite(test.smallest_difference)) {
    out += fmt::format("  power: one design's A off by {:.3g} is seen with {:g}% chance ({}; least for {})\n",
                       test.smallest_difference, 100 * test.power, power_by(test), test.weakest);
  } else {
    out += fmt::format("  power: no difference of one design's A would be seen with {:g}% chance ({})\n",
                       100 * test.power, power_by(test));
  }
  for (const std::string& warning : test.warnings) out += "  warning: " + warning + "\n";
  return out;
}

std::string to_json(const AsymptoteTest& test) {
  Json json;
  json["test"] = "common_asymptote";
  json["verdict"] = key(test.verdict);
  json["words"] = test.words;
  json["statistic"] = number(test.statistic);
  json["degrees"] = test.degrees;
  json["p"] = number(test.p);
  json["reference"] = test.bootstrapped ? "parametric bootstrap" : "chi-squared";
  json["replicates"] = test.replicates;
  json["left_out"] = test.left_out;
  json["level"] = test.level;
  json["critical"] = number(test.critical);
  json["shared"] = criteria(test.shared.fit);
  json["shared"]["A"] = number(test.shared.fit.parameter("A").estimate);
  json["separate"] = criteria(test.separate);
  json["separate"]["plateaus"] = Json::array();
  for (const DesignPlateau& d : test.designs) {
    json["separate"]["plateaus"].push_back({{"design", d.design},
                                            {"runs", d.runs},
                                            {"A", number(d.estimate)},
                                            {"standard_error", number(d.standard_error)},
                                            {"d50", number(d.d50)},
                                            {"longest_ratio", number(d.longest_ratio)},
                                            {"saturates", d.saturates}});
  }
  json["power"] = {{"chance", test.power},
                   {"smallest_difference", number(test.smallest_difference)},
                   {"design", test.weakest},
                   {"by", power_by(test)}};
  json["warnings"] = test.warnings;
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hylas::fitting
