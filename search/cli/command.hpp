// What every command of the program shares: how it is registered, its common options, and how it prints.
//
// A command is one file: add_NAME(program) declares options on a CLI11 subcommand and sets what run() does. The
// callback returns the exit code (search/cli/exit_code.hpp); errors are exceptions, mapped to codes in main.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <stdexcept>
#include <string>

namespace hylas::cli {

struct Program {
  CLI::App app;
  std::function<int()> chosen;  // set by the subcommand that was parsed

  explicit Program(const std::string& description) : app(description, "hylas") {}
};

struct CommonOptions {
  bool json = false;
  int threads = 0;  // < 1: all cores
};

// Adds a subcommand that takes --json, --threads and --help with an example; `body` runs after parsing.
CLI::App* add_command(Program& program, CLI::App& parent, const std::string& name, const std::string& what,
                      const std::string& example, CommonOptions& common, std::function<int()> body);

// The text with a newline at its end, to stdout; throws when stdout cannot be written (a full disk, a closed pipe).
void print(const std::string& text);
// The text to a file, replacing it; throws when it cannot be written.
void write_file(const std::string& path, const std::string& text);

// A finite number above 0.
[[nodiscard]] CLI::Validator positive();

void add_describe(Program& program);
void add_enumerate(Program& program);
void add_sweep(Program& program);
void add_status(Program& program);
void add_show(Program& program);
void add_results(Program& program);
void add_tasks(Program& program);
void add_probe(Program& program);
void add_findings(Program& program);
void add_fit(Program& program);
void add_recommend(Program& program);
void add_export(Program& program);
void add_bench(Program& program);
void add_demo(Program& program);
void add_init(Program& program);
void add_completion(Program& program);

}  // namespace hylas::cli
