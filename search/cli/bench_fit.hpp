// hylas bench fit: how long fits of laws take. Registered by bench.cpp.
#pragma once

#include "search/cli/command.hpp"

namespace hylas::cli {

void add_bench_fit(Program& program, CLI::App& bench);

}  // namespace hylas::cli
