// See store_options.hpp.
#include "search/cli/store_options.hpp"

#include <fmt/format.h>

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

db::Trial find_trial(const db::Store& store, const std::string& prefix) {
  const auto found = store.find_trials(prefix);
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    throw model::InputError("no trial key starts with '" + prefix + "'; hylas export --db " + store.file().string() +
                            " lists them");
  }
  std::string keys;
  for (std::size_t i = 0; i < found.size() && i < 5; ++i) keys += " " + found[i].trial_key;
  throw model::InputError(fmt::format("{} trial keys start with '{}':{}{}; give more digits", found.size(), prefix,
                                      keys, found.size() > 5 ? " ..." : ""));
}

}  // namespace hylas::cli
