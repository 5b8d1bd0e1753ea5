// The completion script for bash, 3.2 and later (see completion.hpp).
#include "search/report/completion.hpp"

namespace hylas::search {
namespace {

// A reply from `value`: words by prefix; files by leaving the reply empty (readline then completes files); or nothing.
std::string reply(const std::string& function, const CompletionValue& value) {
  if (value.kind == CompletionValue::Kind::files) return "return";
  if (value.kind == CompletionValue::Kind::none) return function + "_nothing; return";
  std::string text = function + "_words \"$current\"";
  for (const std::string& word : value.words) text += " " + shell_quoted(word);
  return text + "; return";
}

// The first positional that can be completed stands for all.
CompletionValue positional(const CompletionCommand& command) {
  for (const CompletionValue& value : command.positionals) {
    if (value.kind != CompletionValue::Kind::none) return value;
  }
  return {};
}

std::string option_words(const CompletionCommand& command) {
  std::string words;
  for (const CompletionOption& option : command.options) {
    for (const std::string& name : option.names) words += " " + shell_quoted(name);
  }
  return words;
}

// For each command: how a word on the line moves on, what follows an option, what can stand at the cursor.
struct Cases {
  std::string walk, values, options, words;
};

Cases cases_of(const CompletionCommand& program, const std::string& function) {
  Cases cases;
  for_each_command(program, [&](const std::string& path, const CompletionCommand& command) {
    std::string commands;
    for (const CompletionCommand& child : command.commands) {
      cases.walk += "      " + shell_quoted(path + "/" + child.name) + ") path=$path/${COMP_WORDS[i]} ;;\n";
      commands += " " + shell_quoted(child.name);
    }
    for (const CompletionOption& option : command.options) {
      if (!option.takes_value) continue;
      std::string pattern;
      for (const std::string& name : option.names)
        pattern.append(pattern.empty() ? "" : "|").append(shell_quoted(path + "/" + name));
      cases.walk +=
          "      " + pattern + ") if [[ ${COMP_WORDS[i + 1]} == = ]]; then ((i += 2)); else ((i += 1)); fi ;;\n";
      cases.values += "    " + pattern + ") " + reply(function, option.value) + " ;;\n";
    }
    cases.options +=
        "      " + shell_quoted(path) + ") " + function + "_words \"$current\"" + option_words(command) + " ;;\n";
    const std::string here =
        commands.empty() ? reply(function, positional(command)) : function + "_words \"$current\"" + commands;
    cases.words += "    " + shell_quoted(path) + ") " + here + " ;;\n";
  });
  return cases;
}

}  // namespace

std::string bash_completion(const CompletionCommand& program) {
  const std::string function = function_name(program.name);
  const Cases cases = cases_of(program, function);
  std::string text =
      "# bash completion for " + program.name + "; load it with:  source <(" + program.name + " completion bash)\n";
  text += function +
          "_words() {  # the words that begin with the first\n"
          "  local current=$1 word\n"
          "  shift\n"
          "  for word in \"$@\"; do\n"
          "    if [[ $word == \"$current\"* ]]; then COMPREPLY+=(\"$word\"); fi\n"
          "  done\n"
          "  if [[ ${#COMPREPLY[@]} -eq 0 ]]; then " +
          function +
          "_nothing; fi\n"
          "}\n";
  text += function +
          "_nothing() {  # not even file names\n"
          "  compopt +o default +o bashdefault 2>/dev/null || true\n"
          "}\n";
  text += function +
          "() {\n"
          "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} path=" +
          program.name +
          " i\n"
          "  COMPREPLY=()\n"
          "  # --option=value arrives as three words.\n"
          "  if [[ $current == = ]]; then\n"
          "    current=\n"
          "  elif [[ $previous == = && COMP_CWORD -ge 2 ]]; then\n"
          "    previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
          "  fi\n"
          "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "    case $path/${COMP_WORDS[i]} in\n" +
          cases.walk +
          "    esac\n"
          "  done\n";
  if (!cases.values.empty()) text += "  case $path/$previous in\n" + cases.values + "  esac\n";
  text +=
      "  if [[ $current == -* ]]; then\n"
      "    case $path in\n" +
      cases.options +
      "    esac\n"
      "    return\n"
      "  fi\n"
      "  case $path in\n" +
      cases.words +
      "  esac\n"
      "}\n"
      "complete -o bashdefault -o default -F " +
      function + " " + program.name + "\n";
  return text;
}

}  // namespace hylas::search
