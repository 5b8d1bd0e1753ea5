// Statement 3: NoPE on the full layers of a small-window hybrid makes far recall earlier (nope_speed) at no cost to
// short contexts (nope_short).
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "search/findings/statistics.hpp"

namespace hylas::search {
namespace {

Runs hybrids_at(const FindingRuns& runs, double window, bool nope) {
  return runs.where([&](const ArmRun& run) {
    return run.part == "core" && is_hybrid(run) && (nope ? is_nope(run) : is_rope(run)) &&
           std::abs(run.x.window - window) < 1e-6 * window;
  });
}

// Windows with hybrids of both kinds, the registered small one first.
std::vector<double> windows_of(const FindingRuns& runs) {
  std::set<double> all;
  for (const ArmRun* run : runs.where([](const ArmRun& r) { return r.part == "core" && is_hybrid(r); })) {
    all.insert(std::round(run->x.window));
  }
  std::vector<double> windows = {static_cast<double>(runs.core().small_window)};
  windows.insert(windows.end(), all.begin(), all.end());
  std::erase_if(windows,
                [&](double w) { return hybrids_at(runs, w, false).empty() || hybrids_at(runs, w, true).empty(); });
  if (windows.size() > 1) windows.erase(std::find(windows.begin() + 1, windows.end(), windows[0]));
  return windows;
}

bool no_small_window(Statement& s, const std::vector<double>& windows, const Registration& by) {
  if (!windows.empty() && windows[0] == static_cast<double>(by.small_window)) return false;
  s.why = fmt::format("no hybrid of window {} was run with and without position encoding", by.small_window);
  return true;
}

}  // namespace

// By the factor on D50 at small_window: supported where its interval lies below 1, refuted where above.
Statement judge_nope_speed(const FindingRuns& runs, const JudgeOptions& /*options*/) {
  const Registration& by = runs.core();
  Statement s{.id = "nope_speed",
              .claim = "NoPE on the full layers makes far recall earlier in a small-window hybrid."};
  const auto windows = windows_of(runs);
  if (no_small_window(s, windows, by)) return s;
  for (const double w : windows) {
    const Runs rope = hybrids_at(runs, w, false), nope = hybrids_at(runs, w, true);
    Measure e = speed_factor(fmt::format("D50, NoPE against RoPE, window {:g}", w), rope, nope, by);
    if (e.reading.empty()) e.reading = "RoPE: " + emerged_text(rope) + "; NoPE: " + emerged_text(nope);
    s.evidence.push_back(std::move(e));
  }
  for (const double w : windows) {
    const Runs rope = hybrids_at(runs, w, false), nope = hybrids_at(runs, w, true);
    if (by.early_tokens > 0) {
      s.evidence.push_back(
          early_difference(fmt::format("far accuracy at {:g} tokens, NoPE less RoPE, window {:g}", by.early_tokens, w),
                           rope, nope, by.early_tokens, by.level));
    }
    s.evidence.push_back(end_difference(fmt::format("far accuracy at the end, NoPE less RoPE, window {:g}", w), rope,
                                        nope, runs.metric, "difference", by.level));
  }
  const Measure& e = s.evidence.front();
  s.verdict = below(e, 1) ? Verdict::supported : above(e, 1) ? Verdict::refuted : Verdict::undecided;
  s.why = in_words(fmt::format("at window {} NoPE multiplies D50 by", by.small_window), e);
  return s;
}

// Non-inferiority at small_window: supported where the upper end of the difference's interval at level 1 - 2 alpha
// lies below short_margin, refuted where the lower end lies above it.
Statement judge_nope_short(const FindingRuns& runs, const JudgeOptions& /*options*/) {
  const Registration& by = runs.core();
  Statement s{
      .id = "nope_short",
      .claim = "NoPE on the full layers costs a small-window hybrid no more than the margin in short contexts."};
  const auto windows = windows_of(runs);
  if (no_small_window(s, windows, by)) return s;
  for (const double w : windows) {
    s.evidence.push_back(end_difference(fmt::format("{} at the end, NoPE less RoPE, window {:g}", by.short_loss, w),
                                        hybrids_at(runs, w, false), hybrids_at(runs, w, true), by.short_loss, "nats",
                                        1 - 2 * by.alpha));
  }
  const Measure& e = s.evidence.front();
  s.verdict = below(e, by.short_margin)   ? Verdict::supported
              : above(e, by.short_margin) ? Verdict::refuted
                                          : Verdict::undecided;
  double level = 0;
  const Runs rope = hybrids_at(runs, windows[0], false);
  for (const ArmRun* run : rope) {
    level += run->end.contains(by.short_loss) ? run->end.at(by.short_loss) / static_cast<double>(rope.size()) : 0;
  }
  s.why = std::isnan(e.estimate) ? e.reading
                                 : fmt::format(
                                       "NoPE changes {} by {:.4f} nats ({:.4f} to {:.4f}) from {:.4f}; the margin "
                                       "is {:g}",
                                       by.short_loss, e.estimate, e.low, e.high, level, by.short_margin);
  return s;
}

}  // namespace hylas::search
