// See fit_pairs.hpp.
#include "search/cli/fit_pairs.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "model/design/input_error.hpp"

namespace hylas::cli {

std::vector<std::string> split_pairs(const std::string& text) {
  std::vector<std::string> items;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(',', at), text.size());
    items.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return items;
}

Pairs parse_pairs(const std::string& flag, const std::vector<std::string>& items,
                  const std::vector<std::string>& known) {
  Pairs pairs;
  for (const auto& item : items) {
    const auto equal = item.find('=');
    const auto key = item.substr(0, equal);
    if (equal == std::string::npos || equal == 0 || equal + 1 == item.size()) {
      throw model::InputError(fmt::format("{} takes NAME=VALUE, not '{}'", flag, item));
    }
    if (!known.empty() && std::find(known.begin(), known.end(), key) == known.end()) {
      const auto guess = model::nearest(key, known);
      throw model::InputError(fmt::format("{}: '{}' is none of {}{}", flag, key, fmt::join(known, ", "),
                                          guess.empty() ? "" : "; did you mean '" + guess + "'?"));
    }
    if (!pairs.emplace(key, item.substr(equal + 1)).second) {
      throw model::InputError(fmt::format("{} names {} twice", flag, key));
    }
  }
  return pairs;
}

double parse_number(const std::string& flag, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    throw model::InputError(fmt::format("{}: '{}' is not a finite number", flag, text));
  }
  return value;
}

}  // namespace hylas::cli
