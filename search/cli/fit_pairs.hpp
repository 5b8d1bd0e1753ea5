// NAME=VALUE options of `hylas fit`: --columns N=params,D=tokens and --predict N=1e10,D=1e11.
//
// Errors: model::InputError naming the flag, with the nearest name where one is misspelt.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace hylas::cli {

using Pairs = std::map<std::string, std::string>;

// "a=b,c=d" -> "a=b", "c=d".
[[nodiscard]] std::vector<std::string> split_pairs(const std::string& text);
// Keys must be among `known` (any key where it is empty), once each.
[[nodiscard]] Pairs parse_pairs(const std::string& flag, const std::vector<std::string>& items,
                                const std::vector<std::string>& known);
// A finite number.
[[nodiscard]] double parse_number(const std::string& flag, const std::string& text);

}  // namespace hylas::cli
