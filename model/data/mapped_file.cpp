// Read-only memory maps of files (see mapped_file.hpp).
#include "model/data/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);  // it was only read from: nothing can be lost
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

std::string reason(int error) {
  return std::generic_category().message(error);
}

}  // namespace

MappedFile::MappedFile(std::string_view what, const std::filesystem::path& file) {
  const std::string name = fmt::format("{} '{}'", what, file.string());
  // O_NONBLOCK: a pipe without a writer is refused below instead of waited for.
  const Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.get() < 0) {
    const int error = errno;
    if (error == ENOENT) throw InputError(name + " does not exist; check the path");
    throw InputError(fmt::format("{} cannot be opened: {}; check the path and its permissions", name, reason(error)));
  }
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) {
    throw InputError(fmt::format("{} cannot be examined: {}; copy it to a local disk", name, reason(errno)));
  }
  if (S_ISDIR(status.st_mode)) throw InputError(name + " is a directory; name one file in it");
  if (!S_ISREG(status.st_mode)) {
    throw InputError(name + " is not a regular file and cannot be memory-mapped; write its content to a file first");
  }
  size_ = status.st_size;
  if (size_ == 0) return;
  void* map = ::mmap(nullptr, static_cast<std::size_t>(size_), PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (map == MAP_FAILED) {
    throw InputError(fmt::format("{} cannot be memory-mapped: {}; copy it to a local disk", name, reason(errno)));
  }
  data_ = static_cast<const std::byte*>(map);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);  // the other's destructor unmaps what was here
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), static_cast<std::size_t>(size_));
}

}  // namespace hylas::model
