// Shell completion scripts for bash, zsh and fish, made from a tree of commands.
//
// The tree is plain data, so that this file needs no command-line library; search/cli/completion.hpp reads it off the
// program's own declaration, so nothing is listed twice. The scripts are static: they run no program while completing.
// They complete subcommands, options (zsh and fish show descriptions), the words an option takes, and file names.
// Errors: completion_script() throws model::InputError for a shell it does not know. Thread-safe, pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hylas::search {

// What stands where a value is expected.
struct CompletionValue {
  enum class Kind { none, words, files };  // none: a number, a free text
  Kind kind = Kind::none;
  std::vector<std::string> words;
};

struct CompletionOption {
  std::vector<std::string> names;  // "--json", "-o"
  std::string description;         // one line
  bool takes_value = false;
  CompletionValue value;
};

struct CompletionCommand {
  std::string name;
  std::string description;  // one line
  std::vector<CompletionOption> options;
  std::vector<CompletionValue> positionals;
  std::vector<CompletionCommand> commands;
};

// Names are shell words without quotes, slashes or blanks; descriptions may hold anything on one line.
[[nodiscard]] std::string bash_completion(const CompletionCommand& program);
[[nodiscard]] std::string zsh_completion(const CompletionCommand& program);
[[nodiscard]] std::string fish_completion(const CompletionCommand& program);
[[nodiscard]] std::string completion_script(const CompletionCommand& program, std::string_view shell);

// Calls visit(path, command) for a command and all below it, parents first; the path is "hylas", "hylas/fit", ...
void for_each_command(const CompletionCommand& command,
                      const std::function<void(const std::string&, const CompletionCommand&)>& visit);
// 'text', as bash and zsh read it back.
[[nodiscard]] std::string shell_quoted(std::string_view text);
// The name with what a function's name cannot hold replaced by '_'.
[[nodiscard]] std::string function_name(std::string_view path);

}  // namespace hylas::search
