// Reads the golden files of make_golden.py: safetensors with F32, F64 and I32 tensors, as vectors of double. A reader
// of its own, so that the golden test does not lean on the checkpoint code it might share a bug with.
#pragma once

#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace hylas::tests {

struct GoldenTensor {
  std::vector<std::int64_t> dims;
  std::vector<double> values;
};

struct GoldenFile {
  nlohmann::json config, recipe;
  std::map<std::string, GoldenTensor> tensors;

  [[nodiscard]] const std::vector<double>& at(const std::string& name) const {
    const auto it = tensors.find(name);
    if (it == tensors.end()) throw std::runtime_error("the golden file has no tensor " + name);
    return it->second.values;
  }
};

template <class T>
std::vector<double> read_values(const char* begin, const char* end) {
  std::vector<T> raw(static_cast<std::size_t>(end - begin) / sizeof(T));
  std::memcpy(raw.data(), begin, raw.size() * sizeof(T));
  return {raw.begin(), raw.end()};
}

inline GoldenFile read_golden(const std::string& name) {
  const std::string path = std::string(HYLAS_SOURCE_DIR) + "/tests/golden/" + name;
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (bytes.size() < 8) throw std::runtime_error("cannot read " + path);
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  const auto header = nlohmann::json::parse(bytes.substr(8, header_size));
  const char* data = bytes.data() + 8 + header_size;
  GoldenFile file;
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") {
      file.config = nlohmann::json::parse(entry.at("config").get<std::string>());
      file.recipe = nlohmann::json::parse(entry.at("recipe").get<std::string>());
      continue;
    }
    const std::string dtype = entry.at("dtype");
    const char* begin = data + entry.at("data_offsets")[0].get<std::int64_t>();
    const char* end = data + entry.at("data_offsets")[1].get<std::int64_t>();
    file.tensors[key] = {entry.at("shape").get<std::vector<std::int64_t>>(),
                         dtype == "F32"   ? read_values<float>(begin, end)
                         : dtype == "F64" ? read_values<double>(begin, end)
                                          : read_values<std::int32_t>(begin, end)};
  }
  return file;
}

}  // namespace hylas::tests
