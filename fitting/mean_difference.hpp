// Differences of means with intervals by Student's t: what the ends of runs (accuracies, losses) are compared by.
//
//   paired    a[i] and b[i] belong together (the same seed): the mean of b - a, n - 1 degrees of freedom
//   unpaired  Welch's: variances of their own, Welch-Satterthwaite degrees
//
// level: two-sided; a difference is within a margin at level alpha (two one-sided tests, Schuirmann 1987) where its
// interval at level 1 - 2 alpha lies inside. Fewer than two values a side: an estimate without an interval (low -inf,
// high +inf). Values without any spread make an interval of no width. Errors: InputError for paired lists of unequal
// length, an empty one, or a value that is not finite. Thread-safety: pure.
#pragma once

#include <span>

#include "fitting/input_error.hpp"
#include "fitting/result.hpp"

namespace hylas::fitting {

struct MeanDifference {
  double estimate = kNaN;  // mean of b - mean of a
  double low = -kInfinity, high = kInfinity;
  double degrees = 0;
  [[nodiscard]] bool within(double margin) const { return low > -margin && high < margin; }
};

[[nodiscard]] MeanDifference paired_difference(std::span<const double> a, std::span<const double> b, double level);
[[nodiscard]] MeanDifference unpaired_difference(std::span<const double> a, std::span<const double> b, double level);

}  // namespace hylas::fitting
