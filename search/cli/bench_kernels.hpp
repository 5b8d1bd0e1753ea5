// Declares `hylas bench kernels` (bench_kernels.cpp); bench.cpp calls it.
#pragma once

#include "search/cli/command.hpp"

namespace hylas::cli {

void add_bench_kernels(Program& program, CLI::App& bench);

}  // namespace hylas::cli
