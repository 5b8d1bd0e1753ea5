// InputError: what a person wrote (a layout, a shape, a recipe, a space) cannot be used. Ends a command with exit
// code 2. The message says what was wrong, where, and what to do. nearest() finds the valid name a typo most likely
// meant.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hylas::model {

class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The candidate with the least edit distance to `word` (at most a third of its length, at least 2), or "".
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace hylas::model
