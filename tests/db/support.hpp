// What the tests of the store share: fresh directories, sample records, and a raw SQL connection to look behind the
// API.
#pragma once

#include <sqlite3.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "db/store.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::db::testing {

using test::TempDir;

inline Design sample_design(const std::string& id = "d1") {
  return {id,       std::string("canonical of ").append(id),
          "full*2", R"({"context":64,"d_model":32})",
          2000,     1000,
          2.5e4,    7.5e4,
          4096};
}

inline NewTrial sample_trial(const std::string& key, const std::string& design = "d1", std::int64_t seed = 1) {
  return {key, design, R"({"steps":100})", R"({"metric":"accuracy/far"})", "cohort", seed, 100, 1024, "accuracy/far",
          0.5, 0.9};
}

// A study "s" with `count` queued trials k0, k1, ...; returns their row ids.
inline std::vector<std::int64_t> fill(Store& store, int count) {
  const std::int64_t study = store.ensure_study("s", "{}", "");
  store.add_designs(std::vector{sample_design()});
  std::vector<NewTrial> trials;
  for (int i = 0; i < count; ++i) trials.push_back(sample_trial(std::string("k").append(std::to_string(i)), "d1", i));
  return store.add_trials(study, trials);
}

// Runs any SQL on a file; rows come back as text, columns joined by '|', NULL as "NULL".
inline std::vector<std::string> sql(const std::filesystem::path& file, const std::string& text) {
  sqlite3* raw = nullptr;
  if (sqlite3_open(file.c_str(), &raw) != SQLITE_OK) throw std::runtime_error("cannot open " + file.string());
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> db(raw, sqlite3_close);
  sqlite3_busy_timeout(raw, 20000);
  std::vector<std::string> rows;
  auto collect = [](void* out, int columns, char** values, char**) {
    std::string row;
    for (int i = 0; i < columns; ++i) {
      if (i > 0) row += '|';
      row += values[i] ? values[i] : "NULL";
    }
    static_cast<std::vector<std::string>*>(out)->push_back(row);
    return 0;
  };
  char* message = nullptr;
  if (sqlite3_exec(raw, text.c_str(), collect, &rows, &message) != SQLITE_OK) {
    const std::string what = message ? message : "?";
    sqlite3_free(message);
    throw std::runtime_error(what);
  }
  return rows;
}

inline std::string read_bytes(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void write_bytes(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// The kind of StoreError that f() throws; fails the test by another exception or none.
template <class F>
StoreErrorKind kind_thrown(F&& f, std::string* message = nullptr) {
  try {
    f();
  } catch (const StoreError& error) {
    if (message != nullptr) *message = error.what();
    return error.kind();
  }
  throw std::runtime_error("no StoreError was thrown");
}

}  // namespace hylas::db::testing
