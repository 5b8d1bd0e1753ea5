// hylas fit: laws fitted to a study or to a table.
#include "search/cli/fit.hpp"

namespace hylas::cli {

void add_fit(Program& program) {
  auto* fit = program.app.add_subcommand("fit", "fits a law to a study or a table");
  fit->require_subcommand(1);
  add_fit_emergence(program, *fit);
  add_fit_loss(program, *fit);
  add_fit_list(program, *fit);
}

}  // namespace hylas::cli
