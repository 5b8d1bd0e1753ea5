// The protocol of opening: place, header, pages, schema, settings, in this order, so that a refused file stays
// untouched.
#include "db/open.hpp"

#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "db/filesystem.hpp"

namespace hylas::db {

extern const char* const schema_sql;  // made from schema.sql

namespace {

namespace fs = std::filesystem;

std::uintmax_t size_of(const fs::path& file) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(file, error);
  return error ? 0 : size;
}

fs::path beside(const fs::path& file, const char* suffix) {
  return fs::path(file.string() + suffix);
}

void check_place(const fs::path& file, Access access) {
  std::error_code error;
  const fs::path directory = directory_of(file);
  if (file.empty()) throw StoreError(StoreErrorKind::missing, "no database file given; use --db FILE");
  if (fs::is_directory(file, error)) {
    throw StoreError(StoreErrorKind::io, fmt::format("{} is a directory; give a file inside of it", file.string()));
  }
  const bool exists = fs::exists(file, error);
  if (!exists && access != Access::create) {
    throw StoreError(StoreErrorKind::missing, fmt::format("{}: no such file; `hylas sweep` makes one", file.string()));
  }
  if (!fs::is_directory(directory, error)) {
    throw StoreError(StoreErrorKind::missing, fmt::format("{}: its directory {} does not exist; make it first",
                                                          file.string(), directory.string()));
  }
  if (access == Access::read) return;
  if (const std::string network = network_file_system(directory); !network.empty()) {
    throw StoreError(
        StoreErrorKind::network,
        fmt::format("{} lies on a network file system ({}), where concurrent writers would damage it; put the "
                    "database on a local disk and copy it afterwards (sqlite3 FILE \".backup COPY\")",
                    file.string(), network));
  }
  if (exists && !is_writable(file)) {
    throw StoreError(StoreErrorKind::readonly,
                     fmt::format("{} is read-only; change its permissions or copy it", file.string()));
  }
  if (!is_writable(directory)) {
    throw StoreError(
        StoreErrorKind::readonly,
        fmt::format("the directory {} is read-only, and {} needs a log file beside it; change the permissions or "
                    "use a database elsewhere",
                    fs::absolute(directory).string(), file.filename().string()));
  }
}

std::string as_uri(const fs::path& file) {
  std::string uri = "file:";
  for (const char c : fs::absolute(file).string()) {
    if (c == '%' || c == '?' || c == '#') {
      uri += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      uri += c;
    }
  }
  return uri + "?immutable=1";
}

std::unique_ptr<Connection> connect(const fs::path& file, Access access, const OpenOptions& options) {
  const LockWait wait{options.lock_wait_seconds, options.waiting, {}, 0};
  const std::string path = fs::absolute(file).string();
  if (access == Access::create) {
    return std::make_unique<Connection>(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, file, wait);
  }
  if (access == Access::write) return std::make_unique<Connection>(path, SQLITE_OPEN_READWRITE, file, wait);
  // Reading takes part in the log of running writers where it can; the last one out cleans up, as after writing.
  const fs::path directory = directory_of(file);
  if (is_writable(file) && is_writable(directory) && network_file_system(directory).empty()) {
    return std::make_unique<Connection>(path, SQLITE_OPEN_READWRITE, file, wait);
  }
  if (size_of(beside(file, "-wal")) == 0) {
    return std::make_unique<Connection>(as_uri(file), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, file, wait);
  }
  std::error_code error;
  if (fs::exists(beside(file, "-shm"), error)) {
    return std::make_unique<Connection>(path, SQLITE_OPEN_READONLY, file, wait);
  }
  throw StoreError(
      StoreErrorKind::readonly,
      fmt::format("{} has a log ({}-wal) that can only be read where it can be written too; copy both files to a "
                  "writable directory and open the copy",
                  file.string(), file.filename().string()));
}

// Nothing that a schema in a foreign file holds is trusted, and no page is believed before it was checked.
void harden(Connection& connection) {
  sqlite3* db = connection.handle();
  connection.check(sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr), "setting defensive mode");
  connection.check(sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr), "distrusting the schema");
  connection.check(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr), "setting extensions off");
  connection.execute(
      "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA foreign_keys=ON; PRAGMA synchronous=FULL;"
      "PRAGMA wal_autocheckpoint=4000; PRAGMA temp_store=MEMORY;");
}

struct Header {
  std::int64_t application = 0;
  std::int64_t version = 0;
  std::int64_t objects = 0;  // tables, views, ...
};

Header read_header(Connection& connection) {
  return {connection.integer("PRAGMA application_id"), connection.integer("PRAGMA user_version"),
          connection.integer("SELECT count(*) FROM sqlite_schema")};
}

bool is_new(const Header& header) {
  return header.application == 0 && header.version == 0 && header.objects == 0;
}

