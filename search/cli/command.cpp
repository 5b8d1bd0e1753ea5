// See command.hpp.
#include "search/cli/command.hpp"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <utility>

#include "model/design/input_error.hpp"

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

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) throw std::runtime_error(path + " cannot be written; is the directory there, and is space left?");
}

CLI::Validator positive() {
  return {[](std::string& text) {
            double value = 0;
            const bool good = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && value > 0;
            return good ? std::string() : "'" + text + "' is not a finite number above 0";
          },
          "POSITIVE"};
}

}  // namespace hylas::cli
