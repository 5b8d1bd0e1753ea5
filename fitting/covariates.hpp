// Covariates of a run's design, and the columns that an emergence law makes of them by name (MATHS 3, F1).
//
// ln N and ln window are centred at their geometric means over the runs, so that the intercept is ln D50 of an average
// design. A design without window layers has ln window 0 and the indicator `no_swa`; one without full layers has ln
// full fraction 0 and the indicator `no_full`. Columns that are constant over the runs, or a combination of earlier
// ones, are dropped and named in `dropped`; so are those of ln N where N differs by under 2%. Errors: InputError for a
// name that is neither a known term nor an indicator of the runs, and for impossible values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fitting/input_error.hpp"

namespace hylas::fitting {

struct DesignCovariates {
  double parameters = 0;                                   // N, non-embedding; positive
  double window = 0;                                       // geometric mean of the windows, tokens; 0: no window layer
  double full_fraction = 1;                                // full layers / layers
  double nope = 0;                                         // share of the full layers without position encoding
  double sink = 0;                                         // share of the attention layers with a sink
  std::vector<std::pair<std::string, double>> indicators;  // anything else: mixer kinds, ln depth, ...
};

struct Columns {
  std::vector<std::string> names;                               // without the intercept
  double log_n0 = 0, log_w0 = 0;                                // centres
  std::vector<std::pair<std::string, std::string>> dropped;     // name, why
  double n_min = 0, n_max = 0, window_min = 0, window_max = 0;  // ranges seen; windows 0 where no run has one
};

// Every term: ln_N, ln_window, ln_window^2, nope, nope*ln_window, ln_window*ln_N, ln_full_fraction, sink, no_swa,
// no_full.
[[nodiscard]] std::vector<std::string> known_terms();
// The terms used when the caller does not choose: all of them but ln_window*ln_N.
[[nodiscard]] std::vector<std::string> default_terms();

[[nodiscard]] Columns choose_columns(const std::vector<DesignCovariates>& runs, const std::vector<std::string>& wanted);
// One value a column.
[[nodiscard]] std::vector<double> row_of(const Columns& columns, const DesignCovariates& design);

}  // namespace hylas::fitting
