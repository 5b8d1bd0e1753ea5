// What the paper leaves open: recurrent layers, ratios, sinks, windows that grow, sizes. Each statement reads its own
// part, and the core's arms where it compares with them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/findings/statistics.hpp"

namespace hylas::search {
namespace {

Runs part(const FindingRuns& runs, const std::string& name) {
  return runs.where([&](const ArmRun& run) { return run.part == name; });
}

// The core's arm with this layout text.
Runs core_arm(const FindingRuns& runs, const std::string& layout) {
  return runs.where([&](const ArmRun& run) { return run.part == "core" && run.arm == layout; });
}

Statement not_run(Statement s, const char* name) {
  s.why = fmt::format("the part '{}' was not run", name);
  return s;
}

// Verdict by one interval against a bound: below it supported, above it refuted.
void judge_below(Statement& s, const Evidence& e, double bound, const std::string& words) {
  s.verdict = below(e, bound) ? Verdict::supported : above(e, bound) ? Verdict::refuted : Verdict::undecided;
  s.why = in_words(words, e);
}

Evidence arm_factor(const std::string& what, const Runs& a, const Runs& b, const Registration& by) {
  Evidence e = speed_factor(what, a, b, by);
  if (e.reading.empty()) e.reading = emerged_text(a) + ", " + emerged_text(b);
  return e;
}

}  // namespace

// Supported where every recurrent arm (RoPE full layers) has a factor against full attention alone below 1, refuted
// where one lies above; else undecided.
Statement judge_recurrent(const FindingRuns& runs, const JudgeOptions& /*options*/) {
  Statement s{.id = "recurrent",
              .claim = "Recurrent layers beside full attention make far recall earlier than full attention alone."};
  if (!runs.has("recurrent")) return not_run(std::move(s), "recurrent");
  const Registration& by = runs.parts.at("recurrent");
  const Runs own = part(runs, "recurrent");
  const int depth = own.front()->design.depth();
  const std::string rope = fmt::format("full*{}", depth), nope = fmt::format("full/nope*{}", depth);
  std::size_t earlier = 0, later = 0, counted = 0;
  for (const std::string& arm : FindingRuns::arms(own)) {
    const Runs of = of_arm(own, arm);
    const bool with_rope = is_rope(*of.front());
    const Runs against = core_arm(runs, with_rope ? rope : nope);
    if (against.empty()) continue;
    s.evidence.push_back(arm_factor(fmt::format("D50, {} against {}", arm, against.front()->arm), against, of, by));
    if (!with_rope) continue;
    ++counted;
    earlier += below(s.evidence.back(), 1) ? 1 : 0;
    later += above(s.evidence.back(), 1) ? 1 : 0;
  }
  s.verdict = counted > 0 && earlier == counted ? Verdict::supported
              : later > 0                       ? Verdict::refuted
                                                : Verdict::undecided;
  s.why = fmt::format("of {} recurrent arms with RoPE full layers {} are earlier than {}, {} are later", counted,
                      earlier, rope, later);
  return s;
}

// By the slope of ln D50 on ln(share of full layers), RoPE: supported (fewer full layers are later) where its interval
// lies below 0, refuted where above.
Statement judge_ratios(const FindingRuns& runs, const JudgeOptions& options) {
  Statement s{.id = "ratios", .claim = "Fewer full layers (1:1, 1:3, 1:7) delay far recall (RoPE full layers)."};
  if (!runs.has("ratios")) return not_run(std::move(s), "ratios");
  const Registration& by = runs.parts.at("ratios");
  const Runs own = part(runs, "ratios");
  Runs rope, nope;
  std::copy_if(own.begin(), own.end(), std::back_inserter(rope), [](const ArmRun* r) { return is_rope(*r); });
  std::copy_if(own.begin(), own.end(), std::back_inserter(nope), [](const ArmRun* r) { return is_nope(*r); });
  const std::vector<std::string> terms = {"ln_full_fraction"};
  s.evidence.push_back(
      coefficient("slope of ln D50 on ln(share of full layers)", rope, terms, terms[0], by, options.threads));
  s.evidence.push_back(coefficient("the same, NoPE full layers", nope, terms, terms[0], by, options.threads));
  for (const Runs& kind : {rope, nope}) {
    const auto arms = FindingRuns::arms(kind);
    for (std::size_t i = 1; i < arms.size(); ++i) {
      s.evidence.push_back(arm_factor(fmt::format("D50, {} against {}", arms[i], arms[0]), of_arm(kind, arms[0]),
                                      of_arm(kind, arms[i]), by));
    }
  }
  judge_below(s, s.evidence.front(), 0, "the slope is");
  return s;
}

// By the pooled factor of sinks on D50 over all windows and positions: supported below 1, refuted above.
Statement judge_sinks(const FindingRuns& runs, const JudgeOptions& options) {
  Statement s{.id = "sinks", .claim = "Sinks on the window layers make far recall earlier."};
  if (!runs.has("sinks")) return not_run(std::move(s), "sinks");
  const Registration& by = runs.parts.at("sinks");
  const Runs own = part(runs, "sinks");
  const auto has_sink = [](const ArmRun* run) { return run->x.sink > 0; };
  // The term is the share of attention layers with a sink; the arms have one share or none.
  double share = 0;
  for (const ArmRun* run : own) share = std::max(share, run->x.sink);
  Evidence pooled = coefficient("factor on D50, all windows and both position encodings together", own,
                                {"ln_window", "nope", "nope*ln_window", "sink"}, "sink", by, options.threads);
  pooled.unit = "factor";
  for (double* v : {&pooled.estimate, &pooled.low, &pooled.high}) *v = std::exp(*v * share);
  s.evidence.push_back(std::move(pooled));
  for (const std::string& arm : FindingRuns::arms(own)) {
    const Runs with = of_arm(own, arm);
    if (!has_sink(with.front())) continue;
    const Runs without = runs.where([&](const ArmRun& run) {
      return run.part == "sinks" && run.x.sink == 0 && run.x.window == with.front()->x.window &&
             run.x.nope == with.front()->x.nope;
    });
    if (!without.empty()) {
      s.evidence.push_back(arm_factor(fmt::format("D50, {} against {}", arm, without.front()->arm), without, with, by));
    }
  }
  judge_below(s, s.evidence.front(), 1, "sinks multiply D50 by");
  return s;
}

// For each arm that grows, against the core's arms of its first and its last window. Supported where every arm's
// factor against its first window lies below equal_factor and its far accuracy at the end is not lower than the first
// window's by more than plateau_margin; refuted where one of the two is violated by a whole interval.
Statement judge_growth(const FindingRuns& runs, const JudgeOptions& /*options*/) {
  Statement s{.id = "growth",
              .claim = "A window that grows during training keeps the early emergence of the small one."};
  if (!runs.has("growth")) return not_run(std::move(s), "growth");
  const Registration& by = runs.parts.at("growth");
  const Runs own = part(runs, "growth");
  std::size_t kept = 0, lost = 0, counted = 0;
  for (const std::string& arm : FindingRuns::arms(own)) {
    const Runs growing = of_arm(own, arm);
    const ArmRun& one = *growing.front();
    const auto at_window = [&](double window) {
      return runs.where([&](const ArmRun& run) {
        return run.part == "core" && is_hybrid(run) && run.x.nope == one.x.nope &&
               run.x.full_fraction == one.x.full_fraction && std::abs(run.x.window - window) < 1e-6 * window;
      });
    };
    const Runs first = at_window(static_cast<double>(one.start_window)), last = at_window(one.x.window);
    if (first.empty() || last.empty()) continue;
    ++counted;
    const std::string small = first.front()->arm, large = last.front()->arm;
    const Evidence early = arm_factor(fmt::format("D50, {} against {}", arm, small), first, growing, by);
    const Evidence end = end_difference(fmt::format("far accuracy at the end, {} less {}", arm, small), first, growing,
                                        runs.metric, "difference", by.level);
    kept += early.high < by.equal_factor && end.low > -by.plateau_margin ? 1 : 0;
    lost += early.low > by.equal_factor || end.high < -by.plateau_margin ? 1 : 0;
    s.evidence.push_back(early);
    s.evidence.push_back(arm_factor(fmt::format("D50, {} against {}", arm, large), last, growing, by));
    s.evidence.push_back(end);
    s.evidence.push_back(end_difference(fmt::format("far accuracy at the end, {} less {}", arm, large), last, growing,
                                        runs.metric, "difference", by.level));
    s.evidence.push_back(end_difference(fmt::format("{} at the end, {} less {}", by.short_loss, arm, large), last,
                                        growing, by.short_loss, "nats", by.level));
  }
  s.verdict = counted == 0      ? Verdict::undecided
              : kept == counted ? Verdict::supported
              : lost > 0        ? Verdict::refuted
                                : Verdict::undecided;
  s.why = fmt::format("of {} arms {} keep the small window's D50 and end, {} lose one of them", counted, kept, lost);
  return s;
}

// By the coefficient of ln N in the registered law of this part: supported where its interval lies below 0.
Statement judge_sizes(const FindingRuns& runs, const JudgeOptions& options) {
  Statement s{.id = "sizes", .claim = "Larger proxies need fewer tokens for far recall."};
  if (!runs.has("sizes")) return not_run(std::move(s), "sizes");
  const Registration& by = runs.parts.at("sizes");
  const Runs all = runs.where([](const ArmRun& run) { return run.part == "sizes" && is_hybrid(run); });
  if (std::find(by.law.begin(), by.law.end(), "ln_N") == by.law.end()) {
    s.why = "the registered law has no term ln_N";
    return s;
  }
  std::vector<std::string> order = {"ln_N"};
  std::copy_if(by.law.begin(), by.law.end(), std::back_inserter(order), [](const auto& t) { return t != "ln_N"; });
  for (const std::string& term : order) {
    s.evidence.push_back(coefficient("coefficient of " + term, all, by.law, term, by, options.threads));
  }
  judge_below(s, s.evidence.front(), 0, "ln N has the coefficient");
  return s;
}

}  // namespace hylas::search
