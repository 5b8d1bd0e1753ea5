// SQLite's C API behind three small classes: Connection, Statement, Transaction. Inside of db/ only.
//
// Every return code is checked and becomes a StoreError that names the file. A connection that met an I/O error,
// corruption or a full disk is broken: later transactions are refused. Thread-safety: one thread at a time.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "db/error.hpp"

namespace hylas::db {

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

// Waits for locks: bounded, told about, and given up when the caller says so. Lives as long as its connection.
struct LockWait {
  double limit_seconds = 30;
  std::function<bool(double)> waiting;
  std::chrono::steady_clock::time_point since{};
  double told_at = 0;
};

class Statement;

class Connection {
 public:
  // `name` is a path or, with SQLITE_OPEN_URI, a URI; `file` is how messages call it.
  Connection(const std::string& name, int flags, std::filesystem::path file, LockWait wait);

  [[nodiscard]] sqlite3* handle() const { return db_.get(); }
  [[nodiscard]] const std::filesystem::path& file() const { return file_; }
  // A cached statement, reset and without bindings. It may be used until the next prepare() of the same text.
  Statement prepare(std::string_view sql);
  void execute(const char* sql);  // one or several statements without parameters or results
  [[nodiscard]] std::int64_t integer(std::string_view sql);
  [[nodiscard]] int changes() const { return sqlite3_changes(db_.get()); }
  [[nodiscard]] std::int64_t last_id() const { return sqlite3_last_insert_rowid(db_.get()); }
  void check(int code, std::string_view doing);              // throws unless SQLITE_OK, ROW or DONE
  [[noreturn]] void fail(int code, std::string_view doing);  // the StoreError for a result code
  void refuse_if_broken() const;

 private:
  std::filesystem::path file_;
  std::unique_ptr<LockWait> wait_;
  std::unique_ptr<sqlite3, CloseDatabase> db_;
  std::unordered_map<std::string, std::unique_ptr<sqlite3_stmt, FinalizeStatement>> statements_;
  std::string broken_;  // the first fatal error
  StoreErrorKind broken_kind_ = StoreErrorKind::io;
};

// A view of a cached statement; resets it when it goes, so that no read transaction stays open.
class Statement {
 public:
  Statement(Connection& connection, sqlite3_stmt* statement) : connection_(&connection), statement_(statement) {}
  ~Statement() { sqlite3_reset(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, int value) { return bind(index, static_cast<std::int64_t>(value)); }
  Statement& bind(int index, double value);  // not NaN
  Statement& bind(int index, std::string_view value);
  Statement& bind_null(int index);
  // Another row? Throws on errors.
  bool step();
  void run();    // step() to the end
  void again();  // reset, keep the bindings

  [[nodiscard]] std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  [[nodiscard]] double real(int column) const { return sqlite3_column_double(statement_, column); }
  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  Connection* connection_;
  sqlite3_stmt* statement_;
};

// BEGIN IMMEDIATE ... COMMIT; rolled back when it goes without commit().
class Transaction {
 public:
  explicit Transaction(Connection& connection);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Connection& connection_;
  bool open_ = true;
};

// A consistent view over several reads: BEGIN DEFERRED ... ROLLBACK.
class Snapshot {
 public:
  explicit Snapshot(Connection& connection);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

 private:
  Connection& connection_;
};

}  // namespace hylas::db
