// Saving checkpoints (see checkpoint.hpp).
#include <unistd.h>

#include <cassert>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "model/checkpoint.hpp"
#include "model/checkpoint_checksum.hpp"
#include "model/safetensors.hpp"

namespace hylas::model {
namespace {

namespace fs = std::filesystem;

[[maybe_unused]] std::size_t element_count(const StoredTensor& tensor) {
  std::size_t count = 1;
  for (const std::int64_t dim : tensor.dims) count *= static_cast<std::size_t>(dim);
  return count;
}

std::string header_of(const std::vector<StoredTensor>& tensors, const CheckpointMetadata& metadata) {
  safetensors::Header header;
  header.metadata = metadata;
  if (!header.metadata.emplace(kChecksumKey, checkpoint_checksum(tensors, metadata)).second) {
    throw safetensors::FormatError(std::string("the metadata key ") + kChecksumKey + " is not free");
  }
  std::uint64_t offset = 0;
  for (const StoredTensor& tensor : tensors) {
    assert(tensor.data.size() == element_count(tensor));
    const std::uint64_t end = offset + tensor.data.size() * sizeof(float);
    header.tensors.push_back({tensor.name, "F32", tensor.dims, offset, end});
    offset = end;
  }
  return safetensors::write_header(header);
}

std::string advice(const std::error_code& error) {
  if (error == std::errc::no_space_on_device || error.value() == EDQUOT || error == std::errc::file_too_large) {
    return "free space on that disk";
  }
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
    return "create the directory";
  }
  if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted ||
      error == std::errc::read_only_file_system) {
    return "make the directory writable or choose another";
  }
  return "check that disk";
}

// The temporary file beside the checkpoint; gone when this goes, unless it was renamed.
class TemporaryFile {
 public:
  TemporaryFile(CheckpointFiles& files, const fs::path& target) : files_(files) {
    for (int attempt = 0;; ++attempt) {
      path_ = target;
      path_ += "." + std::to_string(::getpid()) + "-" + std::to_string(attempt) + ".tmp";
      try {
        descriptor_ = files_.create(path_);
        return;
      } catch (const std::system_error& error) {
        if (error.code() != std::errc::file_exists || attempt >= 99) throw;
      }
    }
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (descriptor_ >= 0) {
      try {
        close();
      } catch (const std::system_error&) {
        // The file is being given up: the first failure is the one that is reported.
      }
    }
    if (!renamed_) files_.remove(path_);
  }
  void write(const void* data, std::size_t bytes) { files_.write(descriptor_, data, bytes); }
  void sync() { files_.sync(descriptor_); }
  void close() { files_.close(std::exchange(descriptor_, -1)); }
  void rename(const fs::path& target) {
    files_.rename(path_, target);
    renamed_ = true;
  }

 private:
  CheckpointFiles& files_;
  fs::path path_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

bool is_temporary_of(const std::string& name, const std::string& target) {  // TARGET.<digits>-<digits>.tmp
  if (!name.starts_with(target + ".") || !name.ends_with(".tmp") || name.size() < target.size() + 5) return false;
  for (std::size_t i = target.size() + 1; i < name.size() - 4; ++i) {
    if (std::isdigit(static_cast<unsigned char>(name[i])) == 0 && name[i] != '-') return false;
  }
  return true;
}

// What processes that were killed while saving left behind. Best effort: failures here are nobody's concern.
void remove_stale_temporaries(const fs::path& target, const fs::path& directory) {
  std::error_code error;
  const auto limit = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_temporary_of(entry->path().filename().string(), target.filename().string())) continue;
    std::error_code ignored;
    const auto written = entry->last_write_time(ignored);
    if (!ignored && written < limit) fs::remove(entry->path(), ignored);
  }
}

}  // namespace

void save_checkpoint(const fs::path& file, const std::vector<StoredTensor>& tensors, const CheckpointMetadata& metadata,
                     CheckpointFiles& files) {
  const fs::path directory = file.has_parent_path() ? file.parent_path() : fs::path(".");
  try {
    const std::string header = header_of(tensors, metadata);
    remove_stale_temporaries(file, directory);
    TemporaryFile temporary(files, file);
    temporary.write(header.data(), header.size());
    for (const StoredTensor& tensor : tensors) temporary.write(tensor.data.data(), tensor.data.size() * sizeof(float));
    temporary.sync();
    temporary.close();
    temporary.rename(file);
    files.sync_directory(directory);
  } catch (const std::system_error& error) {
    throw CheckpointError("cannot save the checkpoint " + file.string() + ": " + error.what() + "; " +
                          advice(error.code()) + " and run the command again, it continues from the last checkpoint");
  } catch (const safetensors::FormatError& error) {
    throw CheckpointError("cannot save the checkpoint " + file.string() + ": " + error.what());
  }
}

void save_checkpoint(const fs::path& file, const std::vector<StoredTensor>& tensors,
                     const CheckpointMetadata& metadata) {
  CheckpointFiles files;
  save_checkpoint(file, tensors, metadata, files);
}

}  // namespace hylas::model
