// Plots: the exact text of a small one, ranges and ticks, and SVG that stays well formed whatever the names hold.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "search/report/plot.hpp"
#include "search/report/plot_scale.hpp"
#include "search/report/table.hpp"
#include "tests/catch.hpp"

using namespace hylas::search;

namespace {

Plot two_curves() {
  Plot plot;
  plot.title = "demo";
  plot.y_label = "accuracy/far";
  plot.y_min = 0;
  plot.y_max = 1;
  plot.threshold = 0.5;
  plot.series = {{"(swa:4 full)*2", {{{1e4, 0.05}, {1e5, 0.1}, {2e5, 0.9}}, {{1e4, 0.05}, {1e5, 0.05}, {3e5, 1}}}},
                 {"(swa:32 full)*2", {{{1e4, 0.05}, {1e6, 0.1}}}}};
  return plot;
}

// Checks what XML asks of a document made of elements, attributes in double quotes and text: tags nest, attributes are
// quoted and unique enough to have a name, no stray & or <. Returns "" or what is wrong.
std::string xml_problem(const std::string& text) {
  std::vector<std::string> open;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 && byte != '\n') return "a control character";
    if (text[i] == '&') {
      const std::size_t end = text.find(';', i);
      const std::string entity = end == std::string::npos ? "" : text.substr(i, end - i + 1);
      const std::vector<std::string> known = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
      if (std::find(known.begin(), known.end(), entity) == known.end()) return "a stray &";
    }
    if (text[i] == '>') return "a stray >";
    if (text[i] != '<') continue;
    std::size_t end = i;
    bool in_quotes = false;
    while (end < text.size() && (in_quotes || text[end] != '>')) {
      if (text[end] == '"') in_quotes = !in_quotes;
      if (end > i && text[end] == '<') return "a < inside a tag";
      ++end;
    }
    if (end == text.size()) return "a tag without end";
    const std::string tag = text.substr(i + 1, end - i - 1);
    const std::string name = tag.substr(tag[0] == '/' ? 1 : 0, tag.find_first_of(" /", 1) - (tag[0] == '/' ? 1 : 0));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "an end tag that closes nothing: " + tag;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    i = end;
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("The terminal plot of two designs, to the character") {
  const std::string expected = R"(
demo: accuracy/far
  1 +                                        a
    |                                   a  aa
    |                                  a  a
    |                                 a aa
0.5 +. . . . . . . . . . . . . . . .aa a . . . . . . . . . .
    |                              a aa
    |                             a a
    |                            aaa
    |   aaa***********************bbbbbbbbbbbbbbbbbbbbbbbbbb
  0 +******aaaaaaaaaaaaaaaaaaaaaa
    ++--------------------------+-------------------- tokens
     10k                      100k                        1M
  a  (swa:4 full)*2
  b  (swa:32 full)*2
)";
  CHECK("\n" + terminal_plot(two_curves(), 60, 13) == expected);
}

TEST_CASE("A terminal plot keeps its size, whatever is in it") {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    Plot plot;
    plot.title = std::string(random() % 200, 'T');
    plot.y_label = std::string(random() % 9, 'y');
    plot.x_label = std::string(random() % 60, 'x');
    plot.log_x = random() % 2 == 0;
    plot.log_y = random() % 2 == 0;
    if (random() % 2 == 0) plot.threshold = 0.5;
    for (std::uint32_t s = random() % 80; s > 0; --s) {
      Series series{std::string(random() % 150, 's'), {}};
      for (std::uint32_t r = random() % 3; r > 0; --r) {
        std::vector<CurvePoint> run;
        const double scale = std::pow(10.0, static_cast<double>(random() % 60) - 30);
        for (std::uint32_t p = random() % 6; p > 0; --p)
          run.push_back({random() * scale, (random() * 1.0 - 2e9) * scale});
        series.runs.push_back(run);
      }
      plot.series.push_back(series);
    }
    const int width = static_cast<int>(random() % 90) + 30, height = static_cast<int>(random() % 30);
    const std::vector<std::string> lines = lines_of(terminal_plot(plot, width, height));
    CAPTURE(seed, width, height);
    for (const std::string& line : lines) CHECK(static_cast<int>(line.size()) <= std::max(40, width));
    const bool empty = std::none_of(plot.series.begin(), plot.series.end(), [&](const Series& s) {
      return std::any_of(s.runs.begin(), s.runs.end(), [&](const auto& run) {
        return std::any_of(run.begin(), run.end(), [&](const CurvePoint& p) { return is_shown(p, plot); });
      });
    });
    CHECK(lines.size() == (empty ? 2 : static_cast<std::size_t>(std::max(8, height))) + plot.series.size());
    CHECK(xml_problem(svg_plot(plot)).empty());
  }
}

TEST_CASE("Points that cannot be drawn are left out; a plot without any says so") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  Plot plot;
  plot.title = "empty";
  plot.series = {{"a", {{{0, 1}, {-5, 1}, {nan, 1}, {inf, 1}, {1, nan}, {1, inf}, {1e300, 1}, {1, -1e300}}}},
                 {"b", {}}};
  CHECK(terminal_plot(plot) == "empty\n  (no points to plot)\n  a  a (no points)\n  b  b (no points)\n");
  CHECK(svg_plot(plot).find("no points to plot") != std::string::npos);
  CHECK(xml_problem(svg_plot(plot)).empty());
  CHECK(terminal_plot({}) == "\n  (no points to plot)\n");
  plot.series[1].runs = {{{1000, 0.5}}};  // one point: a range is made around it
  CHECK(terminal_plot(plot).find('b') < terminal_plot(plot).find("  a  a (no points)"));
  CHECK(svg_plot(plot).find("<circle") != std::string::npos);
  plot.y_min = nan;
  plot.y_max = -inf;
  plot.threshold = nan;
  CHECK(lines_of(terminal_plot(plot)).size() == 20);
  CHECK(svg_plot(plot).find("nan") == std::string::npos);
}

