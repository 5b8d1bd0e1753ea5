// The space files compiled into the program (from search/space/examples, by search/CMakeLists.txt).
#pragma once

namespace hylas::search {

extern const char* const demo_space;      // examples/demo.toml: what `hylas demo` runs
extern const char* const template_space;  // examples/template.toml: what `hylas init` prints

}  // namespace hylas::search
