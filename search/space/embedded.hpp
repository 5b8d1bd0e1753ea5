// The space files compiled into the program (from search/space/examples and search/findings, by search/CMakeLists.txt).
#pragma once

#include <vector>

namespace hylas::search {

extern const char* const demo_space;      // examples/demo.toml: what `hylas demo` runs
extern const char* const template_space;  // examples/template.toml: what `hylas init` prints

// findings/SCALE/NAME.toml: what `hylas findings` runs, by scale and name.
struct EmbeddedSpace {
  const char* scale;
  const char* name;
  const char* text;
};
extern const std::vector<EmbeddedSpace> finding_spaces;

}  // namespace hylas::search
