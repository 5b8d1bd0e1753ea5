// A whole regular file as read-only memory (mmap, PROT_READ, MAP_PRIVATE), unmapped at the end of the object's life.
//
// Errors: the constructor throws InputError naming `what` and the file when it is missing, cannot be opened, is a
// directory or no regular file (a pipe, a device), or cannot be mapped. An empty file is a size of 0 and no memory.
// Limitation: a file that another program shortens while it is mapped ends this one with SIGBUS at the next read beyond
// the new end. Thread-safety: reading is safe from any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace hylas::model {

class MappedFile {
 public:
  // what: what the file is to the user, the first word of every message ("corpus").
  MappedFile(std::string_view what, const std::filesystem::path& file);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] const std::byte* data() const { return data_; }  // page-aligned
  [[nodiscard]] std::int64_t size() const { return size_; }      // bytes

 private:
  const std::byte* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace hylas::model
