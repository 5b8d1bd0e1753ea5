// Statement 1: cheap attention sets the speed, not the end. speed: D50 differs between arms. plateau: arms that were
// trained long enough end alike.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "fitting/asymptote.hpp"
#include "search/findings/statistics.hpp"

namespace hylas::search {
namespace {

// The arms of the claim: every kind of cheap layer, RoPE on the full ones, at the core's size.
Runs cheap_arms(const FindingRuns& runs) {
  return once_each(
      runs.where([](const ArmRun& run) { return (run.part == "core" || run.part == "recurrent") && is_rope(run); }));
}

// The arm of full attention alone; "" where the core has none.
std::string full_arm(const Runs& runs) {
  for (const ArmRun* run : runs) {
    const auto& layers = run->design.layout.layers;
    const auto full = [](const model::Layer& layer) { return layer.mixer == model::Mixer::full; };
    if (std::all_of(layers.begin(), layers.end(), full)) return run->arm;
  }
  return "";
}

bool equal_speed(const Measure& e, const Registration& by) {
  return e.low > 1 / by.equal_factor && e.high < by.equal_factor;
}

fitting::CurveRun curve_of(const ArmRun& run) {
  fitting::CurveRun curve{run.arm, run.seed, run.x, {}, {}, {}};
  for (const DataPoint& point : run.curve) {
    if (point.tokens <= 0 || point.count <= 0) continue;
    curve.tokens.push_back(point.tokens);
    curve.accuracy.push_back(point.value);
    curve.count.push_back(point.count);
  }
  return curve;
}

// One plateau for all of these arms against one each, by the curves' law F1: what the test can see beside what it saw.
// Each arm has a D50 of its own in both.
std::vector<Measure> plateau_ratio(const Runs& runs, const std::vector<std::string>& arms, const Registration& by,
                                   int threads) {
  std::vector<fitting::CurveRun> curves;
  fitting::AsymptoteOptions options;
  options.terms.clear();
  for (std::size_t i = 1; i < arms.size(); ++i) options.terms.push_back(fmt::format("arm {}", i));
  for (const ArmRun* run : runs) {
    if (std::find(arms.begin(), arms.end(), run->arm) == arms.end()) continue;
    auto curve = curve_of(*run);
    curve.x = {.parameters = 1};
    for (std::size_t i = 1; i < arms.size(); ++i) {
      curve.x.indicators.emplace_back(options.terms[i - 1], run->arm == arms[i] ? 1.0 : 0.0);
    }
    curves.push_back(std::move(curve));
  }
  options.level = by.alpha;
  options.reference = fitting::AsymptoteReference::chi_squared;
  options.threads = threads;
  Measure p{.what = "one plateau for all of them against one each (F1, likelihood ratio)", .unit = "p"};
  Measure seen{.what = "smallest difference of plateaux that this test sees with a chance of 80%",
               .unit = "difference"};
  try {
    const auto test = fitting::test_common_asymptote(curves, options);
    p.estimate = test.p, seen.estimate = test.smallest_difference;
    p.reading = std::isnan(test.p)  ? "not decided: the fits did not converge"
                : test.p < by.alpha ? "they differ"
                                    : "no difference is seen";
  } catch (const fitting::InputError& error) {
    p.reading = std::string("not decided: ") + error.what();
  }
  return {p, seen};
}

}  // namespace

// Supported where one D50 for all arms is rejected at alpha; refuted where every arm's factor against full attention
// lies within equal_factor.
Statement judge_speed(const FindingRuns& runs, const JudgeOptions& options) {
  const Registration& by = runs.core();
  const Runs arms = cheap_arms(runs);
  const std::string full = full_arm(arms);
  Statement s{.id = "speed", .claim = "Cheap attention sets how fast far recall emerges (RoPE full layers)."};
  bool all_equal = !full.empty();
  for (const std::string& arm : FindingRuns::arms(arms)) {
    if (full.empty() || arm == full) continue;
    Measure e = speed_factor(arm + " against " + full, of_arm(arms, full), of_arm(arms, arm), by);
    if (e.reading.empty()) e.reading = emerged_text(of_arm(arms, arm));
    all_equal = all_equal && equal_speed(e, by);
    s.evidence.push_back(std::move(e));
  }
  try {
    const auto ratio = arms_differ(arms, by, options.threads);
    const double p = ratio.best_p();
    s.evidence.insert(
        s.evidence.begin(),
        {.what = fmt::format("one D50 for all {} arms against one each (F3, likelihood ratio {:.4g}, {} "
                             "degrees of freedom, {} simulations)",
                             FindingRuns::arms(arms).size(), ratio.statistic, ratio.degrees, ratio.simulations),
         .estimate = p,
         .unit = "p",
         .reading = p < by.alpha ? "arms differ" : "no difference is seen"});
    s.verdict = p < by.alpha ? Verdict::supported : all_equal ? Verdict::refuted : Verdict::undecided;
    s.why = p < by.alpha ? fmt::format("one D50 for all arms is rejected (p {:.2g})", p)
            : all_equal  ? "all arms emerge within the registered factor of full attention"
                         : fmt::format("one D50 for all arms is not rejected (p {:.2g})", p);
  } catch (const fitting::InputError& error) {
    s.why = error.what();
  }
  for (const std::string& arm : FindingRuns::arms(arms)) {
    const ArmRun& first = *of_arm(arms, arm).front();
    if (first.rate_at_edge) {
      s.notes.push_back(fmt::format("{}: its learning rate, {:g}, is at the edge of those that were tried", arm,
                                    first.learning_rate));
    }
  }
  return s;
}

// Arms count as trained long enough where every run ended at three times its D50 or later. Supported where that is
// every arm and each one's far accuracy at the end lies within plateau_margin of the first one's (two one-sided tests,
// Bonferroni over arms); refuted where an interval lies wholly outside; else undecided. Arms that were trained for
// other tokens than the first are not compared: the schedule's end changes an accuracy.
Statement judge_plateau(const FindingRuns& runs, const JudgeOptions& options) {
  const Registration& by = runs.core();
  const Runs all = cheap_arms(runs);
  Statement s{.id = "plateau", .claim = "Trained long enough, all arms end at the same far recall (RoPE full layers)."};
  std::vector<std::string> ended, others;
  for (const std::string& arm : FindingRuns::arms(all)) {
    const Runs own = of_arm(all, arm);
    if (own.front()->planned != all.front()->planned) {
      others.push_back(fmt::format("{}: not compared: trained for other tokens than {}", arm, all.front()->arm));
      continue;
    }
    const auto enough = std::count_if(own.begin(), own.end(), [](const ArmRun* run) { return run->saturated(); });
    if (enough == std::ssize(own)) {
      ended.push_back(arm);
    } else {
      s.notes.push_back(
          fmt::format("{}: {} of {} runs reached three times their D50; {}: whether the rest is late or "
                      "stuck, and where it would end, is not known",
                      arm, enough, own.size(), emerged_text(own)));
    }
  }
  const std::size_t late = s.notes.size();
  s.notes.insert(s.notes.end(), others.begin(), others.end());
  if (ended.size() < 2) {
    s.why = "fewer than two arms were trained long enough";
    return s;
  }
  const double level = 1 - 2 * by.alpha / static_cast<double>(ended.size() - 1);
  std::size_t inside = 0, outside = 0;
  for (std::size_t i = 1; i < ended.size(); ++i) {
    Measure e = end_difference(fmt::format("{} against {}, far accuracy at the end", ended[i], ended[0]),
                               of_arm(all, ended[0]), of_arm(all, ended[i]), runs.metric, "difference", level);
    const bool is_inside = e.low > -by.plateau_margin && e.high < by.plateau_margin;
    inside += is_inside ? 1 : 0;
    outside += e.low > by.plateau_margin || e.high < -by.plateau_margin ? 1 : 0;
    if (e.reading.empty()) e.reading = is_inside ? "within the margin" : "not shown to be within the margin";
    s.evidence.push_back(std::move(e));
  }
  options.progress("plateaux of arms (F1)");
  for (Measure& e : plateau_ratio(all, ended, by, options.threads)) s.evidence.push_back(std::move(e));
  const std::string within = fmt::format("{} of {} arms that were trained long enough end within {:g} of {}", inside,
                                         ended.size() - 1, by.plateau_margin, ended[0]);
  s.verdict = outside > 0                               ? Verdict::refuted
              : late == 0 && inside + 1 == ended.size() ? Verdict::supported
                                                        : Verdict::undecided;
  s.why = late > 0 ? fmt::format("{}; {} arms were not trained long enough", within, late) : within;
  return s;
}

}  // namespace hylas::search
