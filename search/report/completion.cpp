// What the completion scripts of all shells share (see completion.hpp).
#include "search/report/completion.hpp"

#include <cctype>

#include "model/design/input_error.hpp"

namespace hylas::search {
namespace {

void visit_below(const std::string& path, const CompletionCommand& command,
                 const std::function<void(const std::string&, const CompletionCommand&)>& visit) {
  visit(path, command);
  for (const CompletionCommand& child : command.commands) visit_below(path + "/" + child.name, child, visit);
}

}  // namespace

void for_each_command(const CompletionCommand& command,
                      const std::function<void(const std::string&, const CompletionCommand&)>& visit) {
  visit_below(command.name, command, visit);
}

std::string shell_quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string function_name(std::string_view path) {
  std::string name = "_";
  for (const char c : path) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

std::string completion_script(const CompletionCommand& program, std::string_view shell) {
  if (shell == "bash") return bash_completion(program);
  if (shell == "zsh") return zsh_completion(program);
  if (shell == "fish") return fish_completion(program);
  const std::string meant = model::nearest(shell, {"bash", "zsh", "fish"});
  throw model::InputError("there is no completion for the shell '" + std::string(shell.substr(0, 60)) +
                          "'; write bash, zsh or fish" + (meant.empty() ? "" : " (did you mean " + meant + "?)"));
}

}  // namespace hylas::search
