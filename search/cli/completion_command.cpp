// hylas completion bash|zsh|fish: prints a completion script made from the program's own commands and options.
#include "search/cli/completion.hpp"

#include <memory>
#include <nlohmann/json.hpp>

#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string shell;
};

}  // namespace

void add_completion(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, program.app, "completion", "a completion script for bash, zsh or fish",
                              "source <(hylas completion bash)", options->common, [options, &program] {
                                const auto script = completion_script(program.app, options->shell);
                                print(options->common.json ? nlohmann::json{{"script", script}}.dump(2) : script);
                                return exit_ok;
                              });
  command->add_option("shell", options->shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace hylas::cli
