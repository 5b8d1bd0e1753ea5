// Reading and writing safetensors headers (see safetensors.hpp). The JSON is read event by event: nothing a file
// declares is built before it has been checked, and duplicate names, which a JSON object would swallow, are seen.
#include "model/safetensors.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

namespace hylas::model::safetensors {
namespace {

using Json = nlohmann::json;

constexpr const char* kMetadata = "__metadata__";

// A name from a file as an error may show it: printable ASCII, at most 60 characters.
std::string shown(std::string_view name) {
  std::string text = "'";
  for (const char c : name.substr(0, 60)) text += c >= ' ' && c <= '~' ? c : '?';
  return text + (name.size() > 60 ? "...'" : "'");
}

class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  [[nodiscard]] Header take() { return std::move(header_); }

  bool start_object(std::size_t) override {
    switch (at_) {
      case At::start: return go(At::names);
      case At::entry:
        if (name_ == kMetadata) return go(At::metadata);
        header_.tensors.push_back({name_, "", {}, 0, 0});
        has_dtype_ = has_shape_ = has_offsets_ = false;
        return go(At::fields);
      default: fail();
    }
  }
  bool key(string_t& text) override {
    if (at_ == At::names) {
      if (!names_.insert(text).second) throw FormatError("the name " + shown(text) + " occurs twice");
      name_ = text;
      return go(At::entry);
    }
    if (at_ == At::metadata) {
      if (header_.metadata.contains(text)) throw FormatError("the metadata key " + shown(text) + " occurs twice");
      name_ = text;
      return go(At::metadata_value);
    }
    if (text == "dtype") return field(has_dtype_, At::dtype);
    if (text == "shape") return field(has_shape_, At::shape);
    if (text == "data_offsets") return field(has_offsets_, At::offsets);
    throw FormatError("tensor " + shown(name_) + " has the unknown field " + shown(text));
  }
  bool string(string_t& text) override {
    if (at_ == At::metadata_value) {
      header_.metadata.emplace(name_, text);
      return go(At::metadata);
    }
    if (at_ != At::dtype) fail();
    header_.tensors.back().dtype = text;
    return go(At::fields);
  }
  bool start_array(std::size_t) override {
    if (at_ == At::shape) return go(At::in_shape);
    if (at_ != At::offsets) fail();
    offsets_seen_ = 0;
    return go(At::in_offsets);
  }
  bool number_unsigned(number_unsigned_t value) override {
    TensorEntry* tensor = header_.tensors.empty() ? nullptr : &header_.tensors.back();
    if (at_ == At::in_shape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) fail();
      tensor->dims.push_back(static_cast<std::int64_t>(value));
    } else if (at_ == At::in_offsets && offsets_seen_ < 2) {
      (offsets_seen_++ == 0 ? tensor->begin : tensor->end) = value;
    } else {
      fail();
    }
    return true;
  }
  bool end_array() override {
    if (at_ == At::in_offsets && offsets_seen_ != 2) fail();
    return go(At::fields);
  }
  bool end_object() override {
    if (at_ == At::names) return go(At::end);
    if (at_ == At::fields && !(has_dtype_ && has_shape_ && has_offsets_)) {
      throw FormatError("tensor " + shown(name_) + " lacks its dtype, shape or data_offsets");
    }
    return go(At::names);
  }
  bool null() override { fail(); }
  bool boolean(bool) override { fail(); }
  bool number_integer(number_integer_t) override { fail(); }  // negative numbers only
  bool number_float(number_float_t, const string_t&) override { fail(); }
  bool binary(binary_t&) override { fail(); }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    throw FormatError("its header is not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class At {
    start,
    names,
    entry,
    metadata,
    metadata_value,
    fields,
    dtype,
    shape,
    in_shape,
    offsets,
    in_offsets,
    end
  };

  bool go(At next) {
    at_ = next;
    return true;
  }
  bool field(bool& has, At next) {
    if (has) throw FormatError("tensor " + shown(name_) + " has a field twice");
    has = true;
    return go(next);
  }
  [[noreturn]] void fail() const {
    throw FormatError("its header has an unexpected value" + (name_.empty() ? "" : " at " + shown(name_)));
  }

