// Opening a store: recognise the file, check it, make or migrate the schema, set what RELIABILITY asks for.
//
// Nothing is written to a file before it is known to be ours, whole, and of a schema this program knows. Inside of db/
// only.
#pragma once

#include <filesystem>
#include <memory>

#include "db/sql.hpp"
#include "db/store.hpp"

namespace hylas::db {

[[nodiscard]] std::unique_ptr<Connection> open_connection(const std::filesystem::path& file, Access access,
                                                          const OpenOptions& options);

constexpr int application_id = 0x68796C73;  // "hyls"
constexpr int newest_schema = 1;

}  // namespace hylas::db
