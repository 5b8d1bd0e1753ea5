// The POSIX side of saving a checkpoint (CheckpointFiles in checkpoint.hpp).
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "model/checkpoint.hpp"

namespace hylas::model {
namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

int CheckpointFiles::create(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) fail("creating the temporary file");
  return descriptor;
}

void CheckpointFiles::write(int descriptor, const void* data, std::size_t bytes) {
  const auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    constexpr std::size_t kMost = std::size_t{1} << 30;  // one call writes at most 2 GiB
    const ssize_t written = ::write(descriptor, next, bytes < kMost ? bytes : kMost);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("writing");
    next += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void CheckpointFiles::sync(int descriptor) {
  while (::fsync(descriptor) != 0) {
    if (errno != EINTR) fail("syncing to disk");
  }
}

void CheckpointFiles::close(int descriptor) {
  // On Linux the descriptor is gone whatever close returns; EINTR is no failure.
  if (::close(descriptor) != 0 && errno != EINTR) fail("closing");
}

void CheckpointFiles::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("renaming the temporary file");
}

void CheckpointFiles::sync_directory(const std::filesystem::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("opening the directory");
  // Some file systems cannot sync a directory (EINVAL) and need not.
  const bool failed = ::fsync(descriptor) != 0 && errno != EINVAL;
  const int error = errno;
  ::close(descriptor);
  errno = error;
  if (failed) fail("syncing the directory");
}

void CheckpointFiles::remove(const std::filesystem::path& file) noexcept {
  ::unlink(file.c_str());
}

}  // namespace hylas::model
