// The completion script for zsh: one function a command, each a call of _arguments (see completion.hpp).
#include "search/report/completion.hpp"

namespace hylas::search {
namespace {

// A backslash before each character that _arguments or _describe would read as syntax.
std::string escaped(std::string_view text, std::string_view special) {
  std::string result;
  for (const char c : text) {
    if (c == '\\' || special.find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

std::string action(const CompletionValue& value) {
  if (value.kind == CompletionValue::Kind::files) return "_files";
  if (value.kind == CompletionValue::Kind::none) return " ";
  std::string words;
  for (const std::string& word : value.words) words += (words.empty() ? "" : " ") + escaped(word, " :()'\"$`*?[]");
  return "(" + words + ")";
}

std::string option_spec(const CompletionOption& option, const std::string& name) {
  std::string others;  // names of one option exclude each other
  for (const std::string& each : option.names) others += (others.empty() ? "" : " ") + each;
  const bool is_long = name.starts_with("--");
  std::string spec = "(" + others + ")" + name + (option.takes_value ? (is_long ? "=" : "+") : "");
  spec += "[" + escaped(option.description, "[]:") + "]";
  if (option.takes_value) spec += ":value:" + action(option.value);
  return spec;
}

std::string function_of(const std::string& path, const CompletionCommand& command) {
  const std::string name = function_name(path);
  const bool parent = !command.commands.empty();
  std::string text = name + "() {\n";
  if (parent) text += "  local curcontext=$curcontext context state state_descr line\n  typeset -A opt_args\n";
  text += "  _arguments -s" + std::string(parent ? " -C" : "");
  for (const CompletionOption& option : command.options) {
    for (const std::string& each : option.names) text += " \\\n    " + shell_quoted(option_spec(option, each));
  }
  if (parent) {
    text +=
        " \\\n    '1: :->command' \\\n    '*:: :->rest'\n  case $state in\n    command)\n      local -a commands=(\n";
    for (const CompletionCommand& child : command.commands) {
      text += "        " + shell_quoted(escaped(child.name, ":") + ":" + escaped(child.description, ":")) + "\n";
    }
    text += "      )\n      _describe -t commands command commands\n      ;;\n    rest)\n      case $words[1] in\n";
    for (const CompletionCommand& child : command.commands) {
      text += "        " + shell_quoted(child.name) + ") " + function_name(path + "/" + child.name) + " ;;\n";
    }
    text += "      esac\n      ;;\n  esac\n";
  } else {
    for (std::size_t i = 0; i < command.positionals.size(); ++i) {
      text += " \\\n    " + shell_quoted(std::to_string(i + 1) + ":value:" + action(command.positionals[i]));
    }
    text += "\n";
  }
  return text + "}\n";
}

}  // namespace

std::string zsh_completion(const CompletionCommand& program) {
  std::string text = "#compdef " + program.name + "\n# zsh completion for " + program.name + "; write it to a file _" +
                     program.name + " in a folder of $fpath, or:  source <(" + program.name + " completion zsh)\n";
  for_each_command(
      program, [&](const std::string& path, const CompletionCommand& command) { text += function_of(path, command); });
  const std::string function = function_name(program.name);
  // Autoloaded from $fpath this file is the function itself; sourced, it registers it.
  return text + "if [[ $funcstack[1] == " + shell_quoted("_" + program.name) + " ]]; then\n  " + function +
         " \"$@\"\nelse\n  compdef " + function + " " + program.name + "\nfi\n";
}

}  // namespace hylas::search