  Header header_;
  At at_ = At::start;
  std::string name_;
  std::unordered_set<std::string> names_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int offsets_seen_ = 0;
};

void check_size(const TensorEntry& tensor, std::uint64_t data_bytes) {
  std::uint64_t bytes = dtype_bytes(tensor.dtype);
  if (bytes == 0) throw FormatError("tensor " + shown(tensor.name) + " has the unknown dtype " + shown(tensor.dtype));
  if (tensor.begin > tensor.end || tensor.end > data_bytes) {
    throw FormatError("tensor " + shown(tensor.name) + " lies outside the file's data");
  }
  for (const std::int64_t dim : tensor.dims) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dim), &bytes)) {
      throw FormatError("the shape of tensor " + shown(tensor.name) + " is larger than any file");
    }
  }
  if (bytes != tensor.end - tensor.begin) {
    throw FormatError("tensor " + shown(tensor.name) + " has " + std::to_string(tensor.end - tensor.begin) +
                      " bytes where its shape needs " + std::to_string(bytes));
  }
}

}  // namespace

std::uint64_t dtype_bytes(std::string_view dtype) {
  static constexpr std::pair<std::string_view, std::uint64_t> kSizes[] = {
      {"F32", 4},  {"F64", 8}, {"I64", 8}, {"I32", 4},     {"F16", 2},     {"BF16", 2}, {"I16", 2}, {"I8", 1},
      {"BOOL", 1}, {"U8", 1},  {"U16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U32", 4},  {"U64", 8}};
  for (const auto& [name, bytes] : kSizes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

std::uint64_t header_length(const unsigned char (&bytes)[8], std::uint64_t file_bytes) {
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | bytes[i];
  if (length > kMaxHeaderBytes || file_bytes < 8 || length > file_bytes - 8) {
    throw FormatError("it announces a header of " + std::to_string(length) + " bytes in a file of " +
                      std::to_string(file_bytes));
  }
  return length;
}

Header parse_header(std::string_view json, std::uint64_t data_bytes) {
  if (json.empty() || json.front() != '{') throw FormatError("its header does not begin with '{'");
  HeaderReader reader;
  Json::sax_parse(json.begin(), json.end(), &reader);
  Header header = reader.take();
  for (const TensorEntry& tensor : header.tensors) check_size(tensor, data_bytes);
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (const TensorEntry& tensor : header.tensors) {
    if (tensor.begin != covered) {
      throw FormatError("tensor " + shown(tensor.name) +
                        (tensor.begin < covered ? " overlaps the one before it" : " leaves a hole before it"));
    }
    covered = tensor.end;
  }
  if (covered != data_bytes) {
    throw FormatError("it has " + std::to_string(data_bytes) + " bytes of data where its tensors need " +
                      std::to_string(covered));
  }
  return header;
}

std::string write_header(const Header& header) {
  const auto quoted = [](const std::string& text) {
    try {
      return Json(text).dump();
    } catch (const Json::exception&) {
      throw FormatError("the text " + shown(text) + " is not UTF-8");
    }
  };
  std::unordered_set<std::string> names = {kMetadata};
  std::string json = "{\"__metadata__\":{";
  for (const auto& [key, value] : header.metadata) {
    if (json.back() != '{') json += ',';
    json += quoted(key) + ":" + quoted(value);
  }
  json += "}";
  for (const TensorEntry& tensor : header.tensors) {
    if (!names.insert(tensor.name).second) throw FormatError("the name " + shown(tensor.name) + " is not free");
    json += "," + quoted(tensor.name) + ":{\"dtype\":" + quoted(tensor.dtype) +
            ",\"shape\":" + Json(tensor.dims).dump() + ",\"data_offsets\":[" + std::to_string(tensor.begin) + "," +
            std::to_string(tensor.end) + "]}";
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  if (json.size() > kMaxHeaderBytes) throw FormatError("its header would be larger than readers accept");
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(json.size() >> 8 * i & 0xFF);
  return length + json;
}

}  // namespace hylas::model::safetensors
