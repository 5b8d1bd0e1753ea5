// F1 on the censoring study of MATHS 3 as curves: agreement with F3 on the same runs, no averaging of seeds, coverage
// of the profile intervals of D50 at an unseen window [slow].
#include <cmath>
#include <cstdio>
#include <type_traits>

#include "fitting/emergence.hpp"
#include "fitting/parallel.hpp"
#include "fitting/simulate_curves.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

// MATHS 3: ln D50 of a design, seeds' sd .30, evaluations every half octave from 5e8 to d_max; the curve rises over
// about an octave (k 6) from .05 to .95, 128 positions.
double log_d50_of(const DesignCovariates& x) {
  return testing::censoring_log_d50(x.parameters, x.window, x.nope);
}

std::vector<CurveRun> curves(std::uint64_t seed, std::uint64_t repetition, double d_max, int seeds,
                             const std::vector<double>& sizes) {
  Stream stream(seed, repetition);
  std::vector<CurveRun> runs;
  for (const double n : sizes) {
    for (const double w : {128.0, 512.0, 2048.0}) {
      for (const double nope : {0.0, 1.0}) {
        for (int s = 0; s < seeds; ++s) {
          CurveRun run;
          run.design = std::to_string(n) + "/" + std::to_string(w) + "/" + std::to_string(nope);
          run.seed = s;
          run.x = {n, w, 0.5, nope, 0, {}};
          for (double d = 5e8; d < 0.99 * d_max; d *= std::sqrt(2.0)) run.tokens.push_back(d);
          run.tokens.push_back(d_max);
          run.accuracy.assign(run.tokens.size(), 0);
          run.count.assign(run.tokens.size(), 128);
          runs.push_back(simulate_curve(run, log_d50_of(run.x), {0.05, 0.95, 6, 0.30, 60}, stream));
        }
      }
    }
  }
  return runs;
}

// A crossing at the last evaluation cannot be confirmed by a second one, so the watch over a run that did not cross
// ends at the evaluation before: ending it at the last, for those seen to be below there, would count the late ones
// twice.
std::vector<EmergenceRun> times_of(const std::vector<CurveRun>& runs) {
  std::vector<EmergenceRun> times;
  for (const CurveRun& run : runs) {
    const Crossing at = crossing_of(run.tokens, run.accuracy, 0.5);
    times.push_back({run.design, run.seed, run.x, at.d_before, at.d_after, at.d_max});
  }
  return times;
}

double censored(const std::vector<EmergenceRun>& runs) {
  double share = 0;
  for (const EmergenceRun& run : runs) share += run.emerged() ? 0 : 1.0 / static_cast<double>(runs.size());
  return share;
}

EmergenceOptions plain() {
  EmergenceOptions options;
  options.terms = {"ln_N", "ln_window", "nope"};
  options.intervals = false;
  options.cure = false;
  return options;
}

constexpr double kNone = 3e10, kThird = 1e10, kMost = 5.5e9;  // ends that leave about 0, 30 and 60% unfinished

// How many designs of a study have F1's D50 inside F3's interval. (Not the other way about: a curve that begins to rise
// tells F1 what F3 does not see, so that with most runs unfinished F1's intervals are a third of F3's.)
struct Agreement {
  int designs = 0, agree = 0;
  double unfinished = 0;
};
Agreement agreement(std::uint64_t seed, std::uint64_t repetition, double d_max, const std::vector<double>& sizes) {
  const auto runs = curves(seed, repetition, d_max, 3, sizes);
  const auto times = times_of(runs);
  const EmergenceFit f1 = fit_emergence_curve(runs, plain()), f3 = fit_emergence_time(times, plain());
  std::vector<DesignCovariates> designs;
  for (std::size_t i = 0; i < runs.size(); i += 3) designs.push_back(runs[i].x);
  const auto a = profile_d50(f1, runs, designs), b = profile_d50(f3, times, designs);
  Agreement result{static_cast<int>(designs.size()), 0, censored(times)};
  for (std::size_t i = 0; i < designs.size(); ++i) {
    result.agree += b[i].ci_low <= a[i].estimate && a[i].estimate <= b[i].ci_high;
  }
  return result;
}

}  // namespace

TEST_CASE("F1 and F3 agree on D50 within their intervals with none, a third and most of the runs unfinished") {
  for (const auto& [d_max, share] : {std::pair{kNone, 0.0}, {8e9, 0.3}, {5e9, 0.6}}) {  // one size, the fastest
    const Agreement result = agreement(31, 0, d_max, {104e6});
    INFO("to " << d_max << " tokens, " << result.unfinished << " unfinished");
    CHECK(result.unfinished == Approx(share).margin(0.2));  // 18 runs: sd .11
    CHECK(result.agree == result.designs);
  }
}

