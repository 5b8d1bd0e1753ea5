// What the tests of the controller share: a fresh directory, tiny spaces, the bits of the results view, forked sweeps.
#pragma once

#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "search/run/controller.hpp"
#include "search/run/interrupt.hpp"
#include "search/space/space.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::search::testing {

using test::TempDir;

// 3 layouts (two cohort keys) x 2 seeds at a size that trains in well under a second.
inline std::string tiny_space_text(int steps = 60, double stop_at = 2.0, double threshold = 0.5) {
  return "[study]\nname = \"tiny\"\n[shape]\nd_model = 8\nheads = 1\nffn = 16\ncontext = 16\nvocab = 32\n"
         "[space]\npatterns = [\"(swa:{window} full)*1\", \"full/nope*3\"]\n[axes]\nwindow = [2, 8]\n"
         "[task]\nname = \"recall\"\nkeys = 16\nvalues = 16\n[recipe]\nbatch = 4\nseeds = 2\nsteps = " +
         std::to_string(steps) +
         "\nlearning_rate = 4e-3\nschedule = { kind = \"constant\", warmup_steps = 5 }\n"
         "eval = { sequences = 8, growth = 0.08, min_steps = 5 }\n"
         "[capability]\nmetric = \"accuracy/far\"\nthreshold = " +
         std::to_string(threshold) + "\nstop_at = " + std::to_string(stop_at) + "\n";
}

inline Space tiny_space(int steps = 60, double stop_at = 2.0, double threshold = 0.5) {
  return parse_space(tiny_space_text(steps, stop_at, threshold), "tiny.toml");
}

// The results view, a line a row in a fixed order, values as the bits of their doubles.
inline std::vector<std::string> result_bits(const std::filesystem::path& file) {
  sqlite3* raw = nullptr;
  if (sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK)
    throw std::runtime_error("open");
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> db(raw, sqlite3_close);
  sqlite3_busy_timeout(raw, 20000);
  sqlite3_stmt* statement = nullptr;
  const char* query =
      "SELECT design_id || ' ' || trial_key || ' ' || seed || ' ' || step || ' ' || tokens || ' ' || metric || ' ' ||"
      " value_class, value FROM results ORDER BY trial_key, step, metric";
  if (sqlite3_prepare_v2(raw, query, -1, &statement, nullptr) != SQLITE_OK) throw std::runtime_error("prepare");
  std::vector<std::string> rows;
  while (sqlite3_step(statement) == SQLITE_ROW) {
    std::string row = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    row.append(" ").append(std::to_string(std::bit_cast<std::uint64_t>(sqlite3_column_double(statement, 1))));
    rows.push_back(std::move(row));
  }
  sqlite3_finalize(statement);
  return rows;
}

// "" where both are equal, else the first lines that differ.
inline std::string first_difference(const std::vector<std::string>& found, const std::vector<std::string>& expected) {
  for (std::size_t i = 0; i < std::max(found.size(), expected.size()); ++i) {
    const std::string a = i < found.size() ? found[i] : "(nothing)";
    const std::string b = i < expected.size() ? expected[i] : "(nothing)";
    if (a != b) return "found:    " + a + "\nexpected: " + b;
  }
  return "";
}

inline std::vector<db::Trial> trials_of(const std::filesystem::path& file, const std::string& study = "tiny") {
  const db::Store store = db::Store::open(file, db::Access::read);
  return store.trials(store.study(study).id);
}

inline SweepOptions quiet_options() {
  SweepOptions options;
  options.threads = 1;
  options.program_version = "test";
  return options;
}

inline SweepSummary sweep(const Space& space, const std::filesystem::path& file,
                          const SweepOptions& options = quiet_options()) {
  db::Store store = db::Store::open(file, db::Access::create);
  return run_sweep(space, store, options);
}

// A child process that sweeps; its stderr goes to `log`. Exits with the sweep's exit code, 99 on an exception.
inline pid_t fork_sweep(const Space& space, const std::filesystem::path& file, const std::filesystem::path& log,
                        SweepOptions options) {
  const pid_t child = fork();
  if (child != 0) return child;
  if (std::freopen(log.c_str(), "a", stderr) == nullptr) _exit(98);
  try {
    const InterruptGuard guard;
    options.interrupt = InterruptGuard::flag();
    _exit(sweep(space, file, options).exit_code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    _exit(99);
  }
}

// The exit code of a child, or 1000 + the signal that ended it.
inline int wait_for(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

inline std::string read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace hylas::search::testing
