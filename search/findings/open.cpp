// What the paper leaves open: recurrent layers, ratios, sinks, windows that grow, sizes. Each statement reads its own
// part, and the core's arms where it compares with them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/findings/statistics.hpp"

namespace hylas::search {
namespace {

// The core's arm with this layout text.
Runs core_arm(const FindingRuns& runs, const std::string& layout) {
  return runs.where([&](const ArmRun& run) { return run.part == "core" && run.arm == layout; });
}

Statement not_run(Statement s, const char* name) {
  s.why = fmt::format("the part '{}' was not run, or none of its runs ended well", name);
  return s;
}

// Verdict by one interval against a bound: below it supported, above it refuted.
void judge_below(Statement& s, const Measure& e, double bound, const std::string& words) {
  s.verdict = below(e, bound) ? Verdict::supported : above(e, bound) ? Verdict::refuted : Verdict::undecided;
  s.why = in_words(words, e);
}

Measure arm_factor(const std::string& what, const Runs& a, const Runs& b, const Registration& by) {
  Measure e = speed_factor(what, a, b, by);
  if (e.reading.empty()) e.reading = emerged_text(a) + ", " + emerged_text(b);
  return e;
}

}  // namespace

// Supported where every recurrent arm (RoPE full layers) has a factor against full attention alone below 1, refuted
// where one lies above; else undecided.
Statement judge_recurrent(const FindingRuns& runs, const JudgeOptions& /*options*/) {
  Statement s{.id = "recurrent",
              .claim = "Recurrent layers beside full attention make far recall earlier than full attention alone."};
  if (runs.part("recurrent").empty()) return not_run(std::move(s), "recurrent");
  const Registration& by = runs.parts.at("recurrent");
  const Runs own = runs.part("recurrent");
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
  if (runs.part("ratios").empty()) return not_run(std::move(s), "ratios");
  const Registration& by = runs.parts.at("ratios");
  const Runs own = runs.part("ratios");
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

// By the factors of sinks on D50 at each window and position encoding, pooled: supported where the pooled interval lies
// below 1 and the strata do not differ (Cochran's Q at alpha), refuted where it lies above 1.
Statement judge_sinks(const FindingRuns& runs, const JudgeOptions& /*options*/) {
  Statement s{.id = "sinks", .claim = "Sinks on the window layers make far recall earlier."};
  const Runs own = runs.part("sinks");
  if (own.empty()) return not_run(std::move(s), "sinks");
  const Registration& by = runs.parts.at("sinks");
  for (const std::string& arm : FindingRuns::arms(own)) {
    const Runs with = of_arm(own, arm);
    if (with.front()->x.sink == 0) continue;
    Runs without;
    std::copy_if(own.begin(), own.end(), std::back_inserter(without), [&](const ArmRun* run) {
      return run->x.sink == 0 && run->x.window == with.front()->x.window && run->x.nope == with.front()->x.nope;
    });
    if (!without.empty()) {
      s.evidence.push_back(arm_factor(fmt::format("D50, {} against {}", arm, without.front()->arm), without, with, by));
    }
  }
  const Pooled pooled = pooled_factor("factor on D50, strata pooled", s.evidence, by.level);
  s.evidence.insert(s.evidence.begin(), pooled.factor);
  if (std::isfinite(pooled.heterogeneity_p)) {
    s.evidence.insert(s.evidence.begin() + 1, {.what = fmt::format("whether {} strata differ", pooled.strata),
                                               .estimate = pooled.heterogeneity_p,
                                               .unit = "p"});
  }
  judge_below(s, s.evidence.front(), 1, "sinks multiply D50 by");
  if (s.verdict == Verdict::supported && pooled.heterogeneity_p < by.alpha) s.verdict = Verdict::undecided;
  return s;
}

// For each arm that grows, against the core's arms of its first and its last window. An arm is kept where its far
// accuracy at the end is not lower than the first window's by more than plateau_margin, and, as far as runs emerged
// only after the growth, its D50 is not later by more than equal_factor (before it they are the first window's own
// runs). Supported where every arm is kept; refuted where one violates either by a whole interval.
Statement judge_growth(const FindingRuns& runs, const JudgeOptions& /*options*/) {
  Statement s{.id = "growth", .claim = "A window that grows during training keeps what the small one reached early."};
  const Runs own = runs.part("growth");
  if (own.empty()) return not_run(std::move(s), "growth");
  const Registration& by = runs.parts.at("growth");
  std::size_t kept = 0, lost = 0, counted = 0, before = 0;
  for (const std::string& arm : FindingRuns::arms(own)) {
    const Runs growing = of_arm(own, arm);
    const ArmRun& one = *growing.front();
    const auto at_window = [&](double window) {
      return runs.where([&](const ArmRun& run) {
        return run.part == "core" && is_hybrid(run) && run.x.nope == one.x.nope &&
               run.design.shape == one.design.shape && run.design.depth() == one.design.depth() &&
               run.x.full_fraction == one.x.full_fraction && std::abs(run.x.window - window) < 1e-6 * window;
      });
    };
    const Runs first = at_window(static_cast<double>(one.start_window)), last = at_window(one.x.window);
    if (first.empty() || last.empty()) continue;
    ++counted;
    const std::string small = first.front()->arm, large = last.front()->arm;
    const bool by_construction =
        std::all_of(growing.begin(), growing.end(), [](const ArmRun* run) { return run->d50() < run->grown_at; });
    before += by_construction ? 1 : 0;
    Measure early = arm_factor(fmt::format("D50, {} against {}", arm, small), first, growing, by);
    if (by_construction) early.reading = "before the growth: the same runs";
    const Measure end = end_difference(fmt::format("far accuracy at the end, {} less {}", arm, small), first, growing,
                                       runs.metric, "difference", by.level);
    kept += (by_construction || early.high < by.equal_factor) && end.low > -by.plateau_margin ? 1 : 0;
    lost += (!by_construction && early.low > by.equal_factor) || end.high < -by.plateau_margin ? 1 : 0;
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
  s.why = fmt::format("of {} arms {} keep the small window's far recall to the end, {} lose it", counted, kept, lost);
  if (before > 0) s.why += fmt::format("; in {} it was there before the window grew", before);
  return s;
}

// By the registered law of this part. Where it tells depth apart, size has two directions, width at one depth and depth
// at one width (ln_N gives way to ln_width), and both must agree; else there is ln N alone. Supported where every
// coefficient's interval lies below 0, refuted where one lies above.
Statement judge_sizes(const FindingRuns& runs, const JudgeOptions& options) {
  Statement s{.id = "sizes", .claim = "Larger proxies need fewer tokens for far recall."};
  const Runs all = runs.where([](const ArmRun& run) { return run.part == "sizes" && is_hybrid(run); });
  if (all.empty()) return not_run(std::move(s), "sizes");
  const Registration& by = runs.parts.at("sizes");
  const auto holds = [&](const char* term) { return std::find(by.law.begin(), by.law.end(), term) != by.law.end(); };
  if (!holds("ln_N")) {
    s.why = "the registered law has no term ln_N";
    return s;
  }
  std::vector<std::string> law = by.law, directions = {"ln_N"};
  if (holds("ln_depth")) {
    std::replace(law.begin(), law.end(), std::string("ln_N"), std::string("ln_width"));
    directions = {"ln_width", "ln_depth"};
  }
  std::size_t below_zero = 0, above_zero = 0;
  for (const std::string& term : directions) {
    s.evidence.push_back(coefficient("coefficient of " + term, all, law, term, by, options.threads));
    below_zero += below(s.evidence.back(), 0) ? 1 : 0;
    above_zero += above(s.evidence.back(), 0) ? 1 : 0;
    s.why += in_words((s.why.empty() ? "" : "; ") + term + " has the coefficient", s.evidence.back());
  }
  s.verdict = below_zero == directions.size() ? Verdict::supported
              : above_zero > 0                ? Verdict::refuted
                                              : Verdict::undecided;
  for (const std::string& term : law) {
    if (std::find(directions.begin(), directions.end(), term) != directions.end()) continue;
    s.evidence.push_back(coefficient("coefficient of " + term, all, law, term, by, options.threads));
  }
  return s;
}

}  // namespace hylas::search
