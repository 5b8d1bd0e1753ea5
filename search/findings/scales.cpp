// See scales.hpp.
#include "search/findings/scales.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <system_error>

#include "search/space/embedded.hpp"

namespace hylas::search {
namespace {

Part part_of(const std::string& text, const std::string& file) {
  Part part{"", text, parse_space(text, file)};
  if (!part.space.registration) {
    throw model::InputError(file + " has no [findings] section, which says what its study is to decide");
  }
  part.name = part.space.registration->part;
  return part;
}

// Core first, then as they are; those that were asked for.
std::vector<Part> chosen(std::vector<Part> parts, const std::vector<std::string>& only, const std::string& where) {
  std::vector<std::string> names;
  for (const Part& part : parts) {
    if (std::find(names.begin(), names.end(), part.name) != names.end()) {
      throw model::InputError(fmt::format("{} has two files of the part '{}'", where, part.name));
    }
    names.push_back(part.name);
  }
  if (std::find(names.begin(), names.end(), "core") == names.end()) {
    throw model::InputError(where + " has no file of the part 'core', which the others are compared with");
  }
  for (const std::string& name : only) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw model::InputError(fmt::format("{} has no part '{}'; it has: {}", where, name, fmt::join(names, ", ")));
  }
  std::stable_partition(parts.begin(), parts.end(), [](const Part& part) { return part.name == "core"; });
  std::erase_if(parts, [&](const Part& part) {
    return part.name != "core" && !only.empty() && std::find(only.begin(), only.end(), part.name) == only.end();
  });
  return parts;
}

}  // namespace

std::vector<std::string> finding_scales() {
  std::vector<std::string> scales;
  for (const EmbeddedSpace& file : finding_spaces) {
    if (std::find(scales.begin(), scales.end(), file.scale) == scales.end()) scales.emplace_back(file.scale);
  }
  return scales;
}

std::vector<Part> built_in_parts(const std::string& scale, const std::vector<std::string>& only) {
  std::vector<Part> parts;
  for (const EmbeddedSpace& file : finding_spaces) {
    if (file.scale == scale) parts.push_back(part_of(file.text, fmt::format("{}/{} (built in)", scale, file.name)));
  }
  if (parts.empty()) {
    throw model::InputError(
        fmt::format("there is no scale '{}'; there are: {}", scale, fmt::join(finding_scales(), ", ")));
  }
  return chosen(std::move(parts), only, "scale '" + scale + "'");
}

std::vector<Part> parts_in(const std::filesystem::path& folder, const std::vector<std::string>& only) {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".toml") files.push_back(entry.path());
  }
  if (error) throw model::InputError("cannot read the folder " + folder.string() + ": " + error.message());
  std::sort(files.begin(), files.end());
  std::vector<Part> parts;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    if (!in) throw model::InputError("cannot read " + file.string());
    parts.push_back(part_of(text.str(), file.string()));
  }
  if (parts.empty()) throw model::InputError(folder.string() + " holds no space file (*.toml)");
  return chosen(std::move(parts), only, folder.string());
}

}  // namespace hylas::search
