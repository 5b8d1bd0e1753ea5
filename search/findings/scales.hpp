// The space files of `hylas findings`, by scale: compiled into the program from search/findings/SCALE/PART.toml, or
// read from a folder of edited copies.
//
// A part is one space file with a [findings] section (search/space/registration.hpp); `core` comes first. Errors:
// InputError for a scale that is none, a part that the scale has not, a folder without space files, two files of one
// part, and what load_space() refuses. Thread-safety: pure.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "search/space/space.hpp"

namespace hylas::search {

struct Part {
  std::string name;  // Registration::part
  std::string text;  // the space file
  Space space;
};

// "toy", "toy-cpu", "small", "S1".
[[nodiscard]] std::vector<std::string> finding_scales();
// `only`: names of parts; empty: all. Core is always among them, as everything is compared with it.
[[nodiscard]] std::vector<Part> built_in_parts(const std::string& scale, const std::vector<std::string>& only);
// All *.toml of a folder.
[[nodiscard]] std::vector<Part> parts_in(const std::filesystem::path& folder, const std::vector<std::string>& only);

}  // namespace hylas::search
