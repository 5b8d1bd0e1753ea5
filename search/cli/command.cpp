// See command.hpp.
#include "search/cli/command.hpp"

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <utility>

namespace hylas::cli {

CLI::App* add_command(Program& program, CLI::App& parent, const std::string& name, const std::string& what,
                      const std::string& example, CommonOptions& common, std::function<int()> body) {
  CLI::App* command = parent.add_subcommand(name, what);
  command->add_flag("--json", common.json, "print one JSON document on stdout");
  command->add_option("--threads", common.threads, "threads to use (default: all cores)")->check(CLI::Range(0, 4096));
  command->footer("Example:\n  " + example);
  command->callback([&program, run = std::move(body)] { program.chosen = run; });
  return command;
}

void print(const std::string& text) {
  const bool newline = !text.empty() && text.back() == '\n';
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
      (!newline && std::fputc('\n', stdout) == EOF) || std::fflush(stdout) != 0) {
    throw std::runtime_error("stdout cannot be written; is the disk full or the pipe closed?");
  }
}

}  // namespace hylas::cli
