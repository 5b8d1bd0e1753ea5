// hylas init: a commented space file to start from.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "model/design/input_error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/space/embedded.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string file;
};

// Creates the file; one that exists is never overwritten.
void write_new(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (fd < 0 && errno == EEXIST) throw model::InputError(path + " exists already; name another file, or remove it");
  if (fd < 0) throw std::runtime_error(path + " cannot be created: " + std::strerror(errno));
  const bool whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (::close(fd) != 0 || !whole) throw std::runtime_error(path + " cannot be written: " + std::strerror(errno));
}

int run(const Options& options) {
  if (options.file.empty()) {
    print(options.common.json ? nlohmann::json{{"space", search::template_space}}.dump(2) : search::template_space);
    return exit_ok;
  }
  write_new(options.file, search::template_space);
  if (options.common.json) print(nlohmann::json{{"file", options.file}}.dump(2));
  std::fprintf(stderr, "wrote %s; next: hylas enumerate %s\n", options.file.c_str(), options.file.c_str());
  return exit_ok;
}

}  // namespace

void add_init(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, program.app, "init", "a commented space file to start from",
                              "hylas init space.toml && hylas enumerate space.toml", options->common,
                              [options] { return run(*options); });
  command->add_option("file", options->file, "where to write it (default: stdout); never overwrites");
}

}  // namespace hylas::cli
