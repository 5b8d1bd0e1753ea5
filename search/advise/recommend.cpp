// The recommender: puts scores, fronts, draws, size and next run together, and says why.
#include "search/advise/recommend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/advise/score.hpp"

namespace hylas::search {
namespace {

std::size_t count_sizes(const Evidence& evidence) {
  if (!evidence.sizes.empty()) return evidence.sizes.size();
  return evidence.emergence.columns.n_min == evidence.emergence.columns.n_max ? 1 : 2;  // at least
}

// Feasible ones by the criterion, then the others by their chance of emergence. Ties go by cost, then by id.
void rank(std::vector<Scored>& scored, bool use_loss) {
  std::ranges::stable_sort(scored, [&](const Scored& s, const Scored& t) {
    const CandidateAdvice &a = s.advice, &b = t.advice;
    if (a.feasible != b.feasible) return a.feasible;
    if (!a.feasible && a.probability != b.probability) return a.probability > b.probability;
    if (criterion(a, use_loss) != criterion(b, use_loss)) return criterion(a, use_loss) < criterion(b, use_loss);
    if (a.flops_per_token != b.flops_per_token) return a.flops_per_token < b.flops_per_token;
    return a.design_id < b.design_id;
  });
}

void explain(Advice& advice, bool use_loss) {
  const CandidateAdvice& top = advice.candidates.front();
  const double level = 100 * (1 - advice.request.eps);
  if (advice.recommended < 0) {
    advice.headline = fmt::format("no candidate meets the constraints with {:.3g} FLOPs", advice.request.flops);
    advice.reasons.push_back(fmt::format("closest: {}, but {}", top.label, top.reason));
    if (std::isfinite(top.flops_needed)) {
      advice.reasons.push_back(fmt::format("{} would need about {:.3g} FLOPs to have emerged with probability {:.0f}%",
                                           top.label, top.flops_needed, level));
    }
    return;
  }
  advice.headline = fmt::format("train {} for {:.3g} tokens", top.label, top.tokens);
  advice.reasons.push_back(
      fmt::format("its long-context ability is expected at {:.3g} tokens (interval {:.3g} to {:.3g}) and has "
                  "emerged by the end with probability {:.2f}",
                  top.d50.estimate, top.d50.ci_low, top.d50.ci_high, top.probability));
  if (use_loss) {
    advice.reasons.push_back(fmt::format(
        "of the designs that meet the constraints it has the least expected loss, {:.4g}", top.expected_loss));
  } else {
    advice.reasons.push_back(fmt::format(
        "it needs the least compute to have emerged with probability {:.0f}%: {:.3g} FLOPs", level, top.flops_needed));
  }
  if (advice.request.draws > 0) {
    advice.reasons.push_back(
        fmt::format("it wins in {:.0f}% of {} draws of the fitted parameters; choosing it costs {:.2g} of {} "
                    "on average",
                    100 * top.win_rate, advice.request.draws, top.regret, use_loss ? "loss" : "ln compute"));
  }
  if (top.win_rate < 0.5 && advice.request.draws > 0) {
    advice.warnings.push_back("the winner changes from draw to draw: the runs do not separate the best designs");
  }
}

void add_warnings(Advice& advice, const Evidence& evidence) {
  if (!advice.size.identified) advice.warnings.push_back("N* is not identified: " + advice.size.why);
  if (!advice.emergence_identified) {
    std::vector<std::string> names;
    for (const auto& p : evidence.emergence.fit.parameters) {
      if (!p.identified) names.push_back(p.name + " (" + p.why + ")");
    }
    advice.warnings.push_back(fmt::format("the emergence law is not identified in {}", fmt::join(names, ", ")));
  }
  if (evidence.emergence.fit.has("pi")) {
    const auto& pi = evidence.emergence.fit.parameter("pi");
    if (!pi.identified) {
      advice.warnings.push_back(fmt::format(
          "the chance that a run ever emerges is taken as {:.3g}, but not identified: {}", pi.estimate, pi.why));
    }
  }
  if (!evidence.emergence.fit.converged) advice.warnings.push_back("the emergence fit did not converge");
  if (evidence.runs_per_design > 0 && evidence.runs_per_design < 3) {
    advice.warnings.push_back(fmt::format("{} seed{} a design is few: the spread of seeds is poorly known",
                                          evidence.runs_per_design, evidence.runs_per_design == 1 ? "" : "s"));
  }
  const CandidateAdvice& top = advice.candidates.front();
  for (const std::string& warning : top.warnings) advice.warnings.push_back(top.label + ": " + warning);
}

bool emergence_is_identified(const fitting::Fit& fit) {
  return fit.converged && std::ranges::all_of(fit.parameters, [](const fitting::Parameter& p) {
           return p.identified || p.name == "pi" || p.name.starts_with("pi:") || p.name == "phi" || p.name == "c0" ||
                  p.name == "A";
         });
}

}  // namespace

bool loss_is_identified(const Evidence& evidence, std::string& why) {
  const std::size_t sizes = count_sizes(evidence);
  if (sizes < 3) {
    why = fmt::format(
        "the runs have {} size{}, and a loss law needs at least three; layouts are ranked by the chance and the cost "
        "of emergence instead",
        sizes, sizes == 1 ? "" : "s");
    return false;
  }
  if (!evidence.loss) {
    why = "no loss law was fitted";
    return false;
  }
  const fitting::Fit& fit = evidence.loss->fit;
  if (!fit.converged) {
    why = "the loss fit did not converge";
    return false;
  }
  for (const auto& p : fit.parameters) {
    if (p.name == "E" || p.identified) continue;  // E moves no optimum
    why = fmt::format("{} of the loss law is not identified ({})", p.name, p.why);
    return false;
  }
  why.clear();
  return true;
}

Advice recommend(const std::vector<Candidate>& candidates, const Evidence& evidence, const Request& request) {
  std::string why;
  const bool use_loss = loss_is_identified(evidence, why);
  std::vector<Scored> scored = score(candidates, evidence, request, use_loss);
  sort_fronts(scored, use_loss);
  add_draws(scored, evidence, request, use_loss);
  rank(scored, use_loss);

  Advice advice;
  advice.request = request;
  advice.recommended = scored.front().advice.feasible ? 0 : -1;
  advice.size = optimal_size(evidence, request, scored.front().design);
  advice.size_identified = advice.size.identified;
  advice.emergence_identified = emergence_is_identified(evidence.emergence.fit);
  advice.next_run = best_next_run(scored, scored.front(), evidence);
  for (Scored& s : scored) advice.candidates.push_back(std::move(s.advice));
  explain(advice, use_loss);
  add_warnings(advice, evidence);
  return advice;
}

}  // namespace hylas::search