void recognise(const Header& header, const fs::path& file) {
  if (header.application != application_id) {
    throw StoreError(
        StoreErrorKind::foreign,
        fmt::format("{} is an SQLite database of another program (application_id {}, expected {}); give another "
                    "--db file",
                    file.string(), header.application, application_id));
  }
  if (header.version > newest_schema) {
    throw StoreError(
        StoreErrorKind::newer,
        fmt::format("{} was written by a newer hylas (schema {}, this program knows up to {}); update hylas",
                    file.string(), header.version, newest_schema));
  }
  if (header.version < 1) {
    throw StoreError(
        StoreErrorKind::corrupt,
        fmt::format("{}: schema version {} does not exist; restore a copy of the file", file.string(), header.version));
  }
}

void check_pages(Connection& connection) {
  Statement check = connection.prepare("PRAGMA quick_check(1)");
  const std::string verdict = check.step() ? check.text(0) : "no answer";
  if (verdict != "ok") {
    throw StoreError(
        StoreErrorKind::corrupt,
        fmt::format("{} is damaged: {}; restore a copy, or save what can be read with: sqlite3 FILE .recover",
                    connection.file().string(), verdict));
  }
}

using Schema = std::map<std::string, std::string>;  // what CREATE statement made an object, by its name

Schema read_schema(Connection& connection) {
  Schema schema;
  Statement rows = connection.prepare("SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL");
  while (rows.step()) schema[rows.text(0)] = rows.text(1) + ": " + rows.text(2);
  return schema;
}

// The objects of our schema must be those that this program makes, or its statements mean something else. Views, tables
// and indexes that people added are left alone; triggers would run inside of our writes and are refused.
void check_schema(Connection& connection) {
  Connection fresh(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, connection.file(), {});
  fresh.execute(schema_sql);
  const Schema found = read_schema(connection);
  for (const auto& [name, made_by] : read_schema(fresh)) {
    const auto object = found.find(name);
    if (object == found.end() || object->second != made_by) {
      throw StoreError(StoreErrorKind::corrupt,
                       fmt::format("{}: {} is {} in the schema; restore a copy of the file", connection.file().string(),
                                   name, object == found.end() ? "missing" : "not what hylas made"));
    }
  }
  for (const auto& [name, made_by] : found) {
    if (made_by.starts_with("trigger: ")) {
      throw StoreError(StoreErrorKind::corrupt,
                       fmt::format("{}: somebody added the trigger {}; drop it (sqlite3 FILE 'DROP "
                                   "TRIGGER ...')",
                                   connection.file().string(), name));
    }
  }
}

// Changing the journal mode needs the file for itself and does not wait by itself in every case.
void use_write_ahead_log(Connection& connection, const OpenOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    try {
      Statement mode = connection.prepare("PRAGMA journal_mode=WAL");
      const std::string now = mode.step() ? mode.text(0) : "";
      if (now == "wal") return;
      throw StoreError(StoreErrorKind::io,
                       fmt::format("{}: this place allows no write-ahead log (journal mode stays {}); put "
                                   "the database on a local disk",
                                   connection.file().string(), now));
    } catch (const StoreError& error) {
      const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
      if (error.kind() != StoreErrorKind::locked || waited.count() > options.lock_wait_seconds) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

// Version 0 (a new file) becomes version 1; later versions add their steps here. Of two first opens one finds it done.
void migrate(Connection& connection) {
  Transaction transaction(connection);
  if (const Header header = read_header(connection); is_new(header)) {
    connection.execute(schema_sql);
  } else {
    recognise(header, connection.file());
  }
  transaction.commit();
}

}  // namespace

namespace {

// Looks, and writes nothing. True for a file that has no schema yet.
bool inspect(Connection& connection, Access access, bool fresh, const OpenOptions& options) {
  try {
    harden(connection);
    const Snapshot snapshot(connection);  // another process may be making the schema right now
    const Header header = read_header(connection);
    if (!is_new(header)) {
      recognise(header, connection.file());
      if (options.quick_check) check_pages(connection);
      check_schema(connection);
      return false;
    }
  } catch (const StoreError& error) {
    // Before a file is known to be whole, a statement that SQLite cannot even prepare is the file's fault.
    if (error.kind() != StoreErrorKind::internal) throw;
    throw StoreError(StoreErrorKind::corrupt, error.what());
  }
  if (access == Access::read || (access == Access::write && !fresh)) {
    const std::string name = connection.file().string();
    throw StoreError(StoreErrorKind::foreign,
                     fmt::format("{} holds no results; `hylas sweep SPACE.toml --db {}` makes them", name, name));
  }
  return true;
}

}  // namespace

std::unique_ptr<Connection> open_connection(const fs::path& file, Access access, const OpenOptions& options) {
  check_place(file, access);
  const bool fresh = size_of(file) == 0;
  std::unique_ptr<Connection> connection = connect(file, access, options);
  const bool is_new_file = inspect(*connection, access, fresh, options);
  if (access == Access::read) {
    connection->execute("PRAGMA query_only=ON");
    return connection;
  }
  use_write_ahead_log(*connection, options);
  if (is_new_file) {
    migrate(*connection);
    check_schema(*connection);
  }
  return connection;
}

}  // namespace hylas::db
