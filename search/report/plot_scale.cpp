// Ranges, ticks, and the short numbers that label them.
#include "search/report/plot_scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace hylas::search {
namespace {

constexpr double kLargest = 1e100;

// The least of 1, 2, 5 x 10^k that is at least `step`.
double round_step(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::vector<double> linear_ticks(double low, double high, int most) {
  std::vector<double> result;
  const double step = round_step((high - low) / std::max(1, most - 1));
  const double first = std::ceil(low / step - 1e-9);
  for (int i = 0; i <= most; ++i) {
    const double tick = (first + i) * step;
    if (tick > high + step * 1e-9) break;
    if (result.empty() || tick > result.back()) result.push_back(tick + 0.0);
  }
  return result;
}

// Powers of ten; with fewer than three of them also 2 and 5 times those.
std::vector<double> log_ticks(double low, double high, int most) {
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  const auto inside = [&](const std::vector<double>& factors, int every) {
    std::vector<double> result;
    for (int power = first; power <= last; power += every) {
      for (const double factor : factors) {
        const double tick = factor * std::pow(10.0, power);
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) result.push_back(tick);
      }
    }
    return result;
  };
  std::vector<double> result = inside({1, 2, 5}, 1);
  if (static_cast<int>(result.size()) > most) result = inside({1}, 1);
  if (static_cast<int>(result.size()) > most) result = inside({1}, (last - first) / std::max(1, most - 1) + 1);
  return result.size() >= 2 ? result : linear_ticks(low, high, most);
}

// A range with some width, also for a single value.
Scale widened(Scale scale) {
  if (scale.high > scale.low) return scale;
  if (scale.log) {
    scale.low /= 2;
    scale.high *= 2;
  } else {
    const double margin = std::max(0.5, std::abs(scale.low) * 0.5);
    scale.low -= margin;
    scale.high += margin;
  }
  return scale;
}

}  // namespace

double Scale::at(double value) const {
  const double place =
      log ? (std::log(value) - std::log(low)) / (std::log(high) - std::log(low)) : (value - low) / (high - low);
  return std::clamp(place, 0.0, 1.0);
}

std::vector<double> Scale::ticks(int most) const {
  return log ? log_ticks(low, high, most) : linear_ticks(low, high, most);
}

bool is_shown(const CurvePoint& point, const Plot& plot) {
  const bool usable = std::abs(point.x) <= kLargest && std::abs(point.y) <= kLargest;  // false for NaN and infinity
  return usable && (!plot.log_x || point.x >= 1 / kLargest) && (!plot.log_y || point.y >= 1 / kLargest);
}

std::optional<Scales> scales_of(const Plot& plot) {
  std::optional<Scales> found;
  for (const Series& series : plot.series) {
    for (const std::vector<CurvePoint>& run : series.runs) {
      for (const CurvePoint& point : run) {
        if (!is_shown(point, plot)) continue;
        if (!found) found = Scales{{plot.log_x, point.x, point.x}, {plot.log_y, point.y, point.y}};
        found->x.low = std::min(found->x.low, point.x);
        found->x.high = std::max(found->x.high, point.x);
        found->y.low = std::min(found->y.low, point.y);
        found->y.high = std::max(found->y.high, point.y);
      }
    }
  }
  if (!found) return found;
  const auto usable = [&](double end) { return std::abs(end) <= kLargest && (!plot.log_y || end > 0); };
  if (plot.y_min && usable(*plot.y_min)) found->y.low = *plot.y_min;
  if (plot.y_max && usable(*plot.y_max)) found->y.high = *plot.y_max;
  if (found->y.low > found->y.high) found->y.high = found->y.low;
  return Scales{widened(found->x), widened(found->y)};
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  constexpr std::array<const char*, 5> kUnits = {"", "k", "M", "B", "T"};
  double scaled = value;
  for (const char* unit : kUnits) {
    const std::string text = fmt::format("{:.3g}", scaled + 0.0);
    if (std::abs(std::strtod(text.c_str(), nullptr)) < 1000) return text + unit;
    scaled /= 1000;
  }
  return fmt::format("{:.3g}", value);
}

}  // namespace hylas::search
