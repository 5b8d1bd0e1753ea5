// Covariates of a run's design, and the columns that an emergence law makes of them by name (MATHS 3, F1).
//
// ln N, ln window, ln depth and ln width are centred at their geometric means over the runs, so that the intercept is
// ln D50 of an average design. A design without window layers has ln window 0 and the indicator `no_swa`; one without
// full layers has ln full fraction 0 and the indicator `no_full`. The products with `nope` let NoPE act otherwise
// beside wide windows (nope*ln_window), along a curve (nope*ln_window^2), and where there are no window layers at all
// (nope*no_swa). Columns that are constant over the runs, or a combination of earlier ones, are dropped and named in
// `dropped`; so are those of ln N where N differs by under 2%.
//
// ln_depth and ln_width are of `depth` and `width`; a design that gives neither may carry an indicator named "ln_depth"
// or "ln_width" instead, which is taken as it is. Errors: InputError for a name that is neither a known term nor an
// indicator of the runs, for ln_depth or ln_width of a design that does not tell it, and for impossible values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fitting/input_error.hpp"

namespace hylas::fitting {

struct DesignCovariates {
  double parameters = 0;     // N, non-embedding; positive
  double window = 0;         // geometric mean of the windows, tokens; 0: no window layer
  double full_fraction = 1;  // full layers / layers
  double nope = 0;           // share of the full layers without position encoding
  double sink = 0;           // share of the attention layers with a sink
  std::vector<std::pair<std::string, double>> indicators = {};  // anything else: shares of mixer kinds, ...
  double depth = 0;                                             // layers; 0: not told
  double width = 0;                                             // d_model; 0: not told
};

struct Columns {
  std::vector<std::string> names;                               // without the intercept
  double log_n0 = 0, log_w0 = 0;                                // centres: of N, of the windows
  double log_depth0 = 0, log_width0 = 0;                        // and of the sizes, over the runs that tell them
  std::vector<std::pair<std::string, std::string>> dropped;     // name, why
  double n_min = 0, n_max = 0, window_min = 0, window_max = 0;  // ranges seen; windows 0 where no run has one
};

// Every term: ln_N, ln_window, ln_window^2, nope, nope*ln_window, nope*ln_window^2, nope*no_swa, ln_window*ln_N,
// ln_full_fraction, sink, no_swa, no_full, ln_depth, ln_width.
[[nodiscard]] std::vector<std::string> known_terms();
// The terms used when the caller does not choose: all of them but ln_window*ln_N, nope*ln_window^2, nope*no_swa,
// ln_depth and ln_width.
[[nodiscard]] std::vector<std::string> default_terms();

[[nodiscard]] Columns choose_columns(const std::vector<DesignCovariates>& runs, const std::vector<std::string>& wanted);
// One value a column.
[[nodiscard]] std::vector<double> row_of(const Columns& columns, const DesignCovariates& design);

}  // namespace hylas::fitting
