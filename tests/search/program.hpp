// Runs the hylas program as a user would, in a directory of its own, and returns what it printed and its exit code.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "tests/temp_dir.hpp"

namespace hylas::test {

struct Outcome {
  int code = 0;
  std::string out, err;
};

// `arguments` as a shell would read them.
inline Outcome run_program(const TempDir& dir, const std::string& arguments) {
  const auto out = dir.path() / "stdout", err = dir.path() / "stderr";
  const std::string command = "cd '" + dir.path().string() + "' && '" HYLAS_BINARY_DIR "/hylas' " + arguments + " >'" +
                              out.string() + "' 2>'" + err.string() + "' </dev/null";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_bytes(out), read_bytes(err)};
}

}  // namespace hylas::test
