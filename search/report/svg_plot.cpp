// svg_plot(): the same curves as one self-contained SVG document. Everything a person named goes through xml_text().
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "search/report/plot.hpp"
#include "search/report/plot_scale.hpp"
#include "search/report/table.hpp"

namespace hylas::search {
namespace {

// Okabe and Ito's colours, which people who see few colours can tell apart, then darker ones.
constexpr std::array<const char*, 14> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
                                                  "#56b4e9", "#000000", "#7f3c8d", "#80ba5a", "#a5aa99",
                                                  "#8c564b", "#1b4f72", "#7d6608", "#b03a2e"};
constexpr int kLegendRow = 18;
constexpr std::size_t kLegendWidth = 34;  // characters

// The stroke of a series. Colours come again after 14 series: dashed then, dotted the third time.
std::string stroke_of(std::size_t series) {
  const std::size_t round = series / kColours.size();
  return fmt::format("stroke=\"{}\"{}", kColours[series % kColours.size()],
                     round == 0 ? "" : fmt::format(" stroke-dasharray=\"{} 3\"", round == 1 ? 6 : 2));
}

std::string xml_text(std::string_view text, std::size_t most = 200) {
  std::string result;
  for (const char c : cut(text, most)) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      case '\'': result += "&#39;"; break;
      default: result += c;
    }
  }
  return result;
}

struct Frame {
  double left = 64, right = 600, top = 36, bottom = 400;
  Scales scales;
  [[nodiscard]] double x(double value) const { return left + scales.x.at(value) * (right - left); }
  [[nodiscard]] double y(double value) const { return bottom - scales.y.at(value) * (bottom - top); }
};

std::string text_at(double x, double y, const char* anchor, const std::string& escaped, const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more, escaped);
}

std::string axes(const Plot& plot, const Frame& f) {
  std::string out = "<g stroke=\"#dddddd\" stroke-width=\"1\">\n";
  std::string labels;
  for (const double tick : f.scales.x.ticks(9)) {
    out += fmt::format("<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\"/>\n", f.x(tick), f.top,
                       f.bottom);
    labels += text_at(f.x(tick), f.bottom + 18, "middle", short_number(tick));
  }
  for (const double tick : f.scales.y.ticks(7)) {
    out += fmt::format("<line x1=\"{1:.1f}\" y1=\"{0:.1f}\" x2=\"{2:.1f}\" y2=\"{0:.1f}\"/>\n", f.y(tick), f.left,
                       f.right);
    labels += text_at(f.left - 8, f.y(tick) + 4, "end", short_number(tick));
  }
  out += "</g>\n" + labels;
  out += fmt::format("<path d=\"M{0:.1f} {1:.1f}V{2:.1f}H{3:.1f}\" fill=\"none\" stroke=\"#333333\"/>\n", f.left, f.top,
                     f.bottom, f.right);
  out += text_at((f.left + f.right) / 2, f.bottom + 38, "middle", xml_text(plot.x_label));
  const double middle = (f.top + f.bottom) / 2;
  return out + text_at(16, middle, "middle", xml_text(plot.y_label),
                       fmt::format(" transform=\"rotate(-90 16 {:.1f})\"", middle));
}

std::string guide(const Plot& plot, const Frame& f) {
  if (!plot.threshold || !(*plot.threshold >= f.scales.y.low && *plot.threshold <= f.scales.y.high)) return "";
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#555555\" stroke-dasharray=\"4 3\"/>\n",
      f.left, f.y(*plot.threshold), f.right, f.y(*plot.threshold));
}

std::string run_lines(const std::vector<CurvePoint>& run, const Plot& plot, const Frame& f) {
  std::string points;
  std::size_t count = 0;
  for (const CurvePoint& point : run) {
    if (!is_shown(point, plot)) continue;
    points += fmt::format("{}{:.1f},{:.1f}", count++ > 0 ? " " : "", f.x(point.x), f.y(point.y));
  }
  if (count == 0) return "";
  if (count > 1) return fmt::format("<polyline points=\"{}\"/>\n", points);
  const std::size_t comma = points.find(',');
  return fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"2\"/>\n", points.substr(0, comma), points.substr(comma + 1));
}

std::string curves(const Plot& plot, const Frame& f) {
  std::string out;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    out += fmt::format("<g fill=\"none\" {} stroke-width=\"1.2\" stroke-linejoin=\"round\">\n<title>{}</title>\n",
                       stroke_of(i), xml_text(plot.series[i].name));
    for (const std::vector<CurvePoint>& run : plot.series[i].runs) out += run_lines(run, plot, f);
    out += "</g>\n";
  }
  return out;
}

// `left` is where the legend begins, `top` its first row.
std::string legend(const Plot& plot, double left, double top) {
  std::string out;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const double y = top + kLegendRow * static_cast<double>(i);
    out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {} stroke-width=\"2.5\"/>\n",
                       left, y, left + 18, y, stroke_of(i));
    out += text_at(left + 24, y + 4, "start", xml_text(plot.series[i].name, kLegendWidth));
  }
  return out;
}

}  // namespace

std::string svg_plot(const Plot& plot, int width, int height) {
  width = std::clamp(width, 400, 10000);
  const int legend_rows = static_cast<int>(std::min<std::size_t>(plot.series.size(), 5000));
  height = std::max(std::clamp(height, 200, 10000), 60 + kLegendRow * legend_rows);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "role=\"img\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n",
      width, height);
  out +=
      fmt::format("<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n", xml_text(plot.title));
  out += text_at(width / 2.0, 22, "middle", xml_text(plot.title, 100), " font-size=\"14\" font-weight=\"bold\"");
  const double legend_left = width - std::min(260.0, width * 0.4);
  if (const std::optional<Scales> scales = scales_of(plot)) {
    const Frame frame{64, legend_left - 16, 36, height - 52.0, *scales};
    out += axes(plot, frame) + guide(plot, frame) + curves(plot, frame);
  } else {
    out += text_at(legend_left / 2, height / 2.0, "middle", "no points to plot");
  }
  return out + legend(plot, legend_left, 46) + "</svg>\n";
}

}  // namespace hylas::search
