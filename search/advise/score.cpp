// One candidate's numbers: cost, chance of emergence, limits, warnings; and the non-dominated sort.
#include "search/advise/score.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "fitting/distributions.hpp"

namespace hylas::search {
namespace {

constexpr double kFar = 10;  // beyond this factor of the fitted range: a warning (MATHS 4)

void check(const std::vector<Candidate>& candidates, const Request& request) {
  const auto fail = [](const std::string& what) { throw model::InputError("recommend: " + what); };
  if (candidates.empty()) fail("there are no candidates");
  if (!(request.flops > 0) || !std::isfinite(request.flops))
    fail(fmt::format("the budget is {} FLOPs; it must be positive", request.flops));
  if (request.context < 0) fail(fmt::format("the context is {}; it must be positive", request.context));
  if (!(request.eps > 0 && request.eps < 1)) fail(fmt::format("eps is {}; it must lie in (0, 1)", request.eps));
  if (request.draws < 0) fail("the number of draws is negative");
  if (request.sequences < 1 || !(request.bytes_per_weight > 0)) fail("sequences and bytes per weight must be positive");
  for (const auto& limit : {request.cache_limit, request.memory_limit}) {
    if (limit && !(*limit > 0)) fail(fmt::format("a memory limit is {} bytes; it must be positive", *limit));
  }
}

model::Design at_context(const model::Design& design, std::int64_t context) {
  if (context <= 0 || context == design.shape.context) return design;
  model::Shape shape = design.shape;
  shape.context = context;
  return model::Design::make(design.layout_text(), shape);
}

void add_warnings(CandidateAdvice& a, const Evidence& evidence, std::int64_t context) {
  a.warnings = a.d50.warnings;
  const double longest = evidence.emergence.d_max;
  if (longest > 0 && a.tokens > kFar * longest) {
    a.warnings.push_back(
        fmt::format("D = {:.3g} tokens is more than 10x the longest fitted run ({:.3g})", a.tokens, longest));
  }
  const bool known = evidence.context_max > 0;
  if (known && (context > evidence.context_max || context < evidence.context_min)) {
    a.warnings.push_back(evidence.context_min == evidence.context_max
                             ? fmt::format("context {} was not fitted (only {})", context, evidence.context_max)
                             : fmt::format("context {} lies outside the fitted {} to {}", context, evidence.context_min,
                                           evidence.context_max));
  }
  if (std::isinf(a.d50.ci_high) || a.d50.sd_parameters > 5) {
    a.warnings.push_back("its D50 is not limited from above by the data: no run like it was seen to emerge");
  }
}

void judge(CandidateAdvice& a, const Request& request) {
  std::vector<std::string> reasons;
  if (a.probability < 1 - request.eps) {
    reasons.push_back(
        fmt::format("its ability has emerged by {:.3g} tokens with probability {:.2f} only, {:.2f} is asked", a.tokens,
                    a.probability, 1 - request.eps));
  }
  if (request.cache_limit && a.cache_bytes > *request.cache_limit) {
    reasons.push_back(
        fmt::format("its cache of {:.4g} bytes is over the limit of {:.4g}", a.cache_bytes, *request.cache_limit));
  }
  if (request.memory_limit && a.memory_bytes > *request.memory_limit) {
    reasons.push_back(fmt::format("weights and caches of {:.4g} bytes are over the limit of {:.4g}", a.memory_bytes,
                                  *request.memory_limit));
  }
  a.feasible = reasons.empty();
  a.reason = fmt::format("{}", fmt::join(reasons, "; "));
}

bool dominates(const std::array<double, 5>& a, const std::array<double, 5>& b) {
  bool better = false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] > b[i]) return false;
    better = better || a[i] < b[i];
  }
  return better;
}

}  // namespace

fitting::DesignCovariates law_covariates(const model::Design& design) {
  const model::Covariates c = model::covariates_of(design);
  fitting::DesignCovariates x;
  x.parameters = static_cast<double>(c.parameters);
  x.window = c.has_swa ? std::exp(c.log_window) : 0;
  x.full_fraction = c.full_fraction;
  x.nope = c.nope_full;
  x.sink = c.sink;
  x.depth = static_cast<double>(c.depth);
  x.width = static_cast<double>(c.width);
  for (const model::Mixer kind : {model::Mixer::gdn, model::Mixer::mamba2, model::Mixer::lightning}) {
    const auto& layers = design.layout.layers;
    const auto count = std::ranges::count(layers, kind, &model::Layer::mixer);
    x.indicators.emplace_back(model::name_of(kind), static_cast<double>(count) / static_cast<double>(layers.size()));
  }
  return x;
}

std::vector<Scored> score(const std::vector<Candidate>& candidates, const Evidence& evidence, const Request& request,
                          bool use_loss) {
  check(candidates, request);
  std::vector<Scored> scored;
  std::set<std::string> seen;
  for (const Candidate& candidate : candidates) {
    Scored s{at_context(candidate.design, request.context), {}, {}};
    CandidateAdvice& a = s.advice;
    a.design_id = s.design.id();
    if (!seen.insert(a.design_id).second) continue;
    a.layout = s.design.layout_text();
    a.label = candidate.label.empty() ? a.layout : candidate.label;
    s.x = law_covariates(s.design);
    const model::Cost cost = model::cost_of(s.design);
    a.parameters = static_cast<double>(cost.parameters_non_embedding);
    a.flops_per_token = cost.flops_train;
    a.cache_bytes = static_cast<double>(cost.cache_bytes);
    a.memory_bytes =
        request.bytes_per_weight * static_cast<double>(cost.parameters_total) + request.sequences * a.cache_bytes;
    a.tokens = request.flops / a.flops_per_token;
    a.d50 = fitting::predict_d50(evidence.emergence, s.x);
    const double mu = std::log(a.d50.estimate);
    a.probability = a.d50.pi * fitting::normal_cdf((std::log(a.tokens) - mu) / a.d50.sd_total);
    const double needed = fitting::normal_quantile((1 - request.eps) / a.d50.pi);  // infinite when pi is too small
    a.flops_needed = a.flops_per_token * std::exp(mu + a.d50.sd_total * needed);
    a.expected_loss = use_loss ? fitting::predict_loss(*evidence.loss, a.parameters, a.tokens).loss
                               : std::numeric_limits<double>::quiet_NaN();
    add_warnings(a, evidence, s.design.shape.context);
    judge(a, request);
    scored.push_back(std::move(s));
  }
  return scored;
}

double criterion(const CandidateAdvice& advice, bool use_loss) {
  return use_loss ? advice.expected_loss : advice.flops_needed;
}

void sort_fronts(std::vector<Scored>& scored, bool use_loss) {
  std::vector<std::pair<Scored*, std::array<double, 5>>> left;
  for (Scored& s : scored) {
    const CandidateAdvice& a = s.advice;
    if (!a.feasible) continue;
    left.push_back(
        {&s, {a.flops_per_token, a.cache_bytes, a.d50.estimate, -a.probability, use_loss ? a.expected_loss : 0}});
  }
  for (int front = 1; !left.empty(); ++front) {
    auto behind = left;
    std::erase_if(behind, [&](const auto& b) {
      const bool dominated = std::ranges::any_of(left, [&](const auto& a) { return dominates(a.second, b.second); });
      if (!dominated) b.first->advice.front = front;
      return !dominated;
    });
    left = std::move(behind);
  }
}

}  // namespace hylas::search
