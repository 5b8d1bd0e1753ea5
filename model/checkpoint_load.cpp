// Loading checkpoints (see checkpoint.hpp).
#include <fstream>
#include <new>
#include <system_error>
#include <utility>

#include "model/checkpoint.hpp"
#include "model/checkpoint_checksum.hpp"
#include "model/safetensors.hpp"

namespace hylas::model {
namespace {

namespace fs = std::filesystem;

void read(std::ifstream& stream, void* data, std::uint64_t bytes) {
  stream.read(static_cast<char*>(data), static_cast<std::streamsize>(bytes));
  if (!stream || static_cast<std::uint64_t>(stream.gcount()) != bytes) {
    throw safetensors::FormatError("reading stopped before its end");
  }
}

Checkpoint read_checkpoint(std::ifstream& stream, std::uint64_t file_bytes) {
  unsigned char length[8] = {};
  if (file_bytes < sizeof length)
    throw safetensors::FormatError("it is shorter than the eight bytes every file begins with");
  read(stream, length, sizeof length);
  std::string json(safetensors::header_length(length, file_bytes), '\0');
  read(stream, json.data(), json.size());
  safetensors::Header header = safetensors::parse_header(json, file_bytes - sizeof length - json.size());
  const auto sum = header.metadata.extract(kChecksumKey);
  if (sum.empty()) throw safetensors::FormatError("it has no checksum, so hylas did not write it");
  for (const auto& tensor : header.tensors) {
    if (tensor.dtype != "F32")
      throw safetensors::FormatError("it holds numbers of type " + tensor.dtype + " instead of F32");
  }
  Checkpoint checkpoint{{}, std::move(header.metadata)};
  for (auto& entry : header.tensors) {  // in the order of the file: the data is read straight through
    StoredTensor tensor{std::move(entry.name), std::move(entry.dims), {}};
    tensor.data.resize((entry.end - entry.begin) / sizeof(float));
    read(stream, tensor.data.data(), entry.end - entry.begin);
    checkpoint.tensors.push_back(std::move(tensor));
  }
  if (checkpoint_checksum(checkpoint.tensors, checkpoint.metadata) != sum.mapped()) {
    throw safetensors::FormatError("its contents do not match its checksum");
  }
  return checkpoint;
}

}  // namespace

Checkpoint load_checkpoint(const fs::path& file) {
  const std::string opening = "cannot load the checkpoint " + file.string() + ": ";
  std::error_code error;
  if (!fs::exists(file, error)) throw CheckpointError(opening + "there is no such file");
  if (!fs::is_regular_file(file, error)) throw CheckpointError(opening + "it is not a file");
  const std::uint64_t bytes = fs::file_size(file, error);
  std::ifstream stream(file, std::ios::binary);
  if (error || !stream) throw CheckpointError(opening + "it cannot be read; check its permissions");
  try {
    return read_checkpoint(stream, bytes);
  } catch (const safetensors::FormatError& problem) {
    throw CheckpointError(opening + problem.what() +
                          "; remove the file, the trial then starts again from its beginning");
  } catch (const std::bad_alloc&) {
    throw CheckpointError(opening + "its " + std::to_string(bytes) + " bytes do not fit in memory");
  }
}

}  // namespace hylas::model
