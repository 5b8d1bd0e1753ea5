// Connection, Statement, Transaction over SQLite's C API; result codes become StoreErrors a person can act on.
#include "db/sql.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <thread>

namespace hylas::db {
namespace {

// SQLite calls this while another connection holds the lock it needs; 0 gives up (SQLITE_BUSY).
int wait_for_lock(void* state, int times) {
  auto& wait = *static_cast<LockWait*>(state);
  const auto now = std::chrono::steady_clock::now();
  if (times == 0) {
    wait.since = now;
    wait.told_at = 0;
  }
  const double waited = std::chrono::duration<double>(now - wait.since).count();
  if (waited >= wait.limit_seconds) return 0;
  if (wait.waiting && waited >= wait.told_at + 1) {
    wait.told_at = waited;
    if (!wait.waiting(waited)) return 0;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(std::min(1 + times, 25)));
  return 1;
}

StoreErrorKind kind_of(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: return StoreErrorKind::locked;
    case SQLITE_CORRUPT:
    case SQLITE_FORMAT:
    case SQLITE_NOTADB: return StoreErrorKind::corrupt;
    case SQLITE_FULL: return StoreErrorKind::full;
    case SQLITE_READONLY:
    case SQLITE_PERM: return StoreErrorKind::readonly;
    case SQLITE_NOMEM: return StoreErrorKind::memory;
    case SQLITE_IOERR: return code == SQLITE_IOERR_NOMEM ? StoreErrorKind::memory : StoreErrorKind::io;
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH: return StoreErrorKind::io;
    default: return StoreErrorKind::internal;
  }
}

std::string_view advice(StoreErrorKind kind) {
  switch (kind) {
    case StoreErrorKind::locked:
      return "another process is writing to it; wait for it or stop it, then run the command again";
    case StoreErrorKind::corrupt:
      return "the file is damaged or no results store; restore a copy, or save what can be read with: sqlite3 FILE "
             ".recover";
    case StoreErrorKind::full:
      return "no space left; free some, then run the command again: it continues where it stood";
    case StoreErrorKind::readonly:
      return "it cannot be written; check the permissions of the file and of its directory";
    case StoreErrorKind::io:
      return "the operating system refused; check the disk, the path and its permissions, then run again";
    case StoreErrorKind::memory: return "out of memory";
    default: return "please report this as a bug";
  }
}

bool is_fatal(StoreErrorKind kind) {
  return kind == StoreErrorKind::corrupt || kind == StoreErrorKind::full || kind == StoreErrorKind::io;
}

}  // namespace

Connection::Connection(const std::string& name, int flags, std::filesystem::path file, LockWait wait)
    : file_(std::move(file)), wait_(std::make_unique<LockWait>(std::move(wait))) {
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &db, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  db_.reset(db);
  if (db == nullptr) fail(SQLITE_NOMEM, "opening");
  sqlite3_extended_result_codes(db, 1);
  check(code, "opening");
  check(sqlite3_busy_handler(db, wait_for_lock, wait_.get()), "setting the lock wait");
}

void Connection::fail(int code, std::string_view doing) {
  const StoreErrorKind kind = kind_of(code);
  const char* detail =
      db_ && sqlite3_errcode(db_.get()) != SQLITE_OK ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code);
  const std::string message =
      fmt::format("{}: {} ({}, SQLite {}): {}", file_.string(), doing, detail, code, advice(kind));
  if (is_fatal(kind) && broken_.empty()) {
    broken_ = message;
    broken_kind_ = kind;
  }
  throw StoreError(kind, message);
}

void Connection::check(int code, std::string_view doing) {
  if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE) fail(code, doing);
}

void Connection::refuse_if_broken() const {
  if (!broken_.empty()) throw StoreError(broken_kind_, "nothing more is written after this error: " + broken_);
}

Statement Connection::prepare(std::string_view sql) {
  auto& cached = statements_[std::string(sql)];
  if (!cached) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement,
                             nullptr),
          "preparing a statement");
    cached.reset(statement);
  }
  sqlite3_reset(cached.get());
  sqlite3_clear_bindings(cached.get());
  return {*this, cached.get()};
}

void Connection::execute(const char* sql) {
  check(sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr), "writing");
}

std::int64_t Connection::integer(std::string_view sql) {
  Statement statement = prepare(sql);
  return statement.step() ? statement.integer(0) : 0;
}

Statement& Statement::bind(int index, std::int64_t value) {
  connection_->check(sqlite3_bind_int64(statement_, index, value), "binding an integer");
  return *this;
}

Statement& Statement::bind(int index, double value) {
  assert(!std::isnan(value));  // SQLite would store NULL
  connection_->check(sqlite3_bind_double(statement_, index, value), "binding a number");
  return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
  // A null pointer would bind NULL; an empty text is wanted.
  const char* data = value.data() == nullptr ? "" : value.data();
  connection_->check(sqlite3_bind_text64(statement_, index, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8),
                     "binding a text");
  return *this;
}

Statement& Statement::bind_null(int index) {
  connection_->check(sqlite3_bind_null(statement_, index), "binding NULL");
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_);
  connection_->check(code, sqlite3_stmt_readonly(statement_) ? "reading" : "writing");
  return code == SQLITE_ROW;
}

void Statement::run() {
  while (step()) {
  }
}

void Statement::again() {
  sqlite3_reset(statement_);
}

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  const int bytes = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? std::string() : std::string(data, static_cast<std::size_t>(bytes));
}

Transaction::Transaction(Connection& connection) : connection_(connection) {
  connection_.refuse_if_broken();
  connection_.prepare("BEGIN IMMEDIATE").run();
}

Transaction::~Transaction() {
  // A failed COMMIT may have rolled back already; then there is nothing to do.
  if (open_ && sqlite3_get_autocommit(connection_.handle()) == 0) {
    sqlite3_exec(connection_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

void Transaction::commit() {
  connection_.prepare("COMMIT").run();
  open_ = false;
}

Snapshot::Snapshot(Connection& connection) : connection_(connection) {
  connection_.prepare("BEGIN").run();
}

Snapshot::~Snapshot() {
  if (sqlite3_get_autocommit(connection_.handle()) == 0) {
    sqlite3_exec(connection_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

}  // namespace hylas::db
