// The commands of `hylas fit`, each a file.
#pragma once

#include "search/cli/command.hpp"

namespace hylas::cli {

void add_fit_emergence(Program& program, CLI::App& parent);
void add_fit_loss(Program& program, CLI::App& parent);
void add_fit_list(Program& program, CLI::App& parent);

}  // namespace hylas::cli