TEST_CASE("Different designs in one cell show as a star, runs of one design do not") {
  Plot plot;
  plot.log_x = false;
  plot.series = {{"one", {{{0, 0}, {1, 1}}, {{0, 0}, {1, 1}}}}};
  CHECK(terminal_plot(plot).find('*') == std::string::npos);
  plot.series.push_back({"two", {{{0, 0}, {1, 0}}}});
  CHECK(count_of(terminal_plot(plot), "*") >= 1);
}

TEST_CASE("Ticks are round values inside the range") {
  CHECK(Scale{false, 0, 1}.ticks(6) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
  CHECK(Scale{true, 1e4, 2e6}.ticks(9) == std::vector<double>{1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6});
  CHECK(Scale{true, 1e4, 2e6}.ticks(4) == std::vector<double>{1e4, 1e5, 1e6});
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::mt19937_64 random(seed);
    const bool log = random() % 2 == 0;
    const double low = std::pow(10.0, static_cast<double>(random() % 160) - 80) * (log || random() % 2 == 0 ? 1 : -1);
    const double high = low + std::abs(low) * std::pow(10.0, static_cast<double>(random() % 20) - 9);
    const int most = static_cast<int>(random() % 10) + 2;
    const std::vector<double> ticks = Scale{log, low, high}.ticks(most);
    CAPTURE(seed, log, low, high, most);
    CHECK(static_cast<int>(ticks.size()) <= most + 1);
    CHECK(std::is_sorted(ticks.begin(), ticks.end()));
    for (const double tick : ticks) {  // 1e-8 of the range: ticks at the ends are rounded
      CHECK(tick >= low - (high - low) * 1e-8 - std::abs(low) * 1e-8);
      CHECK(tick <= high + (high - low) * 1e-8 + std::abs(high) * 1e-8);
    }
  }
}

TEST_CASE("short_number has three digits at most and a unit") {
  const std::vector<std::pair<double, const char*>> cases = {
      {0, "0"},      {-0.0, "0"},     {1, "1"},         {0.25, "0.25"},      {999.4, "999"},
      {999.6, "1k"}, {1234, "1.23k"}, {64000, "64k"},   {1.5e6, "1.5M"},     {999.9e6, "1B"},
      {3e12, "3T"},  {4e15, "4e+15"}, {0.001, "0.001"}, {1.5e-7, "1.5e-07"}, {-2500, "-2.5k"}};
  for (const auto& [value, text] : cases) CHECK(short_number(value) == text);
}

TEST_CASE("The SVG plot has every run as a line, a colour a design, axes, a legend, and needs nothing from outside") {
  const std::string svg = svg_plot(two_curves());
  CHECK(xml_problem(svg).empty());
  CHECK(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0) == 0);
  CHECK(count_of(svg, "<polyline") == 3);
  CHECK(count_of(svg, "#0072b2") == 2);  // the first design's lines and its legend
  CHECK(count_of(svg, "#d55e00") == 2);
  CHECK(count_of(svg, "stroke-dasharray") == 1);  // the threshold
  for (const char* part :
       {">10k<", ">100k<", ">1M<", ">0.4<", ">tokens<", ">accuracy/far<", ">(swa:32 full)*2<", ">demo<"}) {
    CAPTURE(part);
    CHECK(svg.find(part) != std::string::npos);
  }
  CHECK(count_of(svg, "http") == 1);  // the namespace alone
  CHECK(svg.find("href") == std::string::npos);
  CHECK(svg.find("<script") == std::string::npos);
  CHECK(svg == svg_plot(two_curves()));
  Plot many = two_curves();
  many.series.resize(40, many.series[0]);
  CHECK(xml_problem(svg_plot(many)).empty());
  CHECK(count_of(svg_plot(many), "stroke-dasharray") == 1 + 2 * 26);  // colours repeat after 14: dashes tell them apart
}

TEST_CASE("Hostile names stay text in SVG") {
  std::vector<std::string> names = {"<script>alert(1)</script>",
                                    "\"/><script>",
                                    "a&b",
                                    "&lt;",
                                    "]]>",
                                    "<!--",
                                    "x' onload='y",
                                    std::string("nul\0nul", 7),
                                    "\x1b[31m",
                                    "\xff\xfe",
                                    "\xef\xbf\xbf",
                                    std::string(1 << 20, '<')};
  for (const std::string& name : names) {
    Plot plot = two_curves();
    plot.title = plot.x_label = plot.y_label = plot.series[0].name = name;
    const std::string svg = svg_plot(plot);
    CAPTURE(printable(name.substr(0, 40)));
    CHECK(xml_problem(svg).empty());
    CHECK(svg.find("<script") == std::string::npos);
    CHECK(svg.size() < 20000);
    for (const std::string& line : lines_of(terminal_plot(plot))) CHECK(text_width(line) <= 72);
  }
}

TEST_CASE("The checker of well-formedness finds what is wrong") {
  CHECK(xml_problem("<a><b c=\"d\"/>x</a>").empty());
  CHECK_FALSE(xml_problem("<a><b></a>").empty());
  CHECK_FALSE(xml_problem("<a>&</a>").empty());
  CHECK_FALSE(xml_problem("<a>a > b</a>").empty());
  CHECK_FALSE(xml_problem("<a b=\"<\"></a>").empty());
  CHECK_FALSE(xml_problem("<a>\x01</a>").empty());
  CHECK_FALSE(xml_problem("<a>").empty());
}
