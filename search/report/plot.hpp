// Plots of training curves, as text for a terminal and as one self-contained SVG document. Pure functions of plain
// structs.
//
// A series is a design; each of its runs (seeds) is one line of points (x, y), never averaged: seeds are bimodal at
// emergence (MATHS "Emergence"). Points whose x or y is not finite, or <= 0 on a logarithmic axis, are left out; a
// plot without any point says so. Names may hold anything (UTF-8, markup, control characters) and are made harmless.
// Errors: none. Thread-safety: pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace hylas::search {

struct CurvePoint {
  double x = 0;  // usually tokens
  double y = 0;  // usually an accuracy
};

struct Series {
  std::string name;
  std::vector<std::vector<CurvePoint>> runs;  // one per seed, x ascending
};

struct Plot {
  std::string title;
  std::string x_label = "tokens";
  std::string y_label;
  bool log_x = true, log_y = false;
  std::optional<double> y_min = {}, y_max = {};  // where not given, the range of the points
  std::optional<double> threshold = {};          // a horizontal guide, e.g. the accuracy that defines D50
  std::vector<Series> series = {};
};

// Letters a, b, c, ... mark the series (`*`: several different ones in one cell); a legend follows. Lines end in "\n"
// and are `width` columns at most (names are cut). Width and height are of the whole plot without the legend; at least
// 40 x 8.
[[nodiscard]] std::string terminal_plot(const Plot& plot, int width = 72, int height = 18);

// One <svg> document with no reference to anything outside: axes, ticks, legend, a colour a series, a thin line a run.
[[nodiscard]] std::string svg_plot(const Plot& plot, int width = 860, int height = 480);

// "1.5M", "64k", "0.25": a tick label of three significant digits at most.
[[nodiscard]] std::string short_number(double value);

}  // namespace hylas::search
