// terminal_plot(): curves as text. A title line, the area with its y ticks, the x axis (which ends in its label), x
// ticks, and the legend.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "search/report/plot.hpp"
#include "search/report/plot_scale.hpp"
#include "search/report/table.hpp"

namespace hylas::search {
namespace {

constexpr std::string_view kMarks = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

char mark_of(std::size_t series) {
  return series < kMarks.size() ? kMarks[series] : '#';
}

// The plot's cells, row 0 on top.
class Area {
 public:
  Area(std::size_t columns, std::size_t rows, const Scales& scales)
      : columns_(columns), lines_(rows, std::string(columns, ' ')), scales_(scales) {}

  void guide(double y) {
    std::string& line = lines_[row(y)];
    for (std::size_t column = 0; column < columns_; column += 2) line[column] = '.';
  }

  // A run: its points and, between them, one cell a column.
  void draw(const std::vector<CurvePoint>& run, char mark, const Plot& plot) {
    const CurvePoint* last = nullptr;
    for (const CurvePoint& point : run) {
      if (!is_shown(point, plot)) continue;
      if (last != nullptr) connect(*last, point, mark);
      put(column(point.x), row(point.y), mark);
      last = &point;
    }
  }

  [[nodiscard]] std::size_t column(double x) const { return cell(scales_.x.at(x), columns_); }
  [[nodiscard]] std::size_t row(double y) const { return lines_.size() - 1 - cell(scales_.y.at(y), lines_.size()); }
  [[nodiscard]] const std::vector<std::string>& lines() const { return lines_; }

 private:
  static std::size_t cell(double place, std::size_t cells) {
    return static_cast<std::size_t>(std::lround(place * static_cast<double>(cells - 1)));
  }

  void connect(const CurvePoint& from, const CurvePoint& to, char mark) {
    const std::size_t begin = column(from.x), end = column(to.x);
    const double from_y = scales_.y.at(from.y), to_y = scales_.y.at(to.y);
    for (std::size_t c = begin + 1; c < end; ++c) {
      const double share = static_cast<double>(c - begin) / static_cast<double>(end - begin);
      put(c, lines_.size() - 1 - cell(from_y + share * (to_y - from_y), lines_.size()), mark);
    }
  }

  void put(std::size_t c, std::size_t r, char mark) {
    char& here = lines_[r][c];
    here = here == ' ' || here == '.' || here == mark ? mark : '*';
  }

  std::size_t columns_;
  std::vector<std::string> lines_;
  const Scales& scales_;
};

std::string line_of(std::string text) {
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string title_of(const Plot& plot) {
  return plot.title + (plot.title.empty() || plot.y_label.empty() ? "" : ": ") + plot.y_label;
}

// Labels of the y ticks, one a row, "" where there is none.
std::vector<std::string> y_labels(const Area& area, const Scale& y) {
  const std::size_t rows = area.lines().size();
  std::vector<std::string> labels(rows);
  for (const double tick : y.ticks(std::max(2, static_cast<int>(rows) / 3)))
    labels[area.row(tick)] = short_number(tick);
  return labels;
}

struct XAxis {
  std::string line, labels;
};

XAxis x_axis(const Area& area, const Scale& x, const std::string& label, std::size_t columns) {
  XAxis axis{std::string(columns, '-'), std::string(columns, ' ')};
  std::size_t free_from = 0;
  for (const double tick : x.ticks(std::max(2, static_cast<int>(columns) / 9))) {
    const std::string text = short_number(tick);
    const std::size_t at = area.column(tick);
    axis.line[at] = '+';
    const std::size_t begin = std::min(at >= text.size() / 2 ? at - text.size() / 2 : 0, columns - text.size());
    if (begin < free_from) continue;
    axis.labels.replace(begin, text.size(), text);
    free_from = begin + text.size() + 1;
  }
  if (!label.empty()) {
    const std::string shown = fmt::format(" {}", cut(label, columns / 3));
    axis.line = axis.line.substr(0, columns - text_width(shown)) + shown;
  }
  return axis;
}

std::string legend(const Plot& plot, std::size_t width) {
  std::string out;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const Series& series = plot.series[i];
    const bool empty = std::none_of(series.runs.begin(), series.runs.end(), [&](const auto& run) {
      return std::any_of(run.begin(), run.end(), [&](const CurvePoint& p) { return is_shown(p, plot); });
    });
    const std::string note = empty ? " (no points)" : "";
    out += line_of(fmt::format("  {}  {}{}", mark_of(i), cut(series.name, width - 5 - note.size()), note));
  }
  return out;
}

}  // namespace

std::string terminal_plot(const Plot& plot, int width, int height) {
  const auto columns_in_all = static_cast<std::size_t>(std::clamp(width, 40, 1000));
  const auto rows = static_cast<std::size_t>(std::clamp(height, 8, 1000)) - 3;
  std::string out = line_of(cut(title_of(plot), columns_in_all));
  const std::optional<Scales> scales = scales_of(plot);
  if (!scales) return out + "  (no points to plot)\n" + legend(plot, columns_in_all);

  constexpr std::size_t kMostLabel = 9;  // "-1.23e-99"
  const std::vector<std::string> widest = y_labels(Area(1, rows, *scales), scales->y);
  std::size_t margin = 0;
  for (const std::string& label : widest) margin = std::min(kMostLabel, std::max(margin, label.size()));
  const std::size_t columns = columns_in_all - margin - 2;
  Area area(columns, rows, *scales);
  if (plot.threshold && *plot.threshold >= scales->y.low && *plot.threshold <= scales->y.high)
    area.guide(*plot.threshold);
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    for (const std::vector<CurvePoint>& run : plot.series[i].runs) area.draw(run, mark_of(i), plot);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    out += line_of(fmt::format("{:>{}} {}{}", widest[r], margin, widest[r].empty() ? '|' : '+', area.lines()[r]));
  }
  const XAxis axis = x_axis(area, scales->x, plot.x_label, columns);
  out += line_of(std::string(margin + 1, ' ') + "+" + axis.line);
  out += line_of(std::string(margin + 2, ' ') + axis.labels);
  return out + legend(plot, columns_in_all);
}

}  // namespace hylas::search
