// The checksum of a checkpoint (see checkpoint_checksum.hpp).
#include "model/checkpoint_checksum.hpp"

#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace hylas::model {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

class Checksum {
 public:
  void add(std::uint64_t word) {
    state_ = (state_ ^ word) * 0x9E3779B97F4A7C15;
    state_ ^= state_ >> 29;
  }
  void words(const void* data, std::size_t bytes) {
    const auto* next = static_cast<const char*>(data);
    add(bytes);
    for (; bytes >= 8; next += 8, bytes -= 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, next, 8);
      add(word);
    }
    std::uint64_t rest = 0;
    if (bytes > 0) std::memcpy(&rest, next, bytes);
    add(rest);
  }
  void text(const std::string& text) { words(text.data(), text.size()); }
  void tensor(const StoredTensor& tensor) {
    text(tensor.name);
    words(tensor.dims.data(), tensor.dims.size() * sizeof(std::int64_t));
    words(tensor.data.data(), tensor.data.size() * sizeof(float));
  }
  [[nodiscard]] std::string hex() const {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(state_));
    return digits;
  }

 private:
  std::uint64_t state_ = 0x68796c6173;  // "hylas"
};

}  // namespace

std::string checkpoint_checksum(const std::vector<StoredTensor>& tensors, const CheckpointMetadata& metadata) {
  Checksum sum;
  sum.add(metadata.size());
  for (const auto& [key, value] : metadata) sum.text(key), sum.text(value);
  for (const StoredTensor& tensor : tensors) sum.tensor(tensor);
  return sum.hex();
}

}  // namespace hylas::model
