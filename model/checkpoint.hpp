// Checkpoints: named fp32 tensors and a map of strings in one safetensors file, written so that a crash, a full disk or
// a power cut leaves the old file or the new one, never a mixture.
//
// Saving: a temporary file in the same directory (NAME.<process>-<n>.tmp), write, fsync, close, rename, fsync of the
// directory. On any failure the temporary file is removed and CheckpointError is thrown; the previous file is untouched
// unless only the last step (fsync of the directory) failed, when the new one is already in place. Temporary files that
// a killed process left behind are removed by a later save to the same path once they are an hour old. Loading: the
// whole header is checked against the file's size before anything of a size named in the file is allocated
// (model/safetensors.hpp), then the checksum, which covers names, shapes, metadata and data.
//
// The checksum is kept in the metadata as "hylas.checksum"; load_checkpoint leaves it out of what it returns. Any
// reader of safetensors can open the file. Names and metadata are UTF-8. Machines are little-endian (asserted at
// compile time). Errors: CheckpointError (file, what was wrong, what to do). Thread-safety: functions are free of
// shared state.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace hylas::model {

class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Row-major; data.size() is the product of dims (1 for no dims).
struct StoredTensor {
  std::string name;
  std::vector<std::int64_t> dims;
  std::vector<float> data;
  bool operator==(const StoredTensor&) const = default;
};

using CheckpointMetadata = std::map<std::string, std::string>;

struct Checkpoint {
  std::vector<StoredTensor> tensors;  // in the order they were saved
  CheckpointMetadata metadata;
};

// What saving asks of the operating system, so that a test can make each step fail. The default is POSIX. All throw
// std::system_error, except remove().
class CheckpointFiles {
 public:
  virtual ~CheckpointFiles() = default;
  virtual int create(const std::filesystem::path& file);  // must not exist yet; a descriptor
  virtual void write(int descriptor, const void* data, std::size_t bytes);
  virtual void sync(int descriptor);
  virtual void close(int descriptor);
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to);
  virtual void sync_directory(const std::filesystem::path& directory);
  virtual void remove(const std::filesystem::path& file) noexcept;
};

void save_checkpoint(const std::filesystem::path& file, const std::vector<StoredTensor>& tensors,
                     const CheckpointMetadata& metadata);
void save_checkpoint(const std::filesystem::path& file, const std::vector<StoredTensor>& tensors,
                     const CheckpointMetadata& metadata, CheckpointFiles& files);
[[nodiscard]] Checkpoint load_checkpoint(const std::filesystem::path& file);

}  // namespace hylas::model
