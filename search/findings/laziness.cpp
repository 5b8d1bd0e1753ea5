// Statement 2, Large-Window Laziness: larger windows delay far recall (laziness) and the heads that do it (heads), and
// it is the full layers that carry it (cuts).
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "model/design/layout.hpp"
#include "search/findings/statistics.hpp"

namespace hylas::search {
namespace {

Runs rope_hybrids(const FindingRuns& runs) {
  return runs.where([](const ArmRun& run) { return run.part == "core" && is_hybrid(run) && is_rope(run); });
}
Runs nope_hybrids(const FindingRuns& runs) {
  return runs.where([](const ArmRun& run) { return run.part == "core" && is_hybrid(run) && is_nope(run); });
}

// The keys that far answers could still be reached over, layer upon layer, with full layers cut to `cut` keys.
std::int64_t reach_when_cut(const model::Layout& layout, std::int64_t cut) {
  std::int64_t reach = 0;
  for (const model::Layer& layer : layout.layers) {
    reach += (layer.mixer == model::Mixer::full ? cut : layer.window) - 1;
  }
  return reach;
}

// Of a slope that is claimed to be above zero.
void judge_slope(Statement& s, const Measure& slope) {
  if (above(slope, 0)) {
    s.verdict = Verdict::supported;
    s.why = fmt::format("doubling the window multiplies the tokens by {:.2f} ({:.2f} to {:.2f})",
                        std::exp2(slope.estimate), std::exp2(slope.low), std::exp2(slope.high));
  } else if (below(slope, 0)) {
    s.verdict = Verdict::refuted;
    s.why = "larger windows are earlier";
  } else {
    s.why = slope.reading.empty() ? "the slope's interval holds zero" : slope.reading;
  }
}

}  // namespace

// By the slope of ln D50 on ln window among hybrids with RoPE full layers: supported where its interval lies above 0,
// refuted where it lies below.
Statement judge_laziness(const FindingRuns& runs, const JudgeOptions& options) {
  const Registration& by = runs.core();
  const Runs rope = rope_hybrids(runs), nope = nope_hybrids(runs);
  Statement s{.id = "laziness", .claim = "Larger windows delay far recall (Large-Window Laziness, RoPE full layers)."};
  s.evidence.push_back(
      coefficient("slope of ln D50 on ln window", rope, {"ln_window"}, "ln_window", by, options.threads));
  s.evidence.push_back(coefficient("its curvature (ln window squared)", rope, {"ln_window", "ln_window^2"},
                                   "ln_window^2", by, options.threads));
  if (!nope.empty()) {
    s.evidence.push_back(coefficient("slope of ln D50 on ln window, NoPE full layers", nope, {"ln_window"}, "ln_window",
                                     by, options.threads));
  }
  const auto arms = FindingRuns::arms(rope);
  for (std::size_t i = 1; i < arms.size(); ++i) {
    Measure step = speed_factor("D50, " + arms[i] + " against " + arms[i - 1], of_arm(rope, arms[i - 1]),
                                of_arm(rope, arms[i]), by);
    if (step.reading.empty()) step.reading = emerged_text(of_arm(rope, arms[i]));
    s.evidence.push_back(std::move(step));
  }
  judge_slope(s, s.evidence.front());
  if (above(s.evidence[1], 0) || below(s.evidence[1], 0)) {
    s.notes.push_back("the curvature is not zero: no one factor holds for every doubling; see the steps");
  }
  s.notes.push_back("RoPE full layers: " + emerged_text(rope) + "; the others count as later than their end");
  return s;
}

// A retrieval head has formed when some head's attention weight on far answers holds head_mass at two evaluations.
Statement judge_heads(const FindingRuns& runs, const JudgeOptions& options) {
  const Registration& by = runs.core();
  const Runs rope = rope_hybrids(runs);
  Statement s{.id = "heads", .claim = "Larger windows delay the formation of retrieval heads (RoPE full layers)."};
  std::size_t scored = 0;
  for (const ArmRun* run : rope) scored += run->heads.d_max > 0 ? 1 : 0;
  if (scored == 0) {
    s.why = "no heads were scored (recipe.eval.probe_sequences)";
    return s;
  }
  s.evidence.push_back(
      coefficient(fmt::format("slope of ln tokens to a weight of {:g} on far answers, on ln window", by.head_mass),
                  rope, {"ln_window"}, "ln_window", by, options.threads, Clock::heads));
  judge_slope(s, s.evidence.front());
  s.notes.push_back("the same runs as in laziness by another clock: not evidence of its own for the delay");
  return s;
}

// Judged over the arms that a cut could leave able: window layers must lose keys by theirs, and with full layers cut
// the windows must still reach half the context. Supported where, over the runs that emerged, cutting full layers costs
// more far accuracy than cutting window layers by an interval above a half; refuted where its interval lies below 0.
Statement judge_cuts(const FindingRuns& runs, const std::vector<CutRun>& cuts) {
  const Registration& by = runs.core();
  Statement s{.id = "cuts", .claim = "The full layers carry far recall, the window layers hardly any."};
  if (cuts.empty()) {
    s.why = "no cuts were made: none is registered (cut_window), or no run emerged";
    return s;
  }
  std::set<std::string> arms;
  for (const CutRun& cut : cuts) arms.insert(cut.arm);
  std::vector<double> all_full, all_window;
  const Runs core = runs.part("core");
  for (const std::string& arm : arms) {
    std::vector<double> whole, full, window;
    const model::Design& design = of_arm(core, arm).front()->design;
    const std::int64_t half = (by.cut_window + 1) / 2;
    const bool able = 2 * reach_when_cut(design.layout, by.cut_window) >= design.shape.context &&
                      of_arm(core, arm).front()->x.window > static_cast<double>(half);
    for (const CutRun& cut : cuts) {
      if (cut.arm != arm) continue;
      whole.push_back(cut.whole), full.push_back(cut.full_cut), window.push_back(cut.window_cut);
      if (able) all_full.push_back(cut.full_cut), all_window.push_back(cut.window_cut);
    }
    const auto add = [&](const char* what, const std::vector<double>& values) {
      const auto d = fitting::paired_difference(whole, values, by.level);
      s.evidence.push_back(
          {.what = fmt::format("{}: {}, change of far accuracy", arm, what),
           .estimate = d.estimate,
           .low = d.low,
           .high = d.high,
           .unit = "difference",
           .reading = fmt::format("{} runs{}", values.size(), able ? "" : ", not judged: so by construction")});
    };
    add(fmt::format("full layers see {} keys", by.cut_window).c_str(), full);
    add(fmt::format("window layers see {} keys at most", (by.cut_window + 1) / 2).c_str(), window);
  }
  if (all_full.empty()) {
    s.why = "no arm that emerged could reach far answers by its windows alone, or loses keys by their cut";
    return s;
  }
  const auto d = fitting::paired_difference(all_full, all_window, by.level);
  s.evidence.insert(s.evidence.begin(), {.what = "far accuracy with window layers cut less that with full layers cut",
                                         .estimate = d.estimate,
                                         .low = d.low,
                                         .high = d.high,
                                         .unit = "difference",
                                         .reading = fmt::format("{} runs", all_full.size())});
  s.verdict = d.low > 0.5 ? Verdict::supported : d.high < 0 ? Verdict::refuted : Verdict::undecided;
  s.why =
      fmt::format("cutting full layers costs {:.3f} ({:.3f} to {:.3f}) more far accuracy than cutting window layers",
                  d.estimate, d.low, d.high);
  return s;
}

}  // namespace hylas::search
