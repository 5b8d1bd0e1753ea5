// D50 as an interval, and the rule of early stopping. Definitions in emergence.hpp and DESIGN.md ("Words": D50).
#include "search/run/emergence.hpp"

#include <cstddef>

namespace hylas::search {
namespace {

// NaN compares false, so a value that is no number is below.
bool at_or_above(const CapabilityPoint& point, double level) {
  return point.value >= level;
}

}  // namespace

Emergence emergence_of(std::span<const CapabilityPoint> points, double threshold) {
  Emergence result;
  if (points.empty()) return result;
  result.last = points.back().tokens;
  result.last_value = points.back().value;
  for (std::size_t i = 0; i + 1 < points.size(); ++i) {
    if (!at_or_above(points[i], threshold) || !at_or_above(points[i + 1], threshold)) continue;
    result.emerged = true;
    result.lower = i == 0 ? 0 : points[i - 1].tokens;
    // A run that starts with the ability has an empty interval at 0; the second evaluation bounds it then.
    result.upper = points[i].tokens > result.lower ? points[i].tokens : points[i + 1].tokens;
    return result;
  }
  result.pending = at_or_above(points.back(), threshold);
  result.lower = points.back().tokens;
  if (result.pending) result.lower = points.size() > 1 ? points[points.size() - 2].tokens : 0;
  return result;
}

bool held_twice(std::span<const CapabilityPoint> points, double level) {
  return points.size() >= 2 && at_or_above(points[points.size() - 1], level) &&
         at_or_above(points[points.size() - 2], level);
}

}  // namespace hylas::search
