// The shim: SQLite calls a C table of functions, so its state is the one static object below.
#include "tests/db/faulty_vfs.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tests/db/support.hpp"

namespace hylas::db::testing {
namespace {

struct State {
  sqlite3_vfs* real = nullptr;
  std::map<const sqlite3_io_methods*, sqlite3_io_methods> patched;  // SQLite's tables of file functions, and ours
  std::map<sqlite3_file*, const sqlite3_io_methods*> methods;       // SQLite's own table for each open file
  Fault fault = Fault::none;
  std::int64_t countdown = 0, operations = 0;
  bool struck = false;
  std::map<sqlite3_file*, std::string> paths;
  std::map<std::string, std::string> synced;  // bytes of each file at its last sync
};

State& state() {
  static State only;
  return only;
}

// The result code a write or sync shall end with; SQLITE_OK: let it through.
int outcome(bool is_sync) {
  State& s = state();
  ++s.operations;
  if (s.fault == Fault::none) return SQLITE_OK;
  const bool now = --s.countdown <= 0;
  switch (s.fault) {
    case Fault::write_error:
      if (!now || s.struck || is_sync) return SQLITE_OK;
      s.struck = true;
      return SQLITE_IOERR_WRITE;
    case Fault::sync_error:
      if (!now || s.struck || !is_sync) return SQLITE_OK;
      s.struck = true;
      return SQLITE_IOERR_FSYNC;
    case Fault::disk_full:
      if (!now || is_sync) return SQLITE_OK;
      s.struck = true;
      return SQLITE_FULL;
    default:
      if (!now) return SQLITE_OK;
      s.struck = true;
      return SQLITE_IOERR;
  }
}

bool power_is_gone() {
  return state().struck && state().fault == Fault::power_loss;
}

int write(sqlite3_file* file, const void* data, int bytes, sqlite3_int64 offset) {
  const int code = outcome(false);
  return code != SQLITE_OK ? code : state().methods.at(file)->xWrite(file, data, bytes, offset);
}

int sync(sqlite3_file* file, int flags) {
  if (const int code = outcome(true); code != SQLITE_OK) return code;
  const int code = state().methods.at(file)->xSync(file, flags);
  if (code == SQLITE_OK && state().paths.contains(file))
    state().synced[state().paths[file]] = read_bytes(state().paths[file]);
  return code;
}

int truncate(sqlite3_file* file, sqlite3_int64 size) {
  return power_is_gone() ? SQLITE_IOERR : state().methods.at(file)->xTruncate(file, size);
}

int close(sqlite3_file* file) {
  const sqlite3_io_methods* methods = state().methods.at(file);
  state().paths.erase(file);
  state().methods.erase(file);
  return methods->xClose(file);
}

int open(sqlite3_vfs*, sqlite3_filename name, sqlite3_file* file, int flags, int* out_flags) {
  State& s = state();
  const int code = s.real->xOpen(s.real, name, file, flags, out_flags);
  if (code != SQLITE_OK || file->pMethods == nullptr) return code;
  s.methods[file] = file->pMethods;
  sqlite3_io_methods& ours = s.patched[file->pMethods] = *file->pMethods;
  ours.xWrite = write;
  ours.xSync = sync;
  ours.xTruncate = truncate;
  ours.xClose = close;
  file->pMethods = &ours;
  if (name != nullptr) s.paths[file] = name;
  return code;
}

int remove(sqlite3_vfs*, const char* name, int sync_directory) {
  if (power_is_gone()) return SQLITE_IOERR;
  state().synced.erase(name);
  return state().real->xDelete(state().real, name, sync_directory);
}

sqlite3_vfs& shim() {
  static sqlite3_vfs only;
  return only;
}

}  // namespace

FaultyVfs::FaultyVfs() {
  State& s = state();
  s = State{};
  s.real = sqlite3_vfs_find(nullptr);
  shim() = *s.real;
  shim().zName = "faulty";
  shim().pNext = nullptr;
  shim().xOpen = open;
  shim().xDelete = remove;
  sqlite3_vfs_register(&shim(), 1);
}

FaultyVfs::~FaultyVfs() {
  sqlite3_vfs_unregister(&shim());
  sqlite3_vfs_register(state().real, 1);
}

void FaultyVfs::arm(Fault fault, std::int64_t operation) {
  State& s = state();
  s.fault = fault;
  s.countdown = operation;
  s.operations = 0;
  s.struck = false;
}

void FaultyVfs::disarm() {
  state().fault = Fault::none;
}
bool FaultyVfs::struck() const {
  return state().struck;
}
std::int64_t FaultyVfs::operations() const {
  return state().operations;
}

void FaultyVfs::lose_unsynced(std::mt19937& random, double survive) {
  constexpr std::size_t sector = 512;
  for (const auto& [path, bytes] : state().synced) {
    std::string now = read_bytes(path);
    std::string after = bytes;
    if (after.size() < now.size() && random() % 2 == 0) after.resize(now.size(), '\0');  // the size may have been kept
    for (std::size_t at = 0; at < std::min(after.size(), now.size()); at += sector) {
      if (std::generate_canonical<double, 32>(random) >= survive) continue;
      const std::size_t bytes_here = std::min({sector, after.size() - at, now.size() - at});
      std::memcpy(after.data() + at, now.data() + at, bytes_here);
    }
    write_bytes(path, after);
  }
  // Shared memory does not outlive the machine.
  for (const auto& [path, bytes] : state().synced) std::filesystem::remove(path + "-shm");
  state().synced.clear();
}

}  // namespace hylas::db::testing
