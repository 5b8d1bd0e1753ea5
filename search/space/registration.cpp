// See registration.hpp.
#include "search/space/registration.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "fitting/covariates.hpp"
#include "search/space/toml_reader.hpp"

namespace hylas::search {
namespace {

const std::vector<std::string> kParts = {"core", "recurrent", "sizes", "ratios", "sinks", "growth"};

// Calls f(name, field) for every field. The one list of them.
template <class AnyRegistration, class F>
void for_each_field(AnyRegistration& r, const F& f) {
  f("part", r.part);
  f("level", r.level);
  f("alpha", r.alpha);
  f("small_window", r.small_window);
  f("equal_factor", r.equal_factor);
  f("plateau_margin", r.plateau_margin);
  f("short_loss", r.short_loss);
  f("short_margin", r.short_margin);
  f("early_tokens", r.early_tokens);
  f("head_mass", r.head_mass);
  f("cut_window", r.cut_window);
  f("law", r.law);
  f("cure", r.cure);
  f("hold_out_windows", r.hold_out_windows);
  f("median_error", r.median_error);
  f("coverage", r.coverage);
  f("simulations", r.simulations);
}

class Checks {
 public:
  explicit Checks(const TomlReader& reader) : reader_(reader) {}
  void inside(const char* name, double value, double low, double high) const {
    if (value > low && value < high) return;
    reader_.fail(reader_.place_of(name), fmt::format("findings.{} must lie between {} and {}", name, low, high));
  }
  void at_least(const char* name, double value, double least) const {
    if (value >= least) return;
    reader_.fail(reader_.place_of(name), fmt::format("findings.{} must be {} or more", name, least));
  }
  void known(const char* name, const std::string& value, const std::vector<std::string>& names) const {
    if (std::find(names.begin(), names.end(), value) != names.end()) return;
    reader_.fail(reader_.place_of(name),
                 fmt::format("findings.{} must be of {}, not {}{}", name, fmt::join(names, ", "), in_quotes(value),
                             did_you_mean(value, names)));
  }

 private:
  const TomlReader& reader_;
};

void check(const TomlReader& reader, const Registration& r) {
  const Checks checks(reader);
  checks.known("part", r.part, kParts);
  checks.inside("level", r.level, 0.5, 1);
  checks.inside("alpha", r.alpha, 0, 0.5);
  checks.at_least("small_window", static_cast<double>(r.small_window), 1);
  checks.inside("equal_factor", r.equal_factor, 1, 100);
  checks.inside("plateau_margin", r.plateau_margin, 0, 1);
  checks.inside("short_margin", r.short_margin, 0, 100);
  checks.at_least("early_tokens", r.early_tokens, 0);
  checks.inside("head_mass", r.head_mass, 0, 1);
  checks.at_least("cut_window", static_cast<double>(r.cut_window), 0);
  for (const std::string& term : r.law) checks.known("law", term, fitting::known_terms());
  for (const std::string& term : r.cure) checks.known("cure", term, fitting::known_terms());
  for (const std::int64_t window : r.hold_out_windows) {
    checks.at_least("hold_out_windows", static_cast<double>(window), 1);
  }
  checks.inside("median_error", r.median_error, 0, 10);
  checks.inside("coverage", r.coverage, 0, 1);
  checks.at_least("simulations", static_cast<double>(r.simulations), 19);
}

}  // namespace

std::optional<Registration> read_registration(const TomlReader& root) {
  if (!root.has("findings")) return std::nullopt;
  Registration registration;
  std::vector<std::string> known;
  for_each_field(registration, [&](const char* name, const auto&) { known.emplace_back(name); });
  const TomlReader reader = root.table("findings", known);
  for_each_field(registration, [&](const char* name, auto& field) { reader.optional(name, field); });
  check(reader, registration);
  return registration;
}

nlohmann::ordered_json to_json(const Registration& registration) {
  nlohmann::ordered_json json;
  for_each_field(registration, [&](const char* name, const auto& field) { json[name] = field; });
  return json;
}

}  // namespace hylas::search
