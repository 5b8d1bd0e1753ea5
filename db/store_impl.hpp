// What a Store holds. Inside of db/ only: store.cpp, claims.cpp, commit.cpp and read.cpp share it.
#pragma once

#include <memory>
#include <optional>

#include "db/process.hpp"
#include "db/sql.hpp"
#include "db/store.hpp"

namespace hylas::db {

struct Store::Impl {
  std::unique_ptr<Connection> connection;
  Owner owner = this_process();
  std::optional<std::int64_t> run;  // set by begin_run

  Connection& db() const { return *connection; }
};

// The trial_key behind a row id, for messages.
[[nodiscard]] std::string key_of(Connection& db, std::int64_t trial);

}  // namespace hylas::db
