// Hold-out of emergence fits (F3): fit without some runs, predict D50 of their designs, compare with what they did.
//
// What is held out: the runs of the largest sizes; or every design in turn (one fold a design); or every window in
// turn. Of a run that emerged the measured D50 is the middle of its interval in ln D; one that crossed before its first
// evaluation has none. A design's error is the median of |log10(predicted / measured)| over its runs that emerged:
// where many of its runs did not, those that did are the early ones, and the error says so too. Intervals are for one
// new run, which may never emerge (D50::any_low, any_high). A run that emerged is covered when its measured D50 lies
// inside (for one without a measured D50: when the interval begins before the crossing), a run that did not when the
// interval reaches beyond its last evaluation below the threshold. Errors: InputError where nothing is held out, or
// nothing is left to fit. Deterministic whatever the threads. Thread-safety: free functions on values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fitting/emergence.hpp"

namespace hylas::fitting {

struct HoldOutRule {
  enum class By { largest_n, design, window };
  By by = By::largest_n;
  int count = 1;            // largest_n: how many of the largest sizes
  std::string design = {};  // design: hold out this one alone; empty: each in turn
  double window = kNaN;     // window: hold out this one alone (0: designs without window layers); NaN: each in turn
};

// One held-out run.
struct HeldOutRun {
  std::string design;
  std::int64_t seed = 0;
  std::string fold;        // what was held out with it: "N = 1.04e+08"
  D50 predicted;           // by the fit without its fold
  double measured = kNaN;  // tokens; NaN: none
  double last_below = 0;   // tokens of the last evaluation below the threshold
  bool emerged = false;
  bool covered = false;
  [[nodiscard]] double error() const;  // |log10(predicted / measured)|, NaN without a measured D50
};

struct HoldOut {
  std::vector<HeldOutRun> runs;
  double level = 0.9;
  double median_error = kNaN;  // over designs that emerged
  double coverage = kNaN;      // share of the runs covered
  int designs = 0;             // behind median_error
  int censored = 0;            // held-out runs that did not emerge
  int censored_beyond =
      0;  // of these, predicted median (D50::any_median) beyond their last evaluation below the threshold
  std::vector<std::pair<std::string, std::string>> left_out;  // folds that could not be fitted, why
  std::vector<std::string> warnings;                          // what the fits without a fold could not know
};

[[nodiscard]] HoldOut hold_out(const std::vector<EmergenceRun>& runs, const EmergenceOptions& options,
                               const HoldOutRule& rule);

// A summary a person reads, and one JSON object: level, median_error, designs, coverage, censored, censored_beyond,
// runs [{design, seed, fold, predicted, low, high, measured, emerged, covered}], left_out {fold: why}, warnings.
[[nodiscard]] std::string to_text(const HoldOut& result);
[[nodiscard]] std::string to_json(const HoldOut& result);

}  // namespace hylas::fitting
