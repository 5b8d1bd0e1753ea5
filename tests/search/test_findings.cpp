// Statements of `hylas findings` on runs made by hand: each verdict where the numbers call for it, and only there.
#include <cmath>
#include <random>

#include "search/advise/recommend.hpp"
#include "search/findings/scales.hpp"
#include "search/findings/statistics.hpp"
#include "tests/catch.hpp"

using namespace hylas;
using namespace hylas::search;

namespace {

constexpr double kEnd = 1e6;

// Runs with evaluations every 5%, and the registration of the tests' core.
class Made {
 public:
  Made() {
    Registration by;
    by.small_window = 4, by.simulations = 99, by.cut_window = 8;
    runs.parts["core"] = by;
    runs.metric = "accuracy/far";
  }

  // Seeds 1 .. seeds of one arm whose ln D50 is ln d50 + sigma z; beyond kEnd a run does not emerge.
  void arm(const std::string& layout, double d50, double sigma, int seeds, double far = 1, double near_loss = 0.01,
           const std::string& part = "core", std::int64_t start_window = 0) {
    model::Shape shape{.d_model = 32, .heads = 1, .kv_heads = 1, .head_dim = 32, .ffn = 96, .vocab = 32, .context = 64};
    for (int seed = 1; seed <= seeds; ++seed) {
      ArmRun run;
      run.part = part;
      run.design = model::Design::make(layout, shape);
      run.arm = layout + (start_window > 0 ? " grows" : "");
      run.trial_key = run.part + run.arm + std::to_string(seed);
      run.seed = seed;
      run.x = law_covariates(run.design);
      run.start_window = start_window;
      run.tokens = run.planned = kEnd;
      const double t = d50 * std::exp(sigma * normal_(random_));
      double before = 0;
      for (double tokens = 1e4; tokens <= kEnd; tokens *= 1.05) {
        run.curve.push_back({tokens, tokens < t ? 0.02 : far, 200});
        if (tokens < t) before = tokens;
        if (tokens >= t && std::isinf(run.far.d_after)) run.far.d_after = tokens;
        run.far.d_max = tokens;
      }
      run.far.d_before = before;
      run.heads = run.far;
      run.end = {{"accuracy/far", run.emerged() ? far + 1e-4 * normal_(random_) : 0.02},
                 {"loss/near", near_loss + 1e-4 * normal_(random_)}};
      runs.runs.push_back(std::move(run));
    }
  }

  FindingRuns runs;

 private:
  std::mt19937_64 random_{7};
  std::normal_distribution<double> normal_;
};

Made lazy() {  // D50 grows as the window's square root with RoPE, not with NoPE
  Made made;
  made.arm("full*4", 1e5, 0.1, 6);
  for (const int w : {4, 8, 16, 32}) {
    made.arm("(swa:" + std::to_string(w) + " full)*2", 4e4 * std::sqrt(w), 0.1, 6);
    made.arm("(swa:" + std::to_string(w) + " full/nope)*2", 5e4, 0.1, 6);
  }
  return made;
}

Made flat() {  // one D50 for all
  Made made;
  made.arm("full*4", 1e5, 0.05, 8);
  for (const int w : {4, 8, 16, 32}) {
    made.arm("(swa:" + std::to_string(w) + " full)*2", 1e5, 0.05, 8);
    made.arm("(swa:" + std::to_string(w) + " full/nope)*2", 1e5, 0.05, 8);
  }
  return made;
}

}  // namespace

TEST_CASE("findings: what was put into the runs is found", "[findings]") {
  const Made made = lazy();
  const auto speed = judge_speed(made.runs, {});
  CHECK(speed.verdict == Verdict::supported);
  const auto laziness = judge_laziness(made.runs, {});
  CHECK(laziness.verdict == Verdict::supported);
  CHECK(laziness.evidence[0].low < 0.5);
  CHECK(laziness.evidence[0].high > 0.5);
  CHECK(laziness.evidence[0].estimate == Approx(0.5).margin(0.1));
  CHECK(judge_heads(made.runs, {}).verdict == Verdict::supported);
  const auto nope = judge_nope_speed(made.runs, {});
  CHECK(nope.verdict == Verdict::supported);
  CHECK(nope.evidence[0].estimate == Approx(5.0 / 8).margin(0.12));  // window 4: 5e4 against 8e4
  CHECK(judge_nope_short(made.runs, {}).verdict == Verdict::supported);
  CHECK(judge_plateau(made.runs, {}).verdict == Verdict::supported);
}

