// Declares `hylas bench recurrence` (bench_recurrence.cpp); bench.cpp calls it.
#pragma once

#include "search/cli/command.hpp"

namespace hylas::cli {

void add_bench_recurrence(Program& program, CLI::App& bench);

}  // namespace hylas::cli
