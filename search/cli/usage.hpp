// The message for a command line that cannot be parsed: what was wrong, the nearest valid name, and where help is.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace hylas::cli {

[[nodiscard]] std::string usage_message(const CLI::App& app, const CLI::ParseError& error);

}  // namespace hylas::cli