TEST_CASE("findings: what is not in the runs is not claimed", "[findings]") {
  const Made made = flat();
  CHECK(judge_speed(made.runs, {}).verdict == Verdict::refuted);  // all within the registered factor
  CHECK(judge_laziness(made.runs, {}).verdict != Verdict::supported);
  CHECK(judge_nope_speed(made.runs, {}).verdict != Verdict::supported);
}

TEST_CASE("findings: plateaux differ, costs of NoPE and reversed windows are refuted", "[findings]") {
  Made made;
  made.arm("full*4", 1e5, 0.1, 6);
  made.arm("(swa:4 full)*2", 2e5, 0.1, 6, 0.9);
  made.arm("(swa:4 full/nope)*2", 3e5, 0.1, 6, 1, 0.2);
  made.arm("(swa:16 full)*2", 1e5, 0.1, 6);
  CHECK(judge_plateau(made.runs, {}).verdict == Verdict::refuted);
  CHECK(judge_laziness(made.runs, {}).verdict == Verdict::refuted);
  CHECK(judge_nope_speed(made.runs, {}).verdict == Verdict::refuted);
  CHECK(judge_nope_short(made.runs, {}).verdict == Verdict::refuted);
}

TEST_CASE("findings: arms that were not trained long enough leave the plateau undecided", "[findings]") {
  Made made;
  made.arm("full*4", 1e5, 0.1, 6);
  made.arm("(swa:4 full)*2", 1e5, 0.1, 6);
  made.arm("(swa:32 full)*2", 6e5, 0.1, 6);
  const auto plateau = judge_plateau(made.runs, {});
  CHECK(plateau.verdict == Verdict::undecided);
  REQUIRE(plateau.notes.size() == 1);
  CHECK(plateau.notes[0].find("(swa:32 full)*2: 0 of 6 runs reached three times their D50; 6 of 6 runs emerged") == 0);
}

TEST_CASE("findings: an arm that never emerges has a one-sided factor and no estimate", "[findings]") {
  Made made;
  made.arm("(swa:4 full)*2", 1e5, 0.1, 6);
  made.arm("(swa:32 full)*2", 1e8, 0.1, 6);
  const auto& all = made.runs;
  const auto side = [&](const char* arm) { return all.where([&](const ArmRun& run) { return run.arm == arm; }); };
  const auto e = speed_factor("", side("(swa:4 full)*2"), side("(swa:32 full)*2"), all.core());
  CHECK(std::isnan(e.estimate));
  CHECK(e.low > 5);  // it trained for ten times the other's D50
}

TEST_CASE("findings: cuts are judged by what full layers cost more than window layers", "[findings]") {
  const Made made = lazy();
  std::vector<CutRun> cuts;
  for (int seed = 1; seed <= 5; ++seed) cuts.push_back({"(swa:16 full)*2", seed, 1, 0.02 + 0.001 * seed, 0.99});
  CHECK(judge_cuts(made.runs, cuts).verdict == Verdict::supported);
  for (CutRun& cut : cuts) std::swap(cut.full_cut, cut.window_cut);
  CHECK(judge_cuts(made.runs, cuts).verdict == Verdict::refuted);
  CHECK(judge_cuts(made.runs, {}).verdict == Verdict::undecided);
  // Windows of 8 under full layers of 8 keys reach 28 keys back, not 32: nothing is shown by cutting there.
  for (CutRun& cut : cuts) cut.arm = "(swa:8 full)*2";
  CHECK(judge_cuts(made.runs, cuts).verdict == Verdict::undecided);
}

