// The comparisons that the statements of `hylas findings` are made of, each with its interval.
//
// Speeds are compared by F3 (fitting/emergence.hpp): runs that did not emerge are censored, and no cure fraction is
// assumed, so that "never" counts as "late". Errors: fitting::InputError where there are too few runs for a fit; the
// evidence then says so instead. Thread-safety: pure.
#pragma once

#include <string>
#include <vector>

#include "fitting/compare.hpp"
#include "fitting/mean_difference.hpp"
#include "search/findings/statement.hpp"

namespace hylas::search {

// exp of the shift of ln D50 from the runs `a` to `b`.
[[nodiscard]] Measure speed_factor(const std::string& what, const Runs& a, const Runs& b, const Registration& by,
                                   Clock clock = Clock::far);
// The coefficient of one term of F3 with these terms.
[[nodiscard]] Measure coefficient(const std::string& what, const Runs& runs, const std::vector<std::string>& terms,
                                  const std::string& term, const Registration& by, int threads,
                                  Clock clock = Clock::far);
// Factors of several strata as one: the mean of their logarithms, weighted by the inverse of their squared widths
// (fixed effects), and Cochran's Q of whether they differ. Strata without a finite interval are left out.
struct Pooled {
  Measure factor;
  double heterogeneity_p = fitting::kNaN;
  std::size_t strata = 0;
};
[[nodiscard]] Pooled pooled_factor(const std::string& what, const std::vector<Measure>& strata, double level);
// Whether arms differ in D50 at all: one D50 for all against one each.
[[nodiscard]] fitting::LikelihoodRatio arms_differ(const Runs& runs, const Registration& by, int threads);
// The mean of a metric at the end, b - a: paired by seed where both sides have the same seeds. A side must hold each
// seed once, else nothing is decided.
[[nodiscard]] Measure end_difference(const std::string& what, const Runs& a, const Runs& b, const std::string& metric,
                                     const std::string& unit, double level);
// The same of the capability at the last evaluation up to `tokens`.
[[nodiscard]] Measure early_difference(const std::string& what, const Runs& a, const Runs& b, double tokens,
                                       double level);

[[nodiscard]] bool above(const Measure& evidence, double bound);  // the whole interval
[[nodiscard]] bool below(const Measure& evidence, double bound);

// "WORDS 0.85 (0.8 to 0.9)", or, where there is no estimate, the interval or why there is none.
[[nodiscard]] std::string in_words(const std::string& words, const Measure& evidence);
// "4 of 5 runs emerged"
[[nodiscard]] std::string emerged_text(const Runs& runs);
[[nodiscard]] Runs of_arm(const Runs& runs, const std::string& arm);

}  // namespace hylas::search
