// See store_options.hpp.
#include "search/cli/store_options.hpp"

#include <cstdio>

namespace hylas::cli {

void StoreOptions::add_to(CLI::App& command) {
  command.add_option("--db", file, "the results store (an SQLite file)")->required();
  command.add_option("--study", study, "the study in it (default: the only one)");
}

db::Store StoreOptions::open(db::Access access) const {
  db::OpenOptions options;
  options.waiting = [this](double seconds) {
    std::fprintf(stderr, "hylas: %s is locked by another process; waited %.0f s\n", file.c_str(), seconds);
    return true;
  };
  return db::Store::open(file, access, options);
}

}  // namespace hylas::cli
