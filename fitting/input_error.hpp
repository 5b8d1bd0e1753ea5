// InputError: what a person gave to a fit (a file, a column, a run) cannot be used. Ends a command with exit code 2.
// The message says what was wrong, where (row and column, or the run's name), and what to do.
#pragma once

#include <stdexcept>

namespace hylas::fitting {

class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace hylas::fitting
