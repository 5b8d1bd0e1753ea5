// See store_options.hpp.
#include "search/cli/store_options.hpp"

#include <cstdio>
#include <filesystem>

#include "model/design/input_error.hpp"

namespace hylas::cli {

void StoreOptions::add_to(CLI::App& command) {
  command.add_option("--db", file, "the results store (an SQLite file)")->required();
  command.add_option("--study", study, "the study in it (default: the only one)");
}

db::Store StoreOptions::open(db::Access access) const {
  std::error_code ignored;
  if (access != db::Access::create && !std::filesystem::exists(file, ignored)) {
    throw model::InputError("--db " + file + ": no such file; `hylas sweep SPACE.toml --db " + file + "` makes one");
  }
  db::OpenOptions options;
  options.waiting = [this](double seconds) {
    std::fprintf(stderr, "hylas: %s is locked by another process; waited %.0f s\n", file.c_str(), seconds);
    return true;
  };
  return db::Store::open(file, access, options);
}

}  // namespace hylas::cli
