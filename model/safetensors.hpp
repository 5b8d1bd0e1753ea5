// The header of a safetensors file, read with distrust and written plainly. Holds no tensor data.
//
// A file is: u64 little-endian length n; n bytes of JSON {"__metadata__": {string: string}, name: {"dtype", "shape",
// "data_offsets": [begin, end]}, ...}; the data, which the tensors cover without hole or overlap.
// parse_header() accepts only that: it is given the file's size and refuses whatever does not fit it, before a caller
// allocates anything. Its own memory is bounded by the header's size, which is at most kMaxHeaderBytes and lies in the
// file. Errors: FormatError (what was wrong, without the file's name). Thread-safe, pure. Source:
// https://github.com/huggingface/safetensors, README "Format", and the limits of its reference implementation.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hylas::model::safetensors {

inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct TensorEntry {
  std::string name;
  std::string dtype;  // "F32", "I64", ...
  std::vector<std::int64_t> dims;
  std::uint64_t begin = 0, end = 0;  // bytes within the data
};

struct Header {
  std::vector<TensorEntry> tensors;  // by ascending offset: the order of the file
  std::map<std::string, std::string> metadata;
};

// The header's length from the first eight bytes; file_bytes is the size of the whole file.
[[nodiscard]] std::uint64_t header_length(const unsigned char (&bytes)[8], std::uint64_t file_bytes);
// json is the header's text, data_bytes what follows it in the file.
[[nodiscard]] Header parse_header(std::string_view json, std::uint64_t data_bytes);
// Length and JSON, padded with blanks so that the data begins at a multiple of eight bytes. Throws FormatError for a
// name that is not UTF-8, not unique, or reserved.
[[nodiscard]] std::string write_header(const Header& header);
// Bytes of one element; 0 for an unknown dtype.
[[nodiscard]] std::uint64_t dtype_bytes(std::string_view dtype);

}  // namespace hylas::model::safetensors
