// Scales of a plot: the range of its points, ticks at round values, and a value's place between the ends. Used by the
// terminal plot and the SVG plot alike, so that both show the same thing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "search/report/plot.hpp"

namespace hylas::search {

struct Scale {
  bool log = false;
  double low = 0, high = 1;  // low < high; both > 0 where log

  [[nodiscard]] double at(double value) const;              // 0 at low, 1 at high; clamped
  [[nodiscard]] std::vector<double> ticks(int most) const;  // round values inside, ascending
};

// Whether a point can be drawn: finite, not astronomically large (1e100), and > 0 on logarithmic axes.
[[nodiscard]] bool is_shown(const CurvePoint& point, const Plot& plot);

struct Scales {
  Scale x, y;
};
// Nothing where no point can be shown.
[[nodiscard]] std::optional<Scales> scales_of(const Plot& plot);

}  // namespace hylas::search
