// hylas completion: the script by which a shell completes hylas commands, made from the program's own declaration.
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

int run(const Program& program, const Options& options) {
  const std::string script = completion_script(program.app, options.shell);
  print(options.common.json ? nlohmann::json{{"shell", options.shell}, {"script", script}}.dump(2) : script);
  return exit_ok;
}

}  // namespace

void add_completion(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, program.app, "completion", "the completion script of a shell, for its start-up file",
                  "echo 'source <(hylas completion bash)' >> ~/.bashrc", options->common,
                  [&program, options] { return run(program, *options); });
  command->add_option("shell", options->shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace hylas::cli