TEST_CASE("findings: a grown window is held against its first and its last one", "[findings]") {
  Made made;
  made.arm("(swa:4 full)*2", 8e4, 0.02, 6);
  made.arm("(swa:32 full)*2", 4e5, 0.1, 6);
  Registration by = made.runs.core();
  by.part = "growth";
  made.runs.parts["growth"] = by;
  CHECK(judge_growth(made.runs, {}).verdict == Verdict::undecided);  // no arm yet
  Made kept = made;
  kept.arm("(swa:32 full)*2", 8e4, 0.02, 6, 1, 0.01, "growth", 4);
  CHECK(judge_growth(kept.runs, {}).verdict == Verdict::supported);
  made.arm("(swa:32 full)*2", 3e5, 0.02, 6, 1, 0.01, "growth", 4);
  CHECK(judge_growth(made.runs, {}).verdict == Verdict::refuted);
}

TEST_CASE("findings: windows that were left out are predicted, and a law that bends is told so", "[findings]") {
  Made made = lazy();
  made.runs.parts["core"].hold_out_windows = {8, 16};
  const auto good = judge_prediction(made.runs, {});
  CHECK(good.verdict == Verdict::supported);
  CHECK(good.evidence[0].estimate < 0.05);  // median |log10|: seeds alone
  Made bent;
  for (const int w : {4, 8, 16, 32}) {
    bent.arm("(swa:" + std::to_string(w) + " full)*2", w == 16 ? 5e5 : 5e4, 0.05, 6);
  }
  bent.runs.parts["core"].law = {"ln_window"};
  bent.runs.parts["core"].hold_out_windows = {16};
  CHECK(judge_prediction(bent.runs, {}).verdict == Verdict::refuted);
}

TEST_CASE("findings: factors of strata are pooled by their widths, and told apart where they differ", "[findings]") {
  const auto factor = [](double low, double high) {
    return Measure{.what = "", .estimate = std::sqrt(low * high), .low = low, .high = high, .unit = "factor"};
  };
  const auto alike = pooled_factor("", {factor(0.8, 0.9), factor(0.8, 0.9)}, 0.9);
  CHECK(alike.factor.estimate == Approx(std::sqrt(0.72)));
  CHECK(std::log(alike.factor.high / alike.factor.low) == Approx(std::log(0.9 / 0.8) / std::sqrt(2)));
  CHECK(alike.heterogeneity_p == Approx(1));
  const auto apart = pooled_factor("", {factor(0.8, 0.9), factor(1.8, 1.9), factor(0, 2)}, 0.9);
  CHECK(apart.strata == 2);  // one has no lower end
  CHECK(apart.heterogeneity_p < 1e-6);
  CHECK(pooled_factor("", {factor(0, 2)}, 0.9).factor.reading.find("not decided") == 0);
}

TEST_CASE("findings: parts that were not run are undecided and say so", "[findings]") {
  const Made made = lazy();
  for (const auto judge : {judge_recurrent, judge_ratios, judge_sinks, judge_growth, judge_sizes}) {
    const auto s = judge(made.runs, {});
    CHECK(s.verdict == Verdict::undecided);
    CHECK(s.why.find("was not run") != std::string::npos);
  }
}

TEST_CASE("findings: the built-in scales have a core, seeds of their own and evaluations fine enough", "[findings]") {
  for (const std::string& scale : finding_scales()) {
    INFO(scale);
    const auto parts = built_in_parts(scale, {});
    REQUIRE(parts.front().name == "core");
    for (const Part& part : parts) {
      INFO(part.name);
      CHECK(part.space.study == scale + "-" + part.name);
      REQUIRE(part.space.tuning);  // which parse_space() holds apart from the study's seeds
      CHECK(part.space.recipes[0].eval.growth <= 0.08);
    }
  }
  CHECK(built_in_parts("toy", {"sinks"}).size() == 2);
  CHECK_THROWS_AS(built_in_parts("toy", {"sink"}), model::InputError);
  CHECK_THROWS_AS(built_in_parts("toys", {}), model::InputError);
}