TEST_CASE("F1 and F3 agree on D50 in many studies, 36 runs each", "[slow]") {
  for (const double d_max : {kNone, kThird, kMost}) {
    constexpr int repetitions = 40;
    std::vector<Agreement> all(repetitions);
    parallel_for(repetitions, 0, [&](int r) {
      all[r] = agreement(32, static_cast<std::uint64_t>(r), d_max, {15e6, 104e6});
    });
    int designs = 0, agree = 0;
    double unfinished = 0;
    for (const Agreement& one : all) {
      designs += one.designs;
      agree += one.agree;
      unfinished += one.unfinished / repetitions;
    }
    std::printf("F1 and F3, %.0f%% unfinished: F1's D50 inside F3's 90%% interval for %d of %d designs\n",
                100 * unfinished, agree, designs);
    std::fflush(stdout);
    CHECK(agree >= 0.95 * designs);  // the same runs: F3 only forgets where between two evaluations they crossed
  }
}

TEST_CASE("seeds cannot be averaged: a run is one design with one whole seed, given once, to F1 as to F3") {
  static_assert(std::is_same_v<decltype(CurveRun::seed), std::int64_t>);
  static_assert(std::is_same_v<decltype(EmergenceRun::seed), std::int64_t>);
  const auto message = [](const auto& fit) -> std::string {
    try {
      (void)fit();
    } catch (const InputError& e) {
      return e.what();
    }
    return "no error";
  };
  auto runs = curves(33, 0, kNone, 3, {31e6});
  auto times = times_of(runs);
  auto twice = runs;
  twice[1].seed = 0;
  auto times_twice = times;
  times_twice[1].seed = 0;
  CHECK(message([&] { return fit_emergence_curve(twice, plain()); }).find("is given twice") != std::string::npos);
  CHECK(message([&] { return fit_emergence_time(times_twice, plain()); }).find("is given twice") != std::string::npos);

  // An average over seeds given as one run: its hits are no whole numbers, and the fit says so.
  std::vector<CurveRun> averages;
  for (std::size_t i = 0; i < runs.size(); i += 3) {
    CurveRun mean = runs[i];
    for (std::size_t j = 0; j < mean.tokens.size(); ++j) {
      mean.accuracy[j] = (runs[i].accuracy[j] + runs[i + 1].accuracy[j] + runs[i + 2].accuracy[j]) / 3;
    }
    averages.push_back(mean);
  }
  EmergenceOptions one = plain();
  one.terms = {"ln_window"};
  const auto warned = [](const EmergenceFit& fit) {
    for (const std::string& w : fit.fit.warnings) {
      if (w.find("never an average") != std::string::npos) return true;
    }
    return false;
  };
  CHECK(warned(fit_emergence_curve(averages, one)));
  CHECK_FALSE(warned(fit_emergence_curve(runs, one)));
  for (CurveRun& run : runs) {
    for (double& accuracy : run.accuracy) accuracy = std::round(1000 * accuracy) / 1000;  // three printed digits
  }
  CHECK_FALSE(warned(fit_emergence_curve(runs, one)));
}

// 36 runs: 2 sizes x 3 windows x NoPE x 3 seeds; the window 1024 is in none of them.
TEST_CASE("coverage: F1's nominal 90% profile intervals of D50 at an unseen window, 300 repetitions", "[slow]") {
  for (const double d_max : {kNone, kThird, kMost}) {
    constexpr int repetitions = 300;
    std::vector<D50> all(repetitions);
    std::vector<double> unfinished(repetitions);
    std::vector<char> converged(repetitions);
    const DesignCovariates unseen{31e6, 1024, 0.5, 0, 0, {}};
    parallel_for(repetitions, 0, [&](int r) {
      const auto runs = curves(34, static_cast<std::uint64_t>(r), d_max, 3, {15e6, 104e6});
      const EmergenceFit fit = fit_emergence_curve(runs, plain());
      all[r] = profile_d50(fit, runs, {unseen}).front();
      unfinished[r] = censored(times_of(runs));
      converged[r] = fit.fit.converged ? 1 : 0;
    });
    double covers = 0, share = 0, width = 0;
    int not_converged = 0;
    const double truth = std::exp(log_d50_of(unseen));
    for (int r = 0; r < repetitions; ++r) {
      covers += all[r].ci_low <= truth && truth <= all[r].ci_high ? 1.0 / repetitions : 0;
      width += std::log(all[r].ci_high / all[r].ci_low) / repetitions;
      share += unfinished[r] / repetitions;
      not_converged += converged[r] == 0;
    }
    std::printf(
        "F1, %.0f%% unfinished: 90%% profile intervals of D50 at window 1024 cover %.3f of %d, mean width %.3f, "
        "%d not converged\n",
        100 * share, covers, repetitions, width, not_converged);
    std::fflush(stdout);
    CHECK(covers >= 0.85);  // three standard errors of 300 (.052) below .90 would be .848
    CHECK(covers <= 0.95);
    CHECK(not_converged == 0);
  }
}
