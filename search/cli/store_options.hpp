// --db and --study, and how a command opens the store: shared by the commands that read or write one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "db/store.hpp"

namespace hylas::cli {

struct StoreOptions {
  std::string file;
  std::string study;

  void add_to(CLI::App& command);
  // Opens the file; while another process holds its lock, says so on stderr.
  [[nodiscard]] db::Store open(db::Access access) const;
};

// The one trial whose key begins so; InputError where there is none, or several.
[[nodiscard]] db::Trial find_trial(const db::Store& store, const std::string& prefix);

}  // namespace hylas::cli
