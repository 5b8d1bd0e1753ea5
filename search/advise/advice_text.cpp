// Printing of advice: for people and for programs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "search/advise/recommend.hpp"

namespace hylas::search {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return value;
}

Json candidate_json(const CandidateAdvice& a) {
  return {{"layout", a.layout},
          {"label", a.label},
          {"design_id", a.design_id},
          {"parameters", number(a.parameters)},
          {"flops_per_token", number(a.flops_per_token)},
          {"cache_bytes", number(a.cache_bytes)},
          {"memory_bytes", number(a.memory_bytes)},
          {"tokens", number(a.tokens)},
          {"d50",
           {{"estimate", number(a.d50.estimate)},
            {"ci_low", number(a.d50.ci_low)},
            {"ci_high", number(a.d50.ci_high)},
            {"run_low", number(a.d50.run_low)},
            {"run_high", number(a.d50.run_high)},
            {"sd_parameters", number(a.d50.sd_parameters)},
            {"sd_seeds", number(a.d50.sd_seeds)},
            {"pi", number(a.d50.pi)}}},
          {"probability", number(a.probability)},
          {"flops_needed", number(a.flops_needed)},
          {"expected_loss", number(a.expected_loss)},
          {"feasible", a.feasible},
          {"reason", a.reason},
          {"front", a.front},
          {"win_rate", number(a.win_rate)},
          {"regret", number(a.regret)},
          {"warnings", a.warnings}};
}

Json request_json(const Request& r) {
  Json json = {
      {"flops", number(r.flops)}, {"context", r.context}, {"eps", r.eps}, {"draws", r.draws}, {"seed", r.seed}};
  json["cache_limit"] = r.cache_limit ? number(*r.cache_limit) : Json(nullptr);
  json["memory_limit"] = r.memory_limit ? number(*r.memory_limit) : Json(nullptr);
  return json;
}

std::string end_of(double value) {
  return std::isfinite(value) && value < 1e30 ? fmt::format("{:.3g}", value) : "inf";
}

std::string table(const Advice& advice) {
  std::size_t width = 6;
  for (const auto& a : advice.candidates) width = std::max(width, a.label.size());
  std::string out = fmt::format("  {:<{}}  {:>9}  {:>9}  {:<22}  {:>6}  {:>9}  {:>5}  {:>6}\n", "design", width,
                                "tokens", "D50", "interval", "chance", "cache B", "front", "wins");
  for (const auto& a : advice.candidates) {
    const std::string interval = fmt::format("[{}, {}]", end_of(a.d50.ci_low), end_of(a.d50.ci_high));
    out += fmt::format("  {:<{}}  {:>9.3g}  {:>9}  {:<22}  {:>6.2f}  {:>9.4g}  {:>5}  {:>5.0f}%\n", a.label, width,
                       a.tokens, end_of(a.d50.estimate), interval, a.probability, a.cache_bytes,
                       a.feasible ? std::to_string(a.front) : "-", 100 * a.win_rate);
  }
  return out;
}

}  // namespace

std::string to_text(const Advice& advice) {
  std::string out = "Recommendation: " + advice.headline + "\n";
  for (const std::string& reason : advice.reasons) out += "  - " + reason + "\n";
  if (advice.size.identified) {
    out += fmt::format("  - compute-optimal size N* = {:.3g} (interval {} to {}), D* = {:.3g}, expected loss {:.4g}\n",
                       advice.size.n, end_of(advice.size.n_low), end_of(advice.size.n_high), advice.size.d,
                       advice.size.loss);
  }
  out += "\n" + table(advice);
  for (const auto& a : advice.candidates) {
    if (!a.reason.empty()) out += fmt::format("  {}: {}\n", a.label, a.reason);
  }
  if (advice.next_run) out += "\nNext run: " + advice.next_run->text + "\n";
  for (const std::string& warning : advice.warnings) out += "warning: " + warning + "\n";
  return out;
}

std::string to_json(const Advice& advice) {
  Json json;
  json["recommendation"] = nullptr;
  if (advice.recommended >= 0) {
    const CandidateAdvice& a = advice.candidates[static_cast<std::size_t>(advice.recommended)];
    json["recommendation"] = {{"layout", a.layout},
                              {"label", a.label},
                              {"design_id", a.design_id},
                              {"tokens", number(a.tokens)},
                              {"probability", number(a.probability)}};
  }
  json["headline"] = advice.headline;
  json["reasons"] = advice.reasons;
  json["size"] = {{"identified", advice.size.identified}, {"why", advice.size.why},
                  {"n", number(advice.size.n)},           {"n_low", number(advice.size.n_low)},
                  {"n_high", number(advice.size.n_high)}, {"d", number(advice.size.d)},
                  {"loss", number(advice.size.loss)}};
  json["candidates"] = Json::array();
  for (const auto& a : advice.candidates) json["candidates"].push_back(candidate_json(a));
  json["next_run"] = nullptr;
  if (advice.next_run) {
    json["next_run"] = {{"layout", advice.next_run->layout},
                        {"label", advice.next_run->label},
                        {"sd_now", number(advice.next_run->sd_now)},
                        {"sd_after", number(advice.next_run->sd_after)},
                        {"text", advice.next_run->text}};
  }
  json["identified"] = {{"size", advice.size_identified}, {"emergence", advice.emergence_identified}};
  json["warnings"] = advice.warnings;
  json["request"] = request_json(advice.request);
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hylas::search
